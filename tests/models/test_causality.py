"""Gradients show that sub-pixels depend on all earlier sub-pixels and on no later ones."""

import numpy as np
import pytest
from backend_tools import input_gradient
from keras import ops
from layer_checks import randomize

from keras_pixelcnnpp.distributions.heads import HEADS, LogisticMixtureHead
from keras_pixelcnnpp.layers.conditioning import STRATEGIES, EmbeddingConditioning, FilmConditioning
from keras_pixelcnnpp.layers.evaluation import Evaluation
from keras_pixelcnnpp.models.pixelcnn import GatedPixelCNN, PixelCNN, PixelCNNNetwork
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
from keras_pixelcnnpp.models.verification import verify


def made(cls, image_shape, **arguments):
    """Creates a model with nine levels and, by default, two classes."""
    model = cls(
        image_shape, **{"num_classes": 2, "num_levels": 9, "conditioning": "bias", **arguments}
    )
    randomize(model.network)
    return model


def influences(model, targets):
    """Returns image gradients of a random linear combination of a sub-pixel's parameters.

    Args:
        model: A model with at least two classes or none.
        targets: List of sub-pixels `(i, j, c)`. With a logistic mixture, the sub-pixels of a
            pixel share their parameters.

    Returns:
        Array `(len(targets), height, width, channels)`.
    """
    rng, count = np.random.default_rng(1), len(targets)
    image = rng.integers(0, model.num_levels, model.image_shape)
    weights = np.zeros((count, *model.image_shape[:2], model.network.num_parameters), "float32")
    for index, (i, j, c) in enumerate(targets):
        own = slice(None)
        if model.head == "categorical":
            own = slice(c * model.num_levels, (c + 1) * model.num_levels)
        weights[index, i, j, own] = rng.normal(size=weights[index, i, j, own].shape)
    values = {"label": ops.full((count, 1), int(model.num_classes > 0), "int32")}

    def combined(levels):
        parameters = model.network(ops.expand_dims(levels, 1), values)[:, 0]
        return ops.sum(ops.convert_to_tensor(weights) * parameters)

    # One copy of the image per target gives all gradients in one pass.
    return input_gradient(combined, np.repeat(image[None], count, axis=0))


EVERY = "+".join(STRATEGIES)
# Deep enough to see all earlier pixels.
DEEP = {"filters": 4, "num_blocks": 2, "num_resolutions": 2}
# Wide, so that some of the rectified features of each pixel are not 0.
WIDE = {"filters": 48, "num_blocks": 2}
# test_incremental_pass has further models: the incremental pass cannot see later pixels.
ONCE = [
    (PixelCNNPlusPlus, (8, 4, 3), {**DEEP, "num_blocks": 1, "num_resolutions": 3}),
    (PixelCNN, (5, 5, 3), {**WIDE, "head": "categorical"}),
    (GatedPixelCNN, (5, 5, 3), {**WIDE, "head": "logistic_mixture"}),
]


@pytest.mark.parametrize(
    ("cls", "image_shape", "arguments"),
    [
        (PixelCNNPlusPlus, (8, 8, 1), {**DEEP, "conditioning": EVERY}),
        (GatedPixelCNN, (5, 5, 3), {**WIDE, "head": "categorical"}),
        *(pytest.param(*case, marks=pytest.mark.once) for case in ONCE),
    ],
)
def test_a_sub_pixel_sees_all_earlier_ones_and_no_other(cls, image_shape, arguments):
    model = made(cls, image_shape, **arguments)
    order = np.arange(np.prod(image_shape)).reshape(image_shape)
    # Masked networks see all earlier pixels only from the middle.
    pixels = np.ndindex(image_shape[:2]) if cls is PixelCNNPlusPlus else [(2, 2)]
    channels = image_shape[-1] if model.head == "categorical" else 1
    targets = [(*pixel, channel) for pixel in pixels for channel in range(channels)]
    for target, gradient in zip(targets, influences(model, targets), strict=True):
        earlier = order < order[target]
        assert np.all(gradient[~earlier] == 0), f"{target} sees the future"
        assert np.all(gradient[earlier] != 0), f"{target} does not see all"


