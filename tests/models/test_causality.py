"""No pixel's distribution depends on a later sub-pixel, and each sees all that it could."""

import itertools

import numpy as np
import pytest
from backend_tools import input_gradient
from enumeration import enumerable_model
from keras import ops
from layer_checks import randomize
from reference_receptive_field import receptive_field

from keras_pixelcnnpp.conditioning import STRATEGIES
from keras_pixelcnnpp.distributions import logistic_mixture
from keras_pixelcnnpp.distributions.levels import to_images
from keras_pixelcnnpp.models.pixelcnn import GatedPixelCNN, PixelCNN
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus


def gradients(model, image, labels, targets):
    """Gradients of log p(sub-pixel | earlier ones) with respect to the whole image.

    Args:
        model: A `PixelCNNPlusPlus`.
        image: Levels `(height, width, channels)`.
        labels: One label, or `None`.
        targets: List of `(i, j, c)`.

    Returns:
        Array `(len(targets), height, width, channels)`.
    """
    count, (_, _, channels) = len(targets), image.shape
    chosen = np.zeros((count, *image.shape), "float32")
    for index, target in enumerate(targets):
        chosen[(index, *target)] = 1
    chosen = ops.convert_to_tensor(chosen)
    candidates = None if labels is None else ops.full((count, 1), labels, "int32")

    def log_probs(levels):
        scaled = logistic_mixture.scale_to_unit(levels, model.num_levels)
        parameters = model.network(ops.expand_dims(scaled, 1), candidates)[:, 0]
        mixture = logistic_mixture.split(parameters, channels)
        log_weights = ops.log_softmax(mixture.logits, axis=-1)
        prefixes = [ops.zeros(levels.shape[:-1])]
        for c in range(1, channels + 1):
            components = logistic_mixture.component_log_probabilities(
                mixture, levels[..., :c], model.num_levels
            )
            prefixes.append(ops.logsumexp(log_weights + components, axis=-1))
        steps = [after - before for before, after in itertools.pairwise(prefixes)]
        return ops.sum(chosen * ops.stack(steps, axis=-1))

    # One copy of the image for each target: all gradients in one pass.
    return input_gradient(log_probs, np.repeat(image[None], count, axis=0))


def check(model, image, labels, targets):
    height, width, channels = image.shape
    seen = receptive_field(height, width, model.num_blocks, model.num_resolutions)
    order = np.arange(height * width * channels).reshape(image.shape)
    for (i, j, c), gradient in zip(targets, gradients(model, image, labels, targets), strict=True):
        assert np.all(np.isfinite(gradient))
        assert np.all(gradient[order > order[i, j, c]] == 0), f"({i}, {j}, {c}) sees the future"
        assert np.all(gradient[i, j, :c] != 0), f"({i}, {j}, {c}): earlier channels"
        reached = np.any(gradient != 0, axis=-1)
        reached[i, j] = False
        np.testing.assert_array_equal(reached, seen[i, j], f"what ({i}, {j}, {c}) sees")


def model_and_image(rng, trained, **arguments):
    options = {"num_blocks": 1, "filters": 4, "num_mixtures": 2, "dropout_rate": 0.5}
    options["conditioned_blocks"] = "all"
    model = PixelCNNPlusPlus(**{**options, **arguments})
    # No outermost level: if its probability is 1 to float32, its gradient is exactly 0.
    image = rng.integers(1, model.num_levels - 1, model.image_shape).astype("uint8")
    if trained:
        images = rng.integers(0, model.num_levels, (8, *model.image_shape))
        model.initialize(
            to_images(images, model.num_levels), np.arange(8) % max(model.num_classes, 1)
        )
        randomize(model.network, scale=0.1)
    # Wide components: where a distribution function is flat in float32, gradients are exactly 0.
    bias = model.network.head.bias
    channels, mixtures = model.image_shape[-1], model.num_mixtures
    values = ops.convert_to_numpy(bias).copy()
    values[mixtures * (1 + channels) : mixtures * (1 + 2 * channels)] = 0.0
    bias.assign(values)
    return model, image.astype("float32")


ALL_GRAY = [(i, j, 0) for i in range(8) for j in range(8)]


