"""Sampling and completing many images: checks, noise, and the sampler."""

import math

import keras
import numpy as np
from keras import ops
from scipy.special import softmax

from keras_pixelcnnpp.backend import compiled, in_batches, on_gpu, read
from keras_pixelcnnpp.checks import (
    checked_images,
    require_integer,
    require_temperature,
)
from keras_pixelcnnpp.distributions.levels import to_images, to_levels
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.sampling.incremental_pass import IncrementalPass


def sample_images(
    model, labels, images, observed_rows, seed, temperature, batch_size, verbose
) -> np.ndarray:
    """What `AutoregressiveModel.sample` (`images` being `None`) or `complete` returns.

    The model keeps the compiled samplers for the next call.
    """
    require_integer("batch_size", batch_size)
    inputs = _checked_inputs(model, labels, images, observed_rows, temperature)
    if seed is None:  # `keras.utils.set_random_seed` sets that state
        seed = np.random.randint(2**31)  # noqa: NPY002
    require_integer("seed", seed, low=0)
    if model.num_classes:
        _choose_classes(model, inputs, int(seed), batch_size)
    count = len(inputs["temperature"])
    if count == 0:
        return np.zeros((0, *model.image_shape), "uint8")

    def with_noise(rows):
        noise = np.stack([_noise(model, int(seed), int(row)) for row in rows])
        return {"noise": noise, **{name: value[rows] for name, value in inputs.items()}}

    size = _rows_at_once(count, batch_size)
    starts = range(0, count, size)
    # The last batch is filled up.
    batches = [(np.minimum(np.arange(start, start + size), count - 1),) for start in starts]
    sampler = _compiled_sampler(model, with_noise(*batches[0]))
    return in_batches(lambda rows: sampler(with_noise(rows)), batches, verbose)[:count]


def _noise(model, seed, index):
    """Uniform noise of an image, of its index and the seed alone, whatever the batch size."""
    shape = (*model.image_shape[:2], model.distribution.noise_size)
    # Open at both ends: the logarithms of 0 and of 1 - 1 are infinite.
    tiny, below_one = np.float32(2.0**-32), np.float32(1.0 - 2.0**-24)
    noise = np.random.default_rng([seed, index]).random(shape, dtype="float32")
    return np.clip(noise, tiny, below_one)


def _checked_inputs(model, labels, images, observed_rows, temperature):
    """The inputs of a sampler except noise: a dict of arrays with a row for each image."""
    inputs, count = {}, np.size(labels)
    if images is not None:
        inputs["image"] = checked_images(images, model.image_shape, model.num_levels)
        count = len(inputs["image"])
        inputs["known"] = known_pixels(observed_rows, count, model.image_shape)
    if model.num_classes or images is not None:
        labels = model._checked_labels(labels, count)
    else:
        require_integer("labels", labels)
        count = labels
    if model.num_classes:
        inputs["label"] = labels
    require_temperature(temperature)
    inputs["temperature"] = np.full(count, temperature, "float32")
    return inputs


def _choose_classes(model, inputs, seed, batch_size):
    """Puts a class at random, by its probability given the known pixels, in the place of -1."""
    rows = np.flatnonzero(inputs["label"] < 0)
    if not len(rows):
        return
    scores = np.zeros((len(rows), model.num_classes))
    if "image" in inputs:
        known = np.arange(np.prod(model.image_shape[:2])) < inputs["known"][rows, None]
        by_pixel = model._class_pixel_log_likelihoods(inputs["image"][rows], batch_size)
        by_pixel = by_pixel.reshape(len(rows), model.num_classes, -1)
        scores = np.einsum("nkp,np->nk", by_pixel, known)
    # From another random stream, so that the noise of an image is the same under a given label.
    uniform = np.array([np.random.default_rng([seed, int(row), 1]).random() for row in rows])
    cumulative = np.cumsum(softmax(scores.astype("float64"), axis=1), axis=1)
    chosen = (cumulative < uniform[:, None]).sum(axis=1)
    inputs["label"] = inputs["label"].copy()
    inputs["label"][rows] = np.minimum(chosen, model.num_classes - 1)