@pytest.mark.once
@pytest.mark.parametrize(("cls", "blind"), [(PixelCNN, True), (GatedPixelCNN, False)])
def test_blind_spot(cls, blind):
    """PixelCNN does not see pixels that are farther to the right than above."""
    # Look beyond the first layer's 7×7 kernel, which has no blind spot.
    options = {"filters": 12, "num_blocks": 12, "head": "logistic_mixture"}
    model = made(cls, (12, 12, 1), **options)
    influence = influences(model, [(11, 2, 0)])[0, ..., 0]
    assert not np.any(influence[11, 2:])
    # These columns are at least 8 to the right, and the rows at most 4 above.
    unseen = influence[7:11, 10:] == 0
    assert np.all(unseen) if blind else not np.any(unseen)


class LeakingChannels(EmbeddingConditioning):
    """Reverses the channels, which leaks later channels of the same pixel."""

    def call(self, x, condition, evaluation):
        return super().call(x, condition) + ops.flip(x, axis=-1)


class LeakingLater(FilmConditioning):
    """Leaks pixels on the right, by an amount in a table that is initialized with 0."""

    def call(self, x, condition, evaluation):
        shown = self.look_up(self.beta, condition, x.dtype) * ops.flip(x, axis=3)
        return super().call(x + shown, condition)


class Unnormalized(LogisticMixtureHead):
    """Does not extend the outermost levels to infinity."""

    def level_log_probs(self, parameters, earlier, temperature=None):
        return super().level_log_probs(parameters, earlier, temperature) - 0.01


class SamplesInverted(LogisticMixtureHead):
    def sample(self, parameters, noise, temperature=1.0):
        return self.num_levels - 1 - super().sample(parameters, noise, temperature)


class HalfOfTheBits(LogisticMixtureHead):
    def log_prob(self, parameters, levels, temperature=None):
        return 0.5 * super().log_prob(parameters, levels, temperature)


class WithoutEvaluation(PixelCNNNetwork):
    """Sees only a single pixel in the incremental pass."""

    def call_horizontal_stack(self, pixels, vertical, evaluation, training=False):
        whole = Evaluation(condition=[evaluation.condition])
        return super().call_horizontal_stack(pixels, vertical, whole, training)


class SamplesOtherwise(PixelCNN):
    _network_class = WithoutEvaluation


class Forgetful(EmbeddingConditioning):
    """Has a random state that is not a weight."""

    def build(self, x_shape, condition_shape=None):
        super().build(x_shape, condition_shape)
        # Positive, because rectified features could hide a negative change.
        self.shift = np.random.default_rng().uniform(1, 2)

    def call(self, x, condition, evaluation):
        return super().call(x, condition) + self.shift


SMALL = {"image_shape": (3, 3, 1), "num_classes": 2, "num_levels": 5, "filters": 8, "num_blocks": 1}


def test_verify():
    verify(PixelCNN(**SMALL, conditioning="bias", dtype="mixed_bfloat16"))


@pytest.mark.once
@pytest.mark.parametrize(
    ("cls", "mine", "message"),
    [
        (PixelCNN, LeakingLater, "not autoregressive.*only on earlier ones"),
        (GatedPixelCNN, LeakingChannels, "not autoregressive"),
        (PixelCNN, Forgetful, "changes when it is saved"),
        (SamplesOtherwise, EmbeddingConditioning, r"pixel by pixel.*evaluation\.convolve"),
        (PixelCNN, Unnormalized, r"'mine' is not normalized.*Received: 0\.99"),
        (PixelCNN, SamplesInverted, r"'mine' samples other levels.*in channel 0"),
        (PixelCNN, HalfOfTheBits, r"`log_prob` of the head 'mine' differs"),
    ],
)
def test_what_verify_refuses(monkeypatch, cls, mine, message):
    is_head = issubclass(mine, LogisticMixtureHead)
    monkeypatch.setitem(HEADS if is_head else STRATEGIES, "mine", mine)
    arguments = {**SMALL, "head" if is_head else "conditioning": "mine"}
    if mine is LeakingChannels:
        arguments["image_shape"] = (2, 2, 2)
    with pytest.raises(ValueError, match=message):
        verify(cls(**arguments))
