"""Samples and completes images: checks, random numbers, batches and the sampler."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.conditions import Values
from keras_pixelcnnpp.conditions.values import first_candidate, num_images, taken
from keras_pixelcnnpp.sampling.choices import WholePixels, choice_for
from keras_pixelcnnpp.sampling.incremental_pass import IncrementalPass
from keras_pixelcnnpp.sampling.model import PixelModel
from keras_pixelcnnpp.sampling.options import SamplingOptions
from keras_pixelcnnpp.sampling.particles import Particles
from keras_pixelcnnpp.utils.backend import (
    Tensor,
    Tensors,
    compiled,
    full_float32,
    in_batches,
    on_gpu,
)
from keras_pixelcnnpp.utils.checks import image_dtype
from keras_pixelcnnpp.utils.indexing import read


@full_float32()
def sample_images(
    model: PixelModel,
    values: Values,
    options: SamplingOptions,
    images: np.ndarray | None = None,
    known: np.ndarray | None = None,
    num_particles: int = 0,
    num_samples: int = 1,
    positions: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Samples or completes images. The model keeps the compiled samplers.

    Args:
        model: An `AutoregressiveModel`.
        values: Values of the condition, `(N, ...)`, as the network takes them.
        options: The other arguments.
        images: uint8 array `(N, height, width, channels)`, images to complete, or `None`.
        known: The result of `checked_observed`, or `None`.
        num_particles: Integer, number of particles of an image, or 0 to ignore known pixels after
            unknown ones.
        num_samples: Integer, number of images to sample from the particles of each image.
        positions: Int array `(N,)`, the position of each image in a larger set, which determines
            its noise; by default, those in `values`.

    Returns:
        uint8 array `(N * num_samples, height, width, channels)`, and the estimated log-probability
        of the known pixels, float32 `(N,)`, nats. The latter is 0 without particles.
    """
    options = options.checked(model)
    count, seed = num_images(values), int(options.seed)
    choice = choice_for(model, options, known is not None and known.ndim == 4)
    inputs = choice.inputs(options, count) | {"values": values}
    if images is not None:
        known = known if known.ndim == 4 else known[..., None]
        inputs.update(image=images, known=np.broadcast_to(known, images.shape))
        if num_particles:
            unknown: Any = ~known.all(axis=(2, 3))
            from_row = np.logical_or.accumulate(unknown[:, ::-1], axis=1)[:, ::-1]
            inputs["unknown_later"] = np.pad(from_row[:, 1:], [(0, 0), (0, 1)]).astype("float32")
    dtype = image_dtype(model.num_levels)
    if count == 0:
        return np.zeros((0, *model.image_shape), dtype), np.zeros(0, "float32")

    noise_shape = (*model.image_shape[:2], choice.noise_size)
    positions = (np.arange(count) if positions is None else positions).tolist()

    def with_noise(rows: np.ndarray) -> dict[str, np.ndarray]:
        noise = [_noise(noise_shape, seed, positions[row], num_particles) for row in rows]
        noise = {name: np.stack([one[name] for one in noise]) for name in noise[0]}
        return {**noise, **taken(inputs, rows)}

    size = _rows_at_once(count, max(1, options.batch_size // max(1, num_particles)))
    starts = range(0, count, size)
    # The last batch is padded with its last image.
    batches = [np.minimum(np.arange(start, start + size), count - 1) for start in starts]
    step = _compiled_sampler(model, choice, with_noise(batches[0]), num_particles, num_samples)
    found = in_batches(lambda rows: step(with_noise(rows)), batches, options.verbose)
    if num_particles > 1:
        _warn_of_collapse(found["ancestors"][:count], num_particles, num_samples)
    images = found["images"][: count * num_samples].astype(dtype, copy=False)
    return images, found["log_prob"][:count]


def _warn_of_collapse(ancestors: np.ndarray, num_particles: int, num_samples: int) -> None:
    # Resampling at an effective number below one half leaves about that many ancestors, so only
    # much fewer are a sign of trouble.
    collapsed = ancestors < max(2, min(num_samples, num_particles) / 4)
    if collapsed.any():
        warnings.warn(
            f"Particles have collapsed in {collapsed.sum()} of {len(collapsed)} runs. In the worst "
            f"one, they effectively descend from about {ancestors.min():.1f} of {num_particles}, "
            "so completions are hardly independent and likelihoods are rough. Use more particles",
            stacklevel=4,
        )


def _noise(
    shape: tuple[int, int, int], seed: int, index: int, num_particles: int
) -> dict[str, np.ndarray]:
    """Returns the uniform noise of an image, which depends only on the seed and its index."""
    # In the open interval (0, 1), because the sampler needs log(u) and log(1 - u).
    tiny, below_one = np.float32(2.0**-32), np.float32(1.0 - 2.0**-24)

    def uniform(shape: tuple[int, ...], *stream: int) -> np.ndarray:
        numbers = np.random.default_rng([seed, index, *stream]).random(shape, dtype="float32")
        return np.clip(numbers, tiny, below_one)

    if not num_particles:
        return {"noise": uniform(shape)}
    rows = shape[0] + 1  # to resample after each row, and to choose the final particle
    return {"noise": uniform((num_particles, *shape), 2), "row_noise": uniform((rows,), 3)}


def _compiled_sampler(
    model: PixelModel, choice: WholePixels, batch: dict[str, np.ndarray], *counts: int
) -> Callable:
    """Returns the compiled sampler for batches like `batch`, which the model keeps."""

    def make() -> Callable:
        # On a GPU, TensorFlow's own executor would start about 10^5 small kernels per batch. On a
        # CPU it is half as fast as XLA, but XLA needs a minute and a gigabyte to compile.
        sampler = PixelSampler(model, choice, *counts)
        return compiled(sampler, model.variables, batch, xla=on_gpu())

    return model.compiled_functions.get(("sampler", choice, frozenset(batch), *counts), make)


def _rows_at_once(count: int, batch_size: int) -> int:
    """Returns the common size of all batches; the last one is padded.

    If the backend compiles for each size, only powers of four and `batch_size` are used.
    """
    if keras.backend.backend() == "tensorflow" and not on_gpu():
        return math.ceil(count / max(1, math.ceil(count / batch_size)))
    return min(batch_size, 4 ** (((count - 1).bit_length() + 1) // 2))


class PixelSampler:
    """Computes images from values of the condition and noise, for generation and completion.

    All random numbers are in the noise, so images do not depend on the batch size.

    Args:
        model: An `AutoregressiveModel`.
        choice: How the value of a pixel is chosen, such as `WholePixels(model.distribution)`.
        num_particles: Integer, number of particles of an image, or 0.
        num_samples: Integer, number of samples from the particles of each image.

    Call arguments:
        inputs: Dict of tensors:
            `"values"`, those of the condition, `(batch, ...)`, by the names of its parts;
            `"noise"`, uniform in (0, 1), `(batch, height, width, n)`, or with particles
            `(batch, particles, height, width, n)`, where n is the `noise_size` of `choice`;
            the inputs of `choice`, float `(batch,)`, such as `"temperature"`;
            `"row_noise"`, uniform in (0, 1), `(batch, height + 1)`, only with particles;
            `"unknown_later"`, float `(batch, height)`, 1 if a later row has an unknown pixel, else
            0, only with particles;
            `"image"`, int `(batch, height, width, channels)`, and `"known"`, boolean `(batch,
            height, width, channels)`, only for completion.

    Returns:
        Dict of tensors: `"images"`, uint8 `(batch * num_samples, height, width, channels)`;
        `"log_prob"` of the known pixels, `(batch,)`, nats, 0 without particles; and with particles
        `"ancestors"`, float `(batch,)`, the effective number of particles from which all others
        descend.
    """

    def __init__(
        self,
        model: PixelModel,
        choice: WholePixels,
        num_particles: int = 0,
        num_samples: int = 1,
    ):
        self.model = model
        self.choice = choice
        self.particles = Particles(num_particles) if num_particles else None
        self.num_samples = num_samples
        self.incremental_pass = IncrementalPass(model, choice.candidates)

    def __call__(self, inputs: Tensors) -> Tensors:
        # 1. Values, inputs and state of each image, or of each of its particles.
        num_images = ops.shape(inputs["noise"])[0]
        batch_size = num_images * (self.particles.count if self.particles else 1)
        by_pixel, carry = self._by_pixel(inputs), self.choice.first(batch_size)
        values = self.choice.values(first_candidate(by_pixel["values"]))
        if self.particles:
            carry.update(self.particles.first(num_images))
        # 2. All pixels.
        levels, carry = self.incremental_pass.run(
            values,
            batch_size,
            self._choose,
            (by_pixel,),
            carry,
            self._after_row if self.particles else None,
        )
        levels = ops.transpose(levels, (2, 0, 1, 3))
        # 3. Images, sampled from the particles.
        found = {"log_prob": ops.zeros((batch_size,))}
        if self.particles:
            uniform = by_pixel["row_noise"][-1]
            levels, found["log_prob"], found["ancestors"] = self.particles.samples(
                levels, carry, uniform, self.num_samples
            )
        return {"images": self.model.to_images(levels), **found}

    def _by_pixel(self, inputs: Tensors) -> Tensors:
        """Moves pixels (or rows) to the first axis, and repeats inputs for each particle."""
        repeat = self.particles.repeat if self.particles else lambda x: x
        by_row = ("row_noise", "unknown_later")
        planes = {name: inputs[name] for name in ("noise", "image", "known") if name in inputs}
        found: Tensors = {
            name: keras.tree.map_structure(lambda x: repeat(x[:, None]), values)
            for name, values in inputs.items()
            if name not in (*by_row, *planes)
        }
        if self.particles:
            found |= {name: ops.transpose(inputs[name])[..., None] for name in by_row}
        if "image" in inputs:
            planes["image"] = repeat(self.model.to_levels(inputs["image"]))
            planes["known"] = repeat(inputs["known"])
        height, width, _ = self.model.image_shape
        for name, values in planes.items():
            pixels = ops.reshape(values, (-1, height * width, values.shape[-1]))
            found[name] = ops.cast(ops.transpose(pixels, (1, 0, 2)), "float32")
        return found

    def _choose(
        self, parameters: Tensor, row: Tensor, column: Tensor, carry: Tensors, inputs: Tensors
    ) -> tuple[Tensor, Tensors]:
        """Samples one pixel, or uses its known value. `inputs` is the result of `_by_pixel`."""
        index = row * self.model.image_shape[1] + column
        known = None
        if "image" in inputs:
            known = read(inputs["known"], index) > 0, read(inputs["image"], index)
        parameters = ops.reshape(parameters, (-1, parameters.shape[1], parameters.shape[-1]))
        levels, carry, log_prob = self.choice.choose(
            parameters, read(inputs["noise"], index), known, inputs, carry
        )
        if self.particles:
            # Not in place (under torch), because a pixel may be evaluated several times.
            carry = {**carry, "log_weight": carry["log_weight"] + log_prob}
        return levels, carry

    def _after_row(self, row: Tensor, carry: Tensors, inputs: Tensors) -> tuple[Tensors, Tensor]:
        """Resamples the particles of each image; see `after_row` of `IncrementalPass.run`."""
        unknown_later = read(inputs["unknown_later"], row) > 0
        return self.particles.resampled(carry, read(inputs["row_noise"], row), unknown_later)
