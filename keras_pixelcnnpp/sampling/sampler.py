"""Sampling and completing many images: checks, noise, and the sampler."""

import math

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.backend import on_gpu, verbosity
from keras_pixelcnnpp.checks import (
    checked_images,
    checked_labels,
    require_integer,
    require_number,
    require_temperature,
)
from keras_pixelcnnpp.data.batches import feed
from keras_pixelcnnpp.distributions.heads import first_level_above
from keras_pixelcnnpp.distributions.levels import to_images, to_levels
from keras_pixelcnnpp.errors import without_retracing_advice
from keras_pixelcnnpp.layers.evaluation import read
from keras_pixelcnnpp.sampling.incremental_pass import IncrementalPass

XLA_PAYS_FROM = 1000  # images


@without_retracing_advice()
def draw(
    model, labels, images, observed_rows, seed, temperature, guidance, batch_size, verbose
) -> np.ndarray:
    """What `AutoregressiveModel.sample` (`images` being `None`) or `complete` returns.

    The model keeps the compiled samplers for the next call.
    """
    inputs, count = _checked_inputs(model, labels, images, observed_rows)
    batches = _noisy(model, inputs, count, seed, temperature, guidance, batch_size)
    if count == 0:
        return np.zeros((0, *model.image_shape), "uint8")
    sampler = _sampler(PixelSampler, model, guidance, "image" in inputs, count)
    verbose = verbosity(verbose, len(batches))
    return sampler.predict(feed(batches), verbose=verbose)[:count]


def sample_rows(model, labels, images, observed_rows, seed, temperature, guidance):
    """What `AutoregressiveModel.sample_rows` returns; the arguments are those of `draw`."""
    inputs, count = _checked_inputs(model, labels, images, observed_rows)
    if count == 0:
        raise ValueError(
            "Invalid value for argument `labels`. Expected at least one. Received: none"
        )
    if images is None:
        inputs["image"] = np.zeros((count, *model.image_shape), "uint8")
        inputs["known"] = known_pixels(observed_rows, count, model.image_shape)
    ((batch,),) = _noisy(model, inputs, count, seed, temperature, guidance, count)
    return _sampler(RowSampler, model, guidance, True, count).steps(batch)


def _checked_inputs(model, labels, images, observed_rows):
    """The inputs of a sampler but for noise, and how many images they ask for."""
    inputs, count = {}, np.size(labels)
    if images is not None:
        inputs["image"] = checked_images(images, model.image_shape)
        count = len(inputs["image"])
        inputs["known"] = known_pixels(observed_rows, count, model.image_shape)
    if model.num_classes:
        inputs["label"] = checked_labels(labels, count, model.num_labels, model.class_names)
    elif images is None:
        require_integer("labels", labels)
        count = labels
    return inputs, count


def _sampler(cls, model, guidance, completes, count):
    """The compiled sampler for such images."""
    guided, jit_compile = guidance != 0, _jit_compile(count)
    samplers, kind = model._runners.samplers, (cls, guided, completes, jit_compile)
    if kind not in samplers:
        samplers[kind] = cls(model, guided)
        samplers[kind].compile(jit_compile=jit_compile)
    return samplers[kind]


def _noisy(model, inputs, count, seed, temperature, guidance, batch_size):
    """The checked inputs of a sampler, with noise, in batches."""
    if seed is None:
        # NumPy's global state, which `keras.utils.set_random_seed` sets.
        seed = np.random.randint(2**31)  # noqa: NPY002
    require_integer("seed", seed, low=0)
    require_temperature(temperature)
    require_number("guidance", guidance, "[0, inf)")
    require_integer("batch_size", batch_size)
    if guidance and model.num_classes == 0:
        raise ValueError("Guidance needs a model with classes. Received: num_classes=0")
    if guidance and model.label_dropout_rate == 0:
        raise ValueError(
            "Guidance needs a model trained with label dropout. Received: label_dropout_rate=0"
        )
    inputs = {**inputs, "temperature": np.full(count, temperature, "float32")}
    if guidance:
        inputs["guidance"] = np.full(count, guidance, "float32")
    noise_shape = (*model.image_shape[:2], model.distribution.noise_size)
    return NoiseSequence(inputs, count, noise_shape, int(seed), max(1, min(batch_size, count)))


def _jit_compile(count):
    """Whether to compile with XLA: always under JAX, never under torch.

    Under TensorFlow on a GPU, where a batch would be some 10^5 small kernels, always; on a CPU for
    large jobs. There its own executor takes twice as long per batch, but XLA takes longer to
    compile than a few hundred images take to sample.
    """
    if keras.backend.backend() == "tensorflow":
        return on_gpu() or count >= XLA_PAYS_FROM
    return keras.backend.backend() == "jax"