def _compiled_sampler(model, batch):
    """The sampler for such a batch: compiled at a model's first call, then kept."""
    samplers, kind = model._compiled_functions.samplers, "image" in batch
    if kind not in samplers:
        # On a GPU, TensorFlow's own executor would start some 10^5 small kernels a batch. On a CPU
        # it takes twice as long as XLA does, but XLA takes a minute and a gigabyte to compile.
        step = compiled(PixelSampler(model), model.variables, batch, xla=on_gpu())
        samplers.setdefault(kind, step)  # of two threads, the first one's
    return samplers[kind]


def _rows_at_once(count, batch_size):
    """The size of the batches, all alike, of which the last one is filled up.

    Where each size is compiled for, there are few: powers of four, and `batch_size`.
    """
    if keras.backend.backend() == "tensorflow" and not on_gpu():
        return math.ceil(count / max(1, math.ceil(count / batch_size)))
    return min(batch_size, 4 ** (((count - 1).bit_length() + 1) // 2))


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
        raise UserError(
            f"Invalid value for argument `observed_rows`. Expected an integer from 0 to {height}, "
            f"or a boolean mask of shape {(height, width)} or {(count, height, width)}. "
            f"Received: dtype={array.dtype}, shape={array.shape}"
            + (f", value={array}" if array.ndim == 0 else "")
        )
    flat = np.broadcast_to(array, (count, height, width)).reshape(count, height * width)
    if np.any(flat[:, 1:] & ~flat[:, :-1]):
        raise UserError(
            "Invalid value for argument `observed_rows`. Expected a mask whose known pixels come "
            "before all others in raster order. Received a mask with an unknown pixel before a "
            "known one"
        )
    return flat.sum(axis=1).astype("int32")


class PixelSampler:
    """Maps labels and uniform noise to images: generation and completion.

    All randomness is in the noise, so that one seed gives the same images whatever the batch size.

    Args:
        model: An `AutoregressiveModel`.

    Call arguments:
        inputs: Dict of
            `"label"`, int `(batch,)` (absent for an unconditional model);
            `"noise"`, uniform in (0, 1), `(batch, height, width, noise_size)` of the head;
            `"temperature"`, float `(batch,)`;
            `"image"`, int `(batch, height, width, channels)`, and `"known"`, int `(batch,)`: the
            number of pixels, in raster order, that are taken from the image (both may be absent).

    Returns:
        uint8 `(batch, height, width, channels)`.
    """

    def __init__(self, model):
        self.model = model
        self.incremental_pass = IncrementalPass(model)

    def __call__(self, inputs):
        records = self.incremental_pass.run(
            inputs.get("label"),
            ops.shape(inputs["noise"])[0],
            self._choose,
            self.model.image_shape[-1],
            (self._by_pixel(inputs),),
        )
        return to_images(ops.transpose(records, (2, 0, 1, 3)), self.model.num_levels)

    def _choose(self, parameters, row, column, inputs):
        """Samples one pixel, or takes the known one; `inputs` are those of `_by_pixel`."""
        index = row * self.model.image_shape[1] + column
        noise, temperature = read(inputs["noise"], index), inputs["temperature"]
        levels = self.model.distribution.sample(parameters, noise, temperature)
        if "image" in inputs:
            levels = ops.where(index < inputs["known"], read(inputs["image"], index), levels)
        return levels

    def _by_pixel(self, inputs):
        """Numbers of an image `(batch, 1)`, images `(pixels, batch, n)`, float32."""
        height, width, _ = self.model.image_shape
        found = {
            name: ops.reshape(inputs[name], (-1, 1))
            for name in ("temperature", "known")
            if name in inputs
        }
        planes = {"noise": inputs["noise"]}
        if "image" in inputs:
            planes["image"] = to_levels(inputs["image"], self.model.num_levels)
        for name, values in planes.items():
            pixels = ops.reshape(values, (-1, height * width, values.shape[-1]))
            found[name] = ops.cast(ops.transpose(pixels, (1, 0, 2)), "float32")
        return found
