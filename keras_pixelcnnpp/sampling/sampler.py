"""Samples and completes images: checks, random numbers, batches and the sampler."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops
from scipy.special import softmax

from keras_pixelcnnpp.backend import Tensor, Tensors, compiled, in_batches, on_gpu, read
from keras_pixelcnnpp.checks import (
    image_dtype,
    require_integer,
    require_number,
    require_temperature,
)
from keras_pixelcnnpp.distributions.levels import to_images, to_levels
from keras_pixelcnnpp.errors import invalid_argument
from keras_pixelcnnpp.sampling.guidance import digits, sample_guided
from keras_pixelcnnpp.sampling.incremental_pass import IncrementalPass
from keras_pixelcnnpp.sampling.particles import particle_at, resample


@dataclass(frozen=True)
class SamplingOptions:
    """Common arguments of `AutoregressiveModel.sample` and `complete`, which document them."""

    seed: int | None = None
    temperature: float = 1.0
    guidance: float = 0.0
    guidance_logit_scale: float | None = None
    batch_size: int = 100
    verbose: int | str = "auto"

    def check(self, model: keras.Model) -> None:
        """Raises a `UserError` if an argument is out of range."""
        require_integer("batch_size", self.batch_size)
        require_temperature(self.temperature)
        if self.seed is not None:
            require_integer("seed", self.seed, low=0)
        require_number("guidance", self.guidance, "[0, inf)")
        if self.guidance_logit_scale is not None:
            require_number("guidance_logit_scale", self.guidance_logit_scale, "[0, inf)")
        if self.guidance and model.num_classes < 2:
            expected = f"0 for fewer than two classes (num_classes={model.num_classes})"
            raise invalid_argument("guidance", self.guidance, expected)


def sample_images(
    model: keras.Model,
    labels: np.ndarray | Any,
    options: SamplingOptions,
    images: np.ndarray | None = None,
    known: np.ndarray | None = None,
    num_particles: int = 0,
    first: int | np.ndarray = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Samples or completes images. The model keeps the compiled samplers.

    Args:
        model: An `AutoregressiveModel`.
        labels: Int array `(N,)`, -1 for a random class; the integer N for an unconditional model.
        options: The other arguments.
        images: uint8 array `(N, height, width, channels)`, images to complete, or `None`.
        known: Boolean array `(N, height, width)`, true for known pixels of `images`, or `None`.
        num_particles: Integer, number of particles of an image, which are weighted by the known
            pixels, or 0 to ignore known pixels after unknown ones.
        first: Integer, position of the first image in a larger set, which determines its noise; or
            int array `(N,)`, a number for each image that is added to its position.

    Returns:
        uint8 array `(N, height, width, channels)`, and the estimated log-probability of the known
        pixels, float32 `(N,)`, nats. The latter is 0 without particles.
    """
    options.check(model)
    seed = random_seed() if options.seed is None else options.seed
    count = len(labels) if model.num_classes else int(labels)
    inputs = {"temperature": np.full(count, options.temperature, "float32")}
    if model.num_classes:
        known_part = images, known, num_particles
        inputs["label"] = _classes(model, labels, options, seed, first, *known_part)
    if images is not None:
        inputs.update(image=images, known=known)
    if options.guidance:
        scale = options.guidance_logit_scale
        scale = model.logit_scale / 2 if scale is None else scale
        inputs["guidance"] = np.full(count, options.guidance, "float32")
        inputs["guidance_logit_scale"] = np.full(count, scale, "float32")
    dtype = image_dtype(model.num_levels)
    if count == 0:
        return np.zeros((0, *model.image_shape), dtype), np.zeros(0, "float32")

    noise_size = model.distribution.noise_size
    if options.guidance:
        noise_size = model.image_shape[-1] * len(digits(model.num_levels))
    noise_shape = (*model.image_shape[:2], noise_size)

    positions = (np.arange(count) + first).tolist()

    def with_noise(rows: np.ndarray) -> dict[str, np.ndarray]:
        noise = [_noise(noise_shape, int(seed), positions[row], num_particles) for row in rows]
        noise = {name: np.stack([one[name] for one in noise]) for name in noise[0]}
        return {**noise, **{name: value[rows] for name, value in inputs.items()}}

    size = _rows_at_once(count, max(1, options.batch_size // max(1, num_particles)))
    starts = range(0, count, size)
    # The last batch is padded with its last image.
    batches = [np.minimum(np.arange(start, start + size), count - 1) for start in starts]
    sampler = _compiled_sampler(model, with_noise(batches[0]), num_particles)
    images, log_prob = in_batches(lambda rows: sampler(with_noise(rows)), batches, options.verbose)
    return images[:count].astype(dtype, copy=False), log_prob[:count]


def random_seed() -> int:
    """Returns a seed from NumPy's global state, which `keras.utils.set_random_seed` sets."""
    return np.random.randint(2**31)  # noqa: NPY002


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


def _classes(
    model: keras.Model,
    labels: np.ndarray,
    options: SamplingOptions,
    seed: int,
    first: int | np.ndarray,
    images: np.ndarray | None,
    known: np.ndarray | None,
    num_particles: int,
) -> np.ndarray:
    """Replaces labels -1 by random classes, sampled given the known pixels."""
    rows = np.flatnonzero(labels < 0)
    if not len(rows):
        return labels
    scores = np.zeros((len(rows), model.num_classes))
    if images is not None:
        scores = model.class_log_likelihoods(
            images[rows],
            observed=known[rows],
            num_particles=max(1, num_particles),
            seed=seed,
            batch_size=options.batch_size,
        )
    labels = labels.copy()
    labels[rows] = random_classes(scores, seed, (np.arange(len(labels)) + first)[rows])
    return labels


def random_classes(scores: np.ndarray, seed: int, positions: np.ndarray) -> np.ndarray:
    """Samples a class of each image from the softmax of scores `(N, num_classes)`, int `(N,)`."""
    # A separate random stream, so that the noise of an image is the same as with a given label.
    streams = [[seed, position, 1] for position in positions.tolist()]
    uniform = np.array([np.random.default_rng(stream).random() for stream in streams])
    cumulative = np.cumsum(softmax(scores.astype("float64"), axis=1), axis=1)
    chosen = (cumulative < uniform[:, None]).sum(axis=1)
    return np.minimum(chosen, scores.shape[1] - 1)


def _compiled_sampler(
    model: keras.Model, batch: dict[str, np.ndarray], num_particles: int
) -> Callable:
    """Returns the compiled sampler for batches like `batch`, which the model keeps."""
    samplers, kind = model._compiled_functions.samplers, (frozenset(batch), num_particles)
    if kind not in samplers:
        # On a GPU, TensorFlow's own executor would start about 10^5 small kernels per batch. On a
        # CPU it is half as fast as XLA, but XLA needs a minute and a gigabyte to compile.
        sampler = PixelSampler(model, "guidance" in batch, num_particles)
        step = compiled(sampler, model.variables, batch, xla=on_gpu())
        samplers.setdefault(kind, step)  # keeps the first one if two threads compile
    return samplers[kind]


def _rows_at_once(count: int, batch_size: int) -> int:
    """Returns the common size of all batches; the last one is padded.

    If the backend compiles for each size, only powers of four and `batch_size` are used.
    """
    if keras.backend.backend() == "tensorflow" and not on_gpu():
        return math.ceil(count / max(1, math.ceil(count / batch_size)))
    return min(batch_size, 4 ** (((count - 1).bit_length() + 1) // 2))


class PixelSampler:
    """Computes images from labels and uniform noise, for generation and completion.

    All random numbers are in the noise, so images do not depend on the batch size.

    Args:
        model: An `AutoregressiveModel`.
        guided: Boolean, whether the inputs contain `"guidance"`.
        num_particles: Integer, number of particles of an image, or 0.

    Call arguments:
        inputs: Dict of tensors:
            `"label"`, int `(batch,)`, absent for an unconditional model;
            `"noise"`, uniform in (0, 1), `(batch, height, width, n)`, or with particles
            `(batch, particles, height, width, n)`, where n is the head's `noise_size`, or with
            guidance the noise of `sample_guided`;
            `"row_noise"`, uniform in (0, 1), `(batch, height + 1)`, only with particles;
            `"temperature"`, float `(batch,)`;
            `"guidance"` and `"guidance_logit_scale"`, float `(batch,)`, only with guidance;
            `"image"`, int `(batch, height, width, channels)`, and `"known"`, boolean `(batch,
            height, width)`, only for completion.

    Returns:
        uint8 tensor `(batch, height, width, channels)`, and the log-probability of the known pixels
        `(batch,)`, nats, which is 0 without particles.
    """

    def __init__(self, model: keras.Model, guided: bool = False, num_particles: int = 0):
        self.model = model
        self.guided = guided
        self.num_particles = num_particles
        self.incremental_pass = IncrementalPass(model, model.num_classes if guided else 1)

    def __call__(self, inputs: Tensors) -> tuple[Tensor, Tensor]:
        labels = inputs.get("label")
        if labels is not None:
            labels = self._of_particles(labels)[:, None]
            if self.guided:
                classes = ops.arange(self.model.num_classes, dtype="int32")
                labels = ops.zeros_like(labels) + classes
        batch_size = ops.shape(inputs["temperature"])[0] * max(1, self.num_particles)
        by_pixel, carry = self._by_pixel(inputs), self._initial_carry(batch_size)
        after_row = self._after_row if self.num_particles else None
        levels, carry = self.incremental_pass.run(
            labels, batch_size, self._choose, (by_pixel,), carry, after_row
        )
        levels = ops.transpose(levels, (2, 0, 1, 3))
        log_evidence = ops.zeros((batch_size,))
        if self.num_particles:
            levels, log_evidence = self._chosen_particles(levels, carry, by_pixel)
        return to_images(levels, self.model.num_levels), log_evidence

    def _of_particles(self, x: Tensor) -> Tensor:
        return x if self.num_particles <= 1 else ops.repeat(x, self.num_particles, axis=0)

    def _initial_carry(self, batch_size: int | Tensor) -> Tensors:
        carry = {}
        if self.guided:
            carry["log_likelihood"] = ops.zeros((batch_size, self.model.num_classes))
        if self.num_particles:
            carry["log_weight"] = ops.zeros((batch_size,))
            carry["log_evidence"] = ops.zeros((batch_size,))
        return carry

    def _choose(
        self, parameters: Tensor, row: Tensor, column: Tensor, carry: Tensors, inputs: Tensors
    ) -> tuple[Tensor, Tensors]:
        """Samples one pixel, or uses its known value. `inputs` is the result of `_by_pixel`."""
        head = self.model.distribution
        index = row * self.model.image_shape[1] + column
        noise, known = read(inputs["noise"], index), None
        if "image" in inputs:
            known = read(inputs["known"], index) > 0, read(inputs["image"], index)
        carry = dict(carry)
        if self.guided:
            parameters = self._of_classes(parameters)
            levels, carry["log_likelihood"], log_prob = sample_guided(
                head,
                parameters,
                noise,
                carry["log_likelihood"],
                inputs,
                known,
            )
        else:
            parameters = ops.reshape(parameters, (-1, parameters.shape[-1]))
            temperature = inputs["temperature"]
            levels = head.sample(parameters, noise, temperature)
            if known is not None:
                levels = ops.where(*known, levels)
            if self.num_particles:
                log_prob = head.log_prob(parameters, levels, temperature)
        if self.num_particles:
            # Not in place (under torch), because a pixel may be evaluated several times.
            weight = ops.where(known[0][:, 0], log_prob, 0.0)
            carry["log_weight"] = carry["log_weight"] + weight
        return levels, carry

    def _of_classes(self, parameters: Tensor) -> Tensor:
        """Reshapes and broadcasts parameters to `(batch, num_classes, num_parameters)`."""
        parameters = ops.reshape(parameters, (-1, parameters.shape[1], parameters.shape[-1]))
        if parameters.shape[1] == 1:
            parameters = ops.repeat(parameters, self.model.num_classes, axis=1)
        return parameters

    def _after_row(self, row: Tensor, carry: Tensors, inputs: Tensors) -> tuple[Tensors, Tensor]:
        """Resamples the particles of each image; see `after_row` of `IncrementalPass.run`."""
        uniform = read(inputs["row_noise"], row)
        log_weights = ops.reshape(carry["log_weight"], (-1, self.num_particles))
        chosen, log_weights, log_mean = resample(log_weights, uniform)
        images = ops.reshape(chosen + self._first_particles(chosen), (-1,))
        carry = {
            **carry,
            "log_weight": ops.reshape(log_weights, (-1,)),
            "log_evidence": carry["log_evidence"] + self._of_particles(log_mean[:, 0]),
        }
        if self.guided:
            carry["log_likelihood"] = ops.take(carry["log_likelihood"], images, axis=0)
        return carry, images

    def _first_particles(self, chosen: Tensor) -> Tensor:
        """Returns the index in the batch of each image's first particle, int `(images, 1)`."""
        return ops.arange(ops.shape(chosen)[0], dtype="int32")[:, None] * self.num_particles

    def _chosen_particles(
        self, levels: Tensor, carry: Tensors, inputs: Tensors
    ) -> tuple[Tensor, Tensor]:
        """Samples one particle of each image by weight; also returns log p of the known pixels."""
        log_weights = ops.reshape(carry["log_weight"], (-1, self.num_particles))
        total = ops.logsumexp(log_weights, axis=1, keepdims=True)
        weights = ops.exp(log_weights - total)
        chosen = particle_at(weights, inputs["row_noise"][-1])
        images = (chosen + self._first_particles(chosen))[:, 0]
        log_evidence = ops.reshape(carry["log_evidence"], (-1, self.num_particles))[:, 0]
        log_evidence = log_evidence + total[:, 0] - math.log(self.num_particles)
        return ops.take(levels, images, axis=0), log_evidence

    def _by_pixel(self, inputs: Tensors) -> Tensors:
        """Moves pixels (or rows) to the first axis, and repeats inputs for each particle."""
        found: Tensors = {
            name: self._of_particles(ops.reshape(inputs[name], (-1, 1)))
            for name in ("label", "temperature", "guidance", "guidance_logit_scale")
            if name in inputs
        }
        planes = {"noise": inputs["noise"]}
        if self.num_particles:
            found["row_noise"] = ops.transpose(inputs["row_noise"])[..., None]
        if "image" in inputs:
            levels = to_levels(inputs["image"], self.model.num_levels)
            planes["image"] = self._of_particles(levels)
            planes["known"] = self._of_particles(inputs["known"][..., None])
        height, width, _ = self.model.image_shape
        for name, values in planes.items():
            pixels = ops.reshape(values, (-1, height * width, values.shape[-1]))
            found[name] = ops.cast(ops.transpose(pixels, (1, 0, 2)), "float32")
        return found