def known_pixels(observed_rows, count, image_shape):
    """Number of known pixels of each image, int32 `(count,)`, from rows or a mask.

    Raises:
        ValueError: If the mask isn't such a prefix or has another shape.
    """
    height, width, _ = image_shape
    array = np.asarray(observed_rows)
    if array.ndim == 0 and array.dtype.kind in "ui" and 0 <= array <= height:
        return np.full(count, int(array) * width, "int32")
    if array.dtype != bool or array.shape not in ((height, width), (count, height, width)):
        raise ValueError(
            f"Invalid value for argument `observed_rows`. Expected an integer from 0 to {height}, "
            f"or a boolean mask of shape {(height, width)} or {(count, height, width)}. "
            f"Received: dtype={array.dtype}, shape={array.shape}"
            + (f", value={array}" if array.ndim == 0 else "")
        )
    flat = np.broadcast_to(array, (count, height, width)).reshape(count, height * width)
    if np.any(flat[:, 1:] & ~flat[:, :-1]):
        raise ValueError(
            "Invalid value for argument `observed_rows`. Expected a mask whose known pixels come "
            "before all others in raster order. Received a mask with an unknown pixel before a "
            "known one"
        )
    return flat.sum(axis=1).astype("int32")


class PixelSampler(keras.Model):
    """Maps labels and uniform noise to images: generation, completion and guidance.

    A Keras model, so that `predict` does the batching, compiling and progress bar. All randomness
    is in the noise, so that one seed gives the same images whatever the batch size.

    Args:
        model: An `AutoregressiveModel`.
        guided: Boolean, whether label guidance is used, at twice the cost.

    Call arguments:
        inputs: Dict of
            `"label"`, int `(batch,)` (absent for an unconditional model);
            `"noise"`, uniform in (0, 1), `(batch, height, width, noise_size)` of the head;
            `"temperature"`, float `(batch,)`;
            `"guidance"`, float `(batch,)`, only if `guided`;
            `"image"`, int `(batch, height, width, channels)`, and `"known"`, int `(batch,)`:
            so many pixels, in raster order, are taken from the image (both may be absent).

    Returns:
        uint8 `(batch, height, width, channels)`.
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
        return to_images(ops.transpose(records, (2, 0, 1, 3)), self.model.num_levels)

    def _candidates(self, inputs):
        """The labels of what is evaluated, and how many: with guidance, twice the images."""
        labels, batch_size = inputs.get("label"), ops.shape(inputs["noise"])[0]
        if self.guided:
            none = ops.full_like(labels, self.model.num_classes)
            labels, batch_size = ops.concatenate([labels, none]), 2 * batch_size
        return labels, batch_size

    def _choose(self, parameters, row, column, inputs):
        """Samples one pixel, or takes the known one; `inputs` are those of `_by_pixel`."""
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
        """Numbers of an image `(batch, 1)`, images `(pixels, batch, n)`, float32."""
        height, width, _ = self.model.image_shape
        found = {
            name: ops.reshape(inputs[name], (-1, 1))
            for name in ("temperature", "guidance", "known")
            if name in inputs
        }
        planes = {"noise": inputs["noise"]}
        if "image" in inputs:
            planes["image"] = to_levels(inputs["image"], self.model.num_levels)
        for name, values in planes.items():
            pixels = ops.reshape(values, (-1, height * width, values.shape[-1]))
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
        """Samples one batch of inputs; yields rows done and images, as `sample_rows`."""
        count, steps = len(batch["noise"]), self.incremental_pass
        height, _, channels = self.model.image_shape
        state = steps.start(count * (1 + self.guided), channels)
        state = keras.tree.map_structure(ops.convert_to_numpy, state)
        for period in range(height // steps.period):
            inputs = {**batch, "state": state, "period": np.array(period, "int32")}
            state = self.predict_on_batch(inputs)
            levels = state["records"][:, :, :count].transpose(2, 0, 1, 3)
            yield (period + 1) * steps.period, to_images(levels, self.model.num_levels)


class NoiseSequence(keras.utils.PyDataset):
    """Batches of labels, uniform noise and, for completion, known pixels.

    The noise of an image depends on the seed and the image's index alone, so batch size and
    backend don't change what is sampled. Every batch has the same size (the last one is filled up),
    so that the sampler is compiled once. `inputs` is a dict of arrays of length `count`.
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
        noise = np.stack([self._noise(image) for image in indices])
        rows = np.minimum(indices, self.count - 1)
        return ({"noise": noise, **{name: value[rows] for name, value in self.inputs.items()}},)

    def _noise(self, image):
        generator = np.random.default_rng([self.seed, int(image)])
        # Open at both ends: the logarithms of 0 and of 1 - 1 are infinite.
        tiny, below_one = np.float32(2.0**-32), np.float32(1.0 - 2.0**-24)
        return np.clip(generator.random(self.noise_shape, dtype="float32"), tiny, below_one)


def sample_guided(distribution, parameters, noise, weight, temperature):
    """Samples pixels from `p(x | y)**(1 + w) / p(x)**w`, renormalized channel by channel.

    That is `(1 + w) log p(. | y) - w log p(.)` over all levels, both at the temperature.

    Args:
        distribution: That of a pixel, from `distributions.heads`.
        parameters: Its parameters `(2 * batch, num_parameters)`: first all images under their
            label, then the same images under "no label".
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
    levels, temperature = [], ops.concatenate([temperature, temperature])
    for channel in range(distribution.channels):
        earlier = [ops.concatenate([level, level]) for level in levels]
        log_probs = distribution.level_log_probs(parameters, earlier, temperature)
        with_label, without = ops.split(log_probs, 2, axis=0)
        guided = (1.0 + weight) * with_label - weight * without
        levels.append(first_level_above(guided, uniform[:, channel : channel + 1]))
    return ops.concatenate(levels, axis=-1)