EVERY = "+".join(STRATEGIES)


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_classes": 0, "conditioning": "none"},
        {"conditioning": EVERY},
        pytest.param({"conditioning": EVERY, "num_resolutions": 1}, marks=pytest.mark.once),
        {"conditioning": "bias+film", "conditioned_blocks": "up"},
        {"conditioning": "bias+film", "conditioned_blocks": "up_left"},
    ],
)
def test_gray(rng, arguments):
    options = {"num_classes": 3, "num_levels": 17, "num_resolutions": 2, **arguments}
    model, image = model_and_image(rng, True, image_shape=(8, 8, 1), **options)
    check(model, image, 1 if model.num_classes else None, ALL_GRAY)
    if model.num_classes:
        scores = model.class_log_likelihoods(to_images(image[None], 17))[0]
        assert len(np.unique(scores)) == 3  # the label does enter


@pytest.mark.parametrize("trained", [pytest.param(False, marks=pytest.mark.once), True])
def test_rgb(rng, trained):
    model, image = model_and_image(
        rng, trained, image_shape=(16, 16, 3), num_classes=3, num_resolutions=3
    )
    places = [(0, 0), (0, 1), (0, 15), (1, 0), (1, 15), (2, 3), (7, 8), (8, 8), (9, 14), (15, 15)]
    check(model, image, 2, [(i, j, c) for i, j in places for c in range(3)])


@pytest.mark.parametrize("cls", [PixelCNN, GatedPixelCNN])
@pytest.mark.parametrize("head", ["logistic_mixture", "categorical"])
def test_no_sub_pixel_of_a_masked_network_sees_a_later_one(cls, head):
    # Wide, so that of the rectified features of a pixel some are not 0.
    options = {"filters": 48, "num_blocks": 2, "num_levels": 9, "num_classes": 3, "head": head}
    model = enumerable_model((5, 5, 3), cls, **options)
    image = np.random.default_rng(1).integers(1, 8, (5, 5, 3)).astype("float32")
    order = np.arange(75).reshape(5, 5, 3)
    target, channels = (2, 2), 3 if head == "categorical" else 1
    per_channel = model.network.num_parameters // channels
    weights = np.random.default_rng(2).normal(size=per_channel).astype("float32")
    weights = ops.convert_to_tensor(weights)
    for channel in range(channels):

        def combined(levels, channel=channel):
            scaled = logistic_mixture.scale_to_unit(levels, 9)[None, None]
            parameters = model.network(scaled, ops.ones((1, 1), "int32"))[0, 0]
            own = parameters[target][channel * per_channel : (channel + 1) * per_channel]
            return ops.sum(own * weights)

        gradient = input_gradient(combined, image)
        assert np.all(gradient[order >= order[2, 2, channel]] == 0)
        assert np.all(gradient[2, 2, :channel] != 0)
        assert np.all(gradient[1, 1:4] != 0)
        assert np.all(gradient[2, :2] != 0)


@pytest.mark.parametrize(("cls", "blind"), [(PixelCNN, True), (GatedPixelCNN, False)])
def test_blind_spot(cls, blind):
    """Of what lies above to the right, steeper than the diagonal, PixelCNN sees nothing."""
    # Beyond the first layer's 7×7, which sees everything near.
    options = {"filters": 12, "num_blocks": 12, "num_levels": 9, "head": "logistic_mixture"}
    model = enumerable_model((12, 12, 1), cls, **options)
    image = np.random.default_rng(0).integers(0, 9, (12, 12, 1)).astype("float32")
    weights = np.random.default_rng(1).normal(size=model.network.num_parameters)
    weights = ops.convert_to_tensor(weights.astype("float32"))

    def combined(levels):
        scaled = logistic_mixture.scale_to_unit(levels, 9)[None, None]
        return ops.sum(weights * model.network(scaled, ops.zeros((1, 1), "int32"))[0, 0, 11, 2])

    influence = np.abs(input_gradient(combined, image))[..., 0]
    assert not np.any(influence[11, 2:])
    # Of the last rows' right end, only the first layer's reach of three rows and columns is seen.
    unseen = influence[7:11, 10:] == 0
    assert np.all(unseen) if blind else not np.any(unseen)


def test_reference_field():
    """Two resolutions of two blocks see all of 8×8 pixels; one of one block does not."""
    seen = receptive_field(8, 8, 2, 2).reshape(64, 64)
    np.testing.assert_array_equal(seen, np.tril(np.ones((64, 64), bool), -1))
    seen = receptive_field(32, 32, 1, 1)
    assert not seen[31, 31, 0, 0]
    assert seen[31, 31, 30, 31]
    assert seen[16, 16, 15, 17]  # above to the right, where a masked convolution is blind
