"""Verifies models with a custom network, head or conditioning strategy."""

import tempfile
from pathlib import Path

import keras
import numpy as np
from keras import ops
from scipy.stats import kstest

from keras_pixelcnnpp.conditions.values import Values, as_candidates
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.sampling.incremental_pass import IncrementalPass
from keras_pixelcnnpp.utils.backend import Tensor, compiled, full_float32
from keras_pixelcnnpp.utils.errors import UserError
from keras_pixelcnnpp.utils.indexing import read, write

NUM_SAMPLES = 2000  # to compare a head's samples with its probabilities


@full_float32()
def verify(model: AutoregressiveModel, seed: int = 0) -> None:
    """Checks that a model is causal and normalized, and that its samples match its likelihoods.

    Use it for models with a custom network, head or conditioning strategy. It checks that

    - the distribution of a sub-pixel depends only on earlier sub-pixels in raster order, by
      changing each sub-pixel of a random image in turn;
    - the probabilities of all levels of a sub-pixel add up to 1, and agree with `log_prob` and
      with the frequencies of sampled levels;
    - the incremental pass, which is used for sampling, has the same parameters as the network on a
      whole image, which fails if a network doesn't call a convolution through the evaluation;
    - a saved and loaded model has the same parameters.

    The network is evaluated once for each sub-pixel of an image. The weights of a copy are changed
    randomly, because weights that start at 0 could hide a dependence. The copy computes in float32,
    whatever the precision of the model, because rounding to bfloat16 looks like a difference.

    Args:
        model: An `AutoregressiveModel`.
        seed: Integer, random seed of the image, its condition and the changes of the weights.

    Raises:
        ValueError: If a check fails. The message names the check.

    Example:

    ```python
    keras_pixelcnnpp.layers.conditioning.STRATEGIES["mine"] = MyConditioning
    verify(PixelCNNPlusPlus((8, 8, 1), num_classes=3, conditioning="mine"))
    ```
    """
    rng = np.random.default_rng(seed)
    copy = type(model).from_config({**model.get_config(), "dtype": "float32"})
    for weight in copy.trainable_variables:
        weight.assign(ops.convert_to_numpy(weight) + 0.1 * rng.normal(size=weight.shape))
    values = copy.to_images(np.arange(copy.num_levels))
    image = rng.choice(values, copy.image_shape)
    given = copy.conditions.example(rng, 1)
    _require_causality(copy, image, values, given)
    _require_consistent_head(copy, rng)
    _require_same_pass(copy, image, given)
    _require_same_when_loaded(copy, image, given)


