"""Drawing and completing many pictures: checks, noise, and the sampler."""

import math

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.backend import on_gpu, verbosity
from keras_pixelcnnpp.checks import (
    require_nonnegative_integer,
    require_nonnegative_number,
    require_positive_integer,
    require_temperature,
)
from keras_pixelcnnpp.data.batches import feed
from keras_pixelcnnpp.distributions.heads import first_level_above
from keras_pixelcnnpp.errors import without_retracing_advice
from keras_pixelcnnpp.layers.evaluation import read
from keras_pixelcnnpp.sampling.incremental_pass import IncrementalPass

XLA_PAYS_FROM = 1000  # pictures


@without_retracing_advice()
def draw(model, inputs, count, seed, temperature, guidance, batch_size, verbose):
    """Draws any number of pictures; the model keeps the compiled samplers for the next call.

    Args:
        model: An `AutoregressiveModel`.
        inputs: Dict of arrays of length `count`, as `PixelSampler` takes them: `"label"` for
            generation; `"image"` and `"known"` too for completion.
        count: Integer.
        seed: See `AutoregressiveModel.sample`, and so for the others.
        temperature: Number > 0.
        guidance: Number >= 0.
        batch_size: Integer.
        verbose: 0, 1 or `"auto"`.

    Returns:
        uint8 levels `(count, height, width, channels)`.
    """
    batches = _noisy(model, inputs, count, seed, temperature, guidance, batch_size)
    if count == 0:
        return np.zeros((0, *model.image_shape), "uint8")
    verbose = verbosity(verbose, len(batches))
    jit_compile = _jit_compile(count)
    guided = guidance != 0
    samplers, kind = model.runners.samplers, (guided, "image" in inputs, jit_compile)
    if kind not in samplers:
        samplers[kind] = PixelSampler(model, guided)
        samplers[kind].compile(jit_compile=jit_compile)
    return samplers[kind].predict(feed(batches), verbose=verbose)[:count]


def draw_rows(model, inputs, count, seed, temperature, guidance):
    """Draws one batch, as `draw` does, and yields it whenever some rows more are done.

    Args:
        model: See `draw`, and so for the others; `inputs` with `"image"` and `"known"`.
        inputs: Dict of arrays.
        count: Integer > 0.
        seed: Integer.
        temperature: Number > 0.
        guidance: Number >= 0.

    Returns:
        Generator of pairs: how many rows are done, and uint8 levels `(count, height, width,
        channels)`, zeros where nothing is drawn yet.
    """
    ((batch,),) = _noisy(model, inputs, count, seed, temperature, guidance, count)
    guided, jit_compile = guidance != 0, _jit_compile(count)
    samplers, kind = model.runners.samplers, ("rows", guided, jit_compile)
    if kind not in samplers:
        samplers[kind] = RowSampler(model, guided)
        samplers[kind].compile(jit_compile=jit_compile)
    return samplers[kind].steps(batch)


def _noisy(model, inputs, count, seed, temperature, guidance, batch_size):
    """The checked inputs of a sampler, with noise, in batches."""
    if seed is None:
        # NumPy's global state, which `keras.utils.set_random_seed` sets.
        seed = np.random.randint(2**31)  # noqa: NPY002
    require_nonnegative_integer("seed", seed)
    require_temperature(temperature)
    require_nonnegative_number("guidance", guidance)
    require_positive_integer("batch_size", batch_size)
    if guidance and model.num_classes == 0:
        raise ValueError("Guidance needs a model with classes. Received: num_classes=0")
    if guidance and model.label_dropout_rate == 0:
        raise ValueError(
            "Guidance needs a model trained with label dropout. Received: label_dropout_rate=0"
        )
    inputs = {**inputs, "temperature": np.full(count, temperature, "float32")}
    if guidance != 0:
        inputs["guidance"] = np.full(count, guidance, "float32")
    noise_shape = (*model.image_shape[:2], model.distribution.noise_size)
    return NoiseSequence(inputs, count, noise_shape, int(seed), max(1, min(batch_size, count)))


def _jit_compile(count):
    """Whether to compile with XLA: always under JAX, never under torch.

    Under TensorFlow on a GPU, where a batch would be some 10^5 small kernels, always; on a CPU for
    large jobs. There its own executor takes twice as long per batch, but XLA takes longer to
    compile than a few hundred pictures take to draw.
    """
    if keras.backend.backend() == "tensorflow":
        return on_gpu() or count >= XLA_PAYS_FROM
    return keras.backend.backend() == "jax"


def known_pixels(known_rows, count, image_shape):
    """Number of known pixels of each picture, from rows or a mask.

    Args:
        known_rows: Integer from 0 to the height, or a boolean mask `(height, width)` or `(count,
            height, width)` whose known pixels come before all others in raster order.
        count: Integer, number of pictures.
        image_shape: Triple `(height, width, channels)`.

    Returns:
        int32 array `(count,)`.

    Raises:
        ValueError: If the mask isn't such a prefix or has another shape.
    """
    height, width, _ = image_shape
    array = np.asarray(known_rows)
    if array.ndim == 0 and array.dtype.kind in "ui" and 0 <= array <= height:
        return np.full(count, int(array) * width, "int32")
    if array.dtype != bool or array.shape not in ((height, width), (count, height, width)):
        raise ValueError(
            f"Invalid value for argument `known_rows`. Expected an integer from 0 to {height}, or "
            f"a boolean mask of shape {(height, width)} or {(count, height, width)}. "
            f"Received: dtype={array.dtype}, shape={array.shape}"
            + (f", value={array}" if array.ndim == 0 else "")
        )
    flat = np.broadcast_to(array, (count, height, width)).reshape(count, height * width)
    if np.any(flat[:, 1:] & ~flat[:, :-1]):
        raise ValueError(
            "Invalid value for argument `known_rows`. Expected a mask whose known pixels come "
            "before all others in raster order. Received a mask with an unknown pixel before a "
            "known one"
        )
    return flat.sum(axis=1).astype("int32")


class PixelSampler(keras.Model):
    """Maps labels and uniform noise to pictures: generation, completion and guidance.

    A Keras model, so that `predict` does the batching, compiling and progress bar. All randomness
    is in the noise, so that one seed gives the same pictures whatever the batch size.

    Args:
        model: An `AutoregressiveModel`.
        guided: Boolean, whether label guidance is used, at twice the cost.

    Call arguments:
        inputs: Dict of
            `"label"`, int `(batch,)` (absent for an unconditional model);
            `"noise"`, uniform in (0, 1), `(batch, height, width, noise_size)` of the head;
            `"temperature"`, float `(batch,)`;
            `"guidance"`, float `(batch,)`, only if `guided`;
            `"image"`, levels `(batch, height, width, channels)`, and `"known"`, int `(batch,)`:
            so many pixels, in raster order, are taken from the picture (both may be absent).

    Returns:
        uint8 levels `(batch, height, width, channels)`.
    """

    def __init__(self, model, guided=False):
        # Under a policy of mixed precision Keras would round the noise to half precision.
        super().__init__(name="pixel_sampler", dtype="float32")
        self.model = model
        self.guided = guided
        self.incremental_pass = IncrementalPass(model)
        self.built = True

    def call(self, inputs):
        labels, batch_size = self._candidates(inputs)
        records = self.incremental_pass.run(
            labels,
            batch_size,
            self._choose,
            self.model.image_shape[-1],
            (self._by_pixel(inputs),),
        )
        records = records[:, :, : ops.shape(inputs["noise"])[0]]
        return ops.cast(ops.transpose(records, (2, 0, 1, 3)), "uint8")

    def _candidates(self, inputs):
        """The labels of what is evaluated, and how many: with guidance, twice the pictures."""
        labels, batch_size = inputs.get("label"), ops.shape(inputs["noise"])[0]
        if self.guided:
            none = ops.full_like(labels, self.model.num_classes)
            labels, batch_size = ops.concatenate([labels, none]), 2 * batch_size
        return labels, batch_size

    def _choose(self, parameters, row, column, inputs):
        """Draws one pixel, or takes the known one; `inputs` are those of `_by_pixel`."""
        index = row * self.model.image_shape[1] + column
        noise, temperature = read(inputs["noise"], index), inputs["temperature"]
        distribution = self.model.distribution
        if self.guided:
            levels = sample_guided(distribution, parameters, noise, inputs["guidance"], temperature)
        else:
            levels = distribution.sample(parameters, noise, temperature)
        if "image" in inputs:
            levels = ops.where(index < inputs["known"], read(inputs["image"], index), levels)
        return ops.concatenate([levels, levels]) if self.guided else levels

    def _by_pixel(self, inputs):
        """Numbers of a picture `(batch, 1)`, pictures `(pixels, batch, n)`, float32."""
        height, width, _ = self.model.image_shape
        found = {
            name: ops.reshape(inputs[name], (-1, 1))
            for name in ("temperature", "guidance", "known")
            if name in inputs
        }
        for name in ("noise", "image"):
            if name in inputs:
                pixels = ops.reshape(inputs[name], (-1, height * width, inputs[name].shape[-1]))
                found[name] = ops.cast(ops.transpose(pixels, (1, 0, 2)), "float32")
        return found