def _require_causality(
    model: AutoregressiveModel, image: np.ndarray, values: np.ndarray, given: Values
) -> None:
    height, width, channels = model.image_shape
    groups = model.network.groups
    before = _parameters(model, image, given)
    if not np.isfinite(before).all():
        raise UserError("Expected finite parameters of the distribution. Received: NaN or infinity")
    # A different order of summation changes the last bits.
    tolerance = 1e-4 * np.abs(before).max()
    for index in range(image.size):
        changed = image.copy()
        changed.flat[index] = values[0] if image.flat[index] != values[0] else values[-1]
        difference = np.abs(_parameters(model, changed, given) - before)
        pixel, channel = divmod(index, channels)
        # Later channel groups of the same pixel may depend on the sub-pixel.
        own = pixel * groups + (channel + 1 if groups > 1 else 1)
        earlier = difference.reshape(height * width * groups, -1)[:own].max(axis=1)
        if not earlier.max() <= tolerance:
            seen = divmod(int(earlier.argmax()) // groups, width)
            raise UserError(
                "The model is not autoregressive. Expected the distribution of a sub-pixel to "
                f"depend only on earlier ones. Received: pixel {seen} (row, column) depends on "
                f"channel {channel} of pixel {divmod(pixel, width)}"
            )


def _require_consistent_head(model: AutoregressiveModel, rng: np.random.Generator) -> None:
    """Compares the three methods of the head, for samples with random parameters."""
    head = model.distribution

    def tensor(values: np.ndarray) -> Tensor:
        return ops.convert_to_tensor(values.astype("float32"))

    parameters = tensor(rng.normal(scale=2, size=(NUM_SAMPLES, head.num_parameters)))
    noise = tensor(rng.uniform(size=(NUM_SAMPLES, head.noise_size)))
    sampled = head.sample(parameters, noise, ops.ones((NUM_SAMPLES, 1)))
    levels = ops.convert_to_numpy(sampled).astype("int32")
    by_level, earlier = np.zeros(NUM_SAMPLES), []
    for channel in range(head.channels):
        log_probs = head.level_log_probs(parameters, earlier)
        probabilities = np.exp(ops.convert_to_numpy(log_probs).astype("float64"))
        total = probabilities.sum(axis=-1)
        worst = total[np.abs(total - 1).argmax()]
        if not abs(worst - 1) <= 1e-3:
            raise UserError(
                f"The head {model.head!r} is not normalized. Expected the probabilities of all "
                f"levels of a sub-pixel to add up to 1. Received: {worst:.6g} in channel {channel}"
            )
        own = levels[:, channel : channel + 1]
        chosen = np.take_along_axis(probabilities, own, axis=1)[:, 0]
        by_level += np.log(chosen)
        # A random point in the interval of the level is uniform if levels have these probabilities.
        upper = np.take_along_axis(probabilities.cumsum(axis=1), own, axis=1)[:, 0]
        p_value = kstest(upper - rng.uniform(size=NUM_SAMPLES) * chosen, "uniform").pvalue
        if p_value < 1e-6:
            raise UserError(
                f"The head {model.head!r} samples other levels than expected from "
                f"`level_log_probs`. Received: p = {p_value:.2g} (Kolmogorov-Smirnov test) in "
                f"channel {channel}"
            )
        earlier.append(sampled[:, channel : channel + 1])
    difference = np.abs(ops.convert_to_numpy(head.log_prob(parameters, sampled)) - by_level).max()
    if not difference <= 1e-2:
        raise UserError(
            f"`log_prob` of the head {model.head!r} differs from the sum of `level_log_probs`. "
            f"Received: a difference of {difference:.3g} nats"
        )


def _require_same_pass(model: AutoregressiveModel, image: np.ndarray, given: Values) -> None:
    height, width, channels = model.image_shape
    incremental_pass = IncrementalPass(model)

    def choose(
        parameters: Tensor, row: Tensor, column: Tensor, found: Tensor, pixels: Tensor
    ) -> tuple[Tensor, Tensor]:
        index = row * width + column
        pixel = ops.reshape(read(pixels, index), (1, channels))
        return pixel, write(found, index, ops.reshape(parameters, (-1,)))

    def run(inputs: dict[str, Tensor]) -> Tensor:
        pixels, found = (inputs["pixels"],), ops.zeros((height * width, num_parameters))
        return incremental_pass.run(inputs["values"], 1, choose, pixels, found)[1]

    num_parameters = model.network.num_parameters
    levels = model.to_levels(image).reshape(height * width, channels)
    inputs = {"pixels": levels.astype("float32"), "values": as_candidates(given)}
    found = ops.convert_to_numpy(compiled(run, model.variables)(inputs))
    expected = _parameters(model, image, given)
    difference = np.abs(found.reshape(expected.shape) - expected).max(axis=-1)
    if not difference.max() <= 1e-3 * np.abs(expected).max():
        pixel = divmod(int(difference.argmax()), width)
        raise UserError(
            "The incremental pass, which samples, differs from the network on a whole image. "
            "Expected convolutions to be called by `evaluation.convolve`. Received: different "
            f"parameters at pixel {pixel} (row, column)"
        )


def _require_same_when_loaded(model: AutoregressiveModel, image: np.ndarray, given: Values) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        model.save(path)
        loaded = keras.models.load_model(path)
    if not np.array_equal(_parameters(loaded, image, given), _parameters(model, image, given)):
        raise UserError(
            "The model changes when it is saved and loaded. Expected every layer with weights to "
            "be an attribute, or in a list or dict that is an attribute, and to be built by "
            "`build`. Received: different parameters"
        )


def _parameters(model: AutoregressiveModel, image: np.ndarray, given: Values) -> np.ndarray:
    """Returns the parameters of each pixel as an array `(height, width, num_parameters)`."""
    inputs = image[None], as_candidates(given)
    parameters = model.pixel_parameters(*keras.tree.map_structure(ops.convert_to_tensor, inputs))
    return ops.convert_to_numpy(parameters)[0, 0]