class RowSampler(PixelSampler):
    """A `PixelSampler` in steps of some rows, between which Python may look at them, or stop.

    Each step copies the caches: too much for pixels, little for rows.

    Call arguments:
        inputs: Dict of what a `PixelSampler` takes, and of `"state"`, that of the pass, and
            `"period"`, int scalar, which rows are next.

    Returns:
        The state after these rows.
    """

    def __init__(self, model, guided=False):
        super().__init__(model, guided)
        self.autocast = False  # the state has the model's own precision

    def call(self, inputs):
        labels, _ = self._candidates(inputs)
        steps = self.incremental_pass.steps(labels, self._choose, (self._by_pixel(inputs),))
        return self.incremental_pass.advance(inputs["period"], inputs["state"], steps)

    def steps(self, batch):
        """Draws one batch of inputs; yields rows done and levels, as `draw_rows`."""
        count, steps = len(batch["noise"]), self.incremental_pass
        height, _, channels = self.model.image_shape
        state = steps.start(count * (1 + self.guided), channels)
        state = keras.tree.map_structure(ops.convert_to_numpy, state)
        for period in range(height // steps.period):
            inputs = {**batch, "state": state, "period": np.array(period, "int32")}
            state = self.predict_on_batch(inputs)
            levels = state["records"][:, :, :count].transpose(2, 0, 1, 3).astype("uint8")
            yield (period + 1) * steps.period, levels


class NoiseSequence(keras.utils.PyDataset):
    """Batches of labels, uniform noise and, for completion, known pixels.

    The noise of a picture depends on the seed and the picture's index alone, so batch size and
    backend don't change what is drawn. Every batch has the same size (the last one is filled up),
    so that the sampler is compiled once.

    Args:
        inputs: Dict of arrays of length N: what varies from picture to picture.
        count: Integer, N.
        noise_shape: Shape of one picture's noise.
        seed: Integer.
        batch_size: Integer.
    """

    def __init__(self, inputs, count, noise_shape, seed, batch_size):
        super().__init__()
        self.inputs = inputs
        self.count = count
        self.noise_shape = noise_shape
        self.seed = seed
        self.batch_size = batch_size

    def __len__(self):
        return math.ceil(self.count / self.batch_size)

    def __getitem__(self, index):
        indices = np.arange(index * self.batch_size, (index + 1) * self.batch_size)
        noise = np.stack([self._noise(picture) for picture in indices])
        rows = np.minimum(indices, self.count - 1)
        return ({"noise": noise, **{name: value[rows] for name, value in self.inputs.items()}},)

    def _noise(self, picture):
        generator = np.random.default_rng([self.seed, int(picture)])
        # Open at both ends: the logarithms of 0 and of 1 - 1 are infinite.
        tiny, below_one = np.float32(2.0**-32), np.float32(1.0 - 2.0**-24)
        return np.clip(generator.random(self.noise_shape, dtype="float32"), tiny, below_one)


def sample_guided(distribution, parameters, noise, weight, temperature=1.0):
    """Draws pixels from `p(x | y)**(1 + w) / p(x)**w`, renormalized channel by channel.

    Each channel's conditional distribution is evaluated on all levels under both the label and "no
    label", combined as `(1 + w) log p(. | y) - w log p(.)`, divided by the temperature and
    normalized over the levels.

    Args:
        distribution: That of a pixel, from `distributions.heads`.
        parameters: Its parameters `(2 * batch, num_parameters)`: first all pictures under their
            label, then the same pictures under "no label".
        noise: Uniform tensor `(batch, noise_size)` in (0, 1); the last are used, one a channel.
        weight: Tensor `(batch, 1)`, `w`; 0 is no guidance.
        temperature: Tensor `(batch, 1)`.

    Returns:
        Float tensor `(batch, channels)` of whole levels.

    Reference:
        Ho & Salimans 2022, Classifier-Free Diffusion Guidance, eq. 6,
        https://arxiv.org/abs/2207.12598
    """
    uniform = noise[:, distribution.noise_size - distribution.channels :]
    levels = []
    for channel in range(distribution.channels):
        earlier = [ops.concatenate([level, level]) for level in levels]
        log_probs = distribution.level_log_probs(parameters, earlier)
        with_label, without = ops.split(log_probs, 2, axis=0)
        guided = ((1.0 + weight) * with_label - weight * without) / temperature
        levels.append(first_level_above(guided, uniform[:, channel : channel + 1]))
    return ops.concatenate(levels, axis=-1)
