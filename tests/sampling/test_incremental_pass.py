"""The incremental pass gives the same parameters as the full pass at every pixel."""

import numpy as np
import pytest
from backend_tools import compiled
from keras import ops
from keras.layers import Conv2D
from layer_checks import randomize

from keras_pixelcnnpp.distributions.levels import to_levels
from keras_pixelcnnpp.layers.conditioning import STRATEGIES, SpatialConditioning, condition
from keras_pixelcnnpp.layers.convolutions import (
    DownRightShiftedConv2D,
    DownRightShiftedConv2DTranspose,
    DownShiftedConv2D,
    DownShiftedConv2DTranspose,
    MaskedConv2D,
    WeightNormalizedDense,
)
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.models.network import AutoregressiveNetwork
from keras_pixelcnnpp.models.pixelcnn import GatedPixelCNN, PixelCNN
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
from keras_pixelcnnpp.sampling.incremental_pass import IncrementalPass
from keras_pixelcnnpp.utils.indexing import write


def incremental_parameters(model, images, labels):
    """Returns parameters with teacher forcing, `(N, K, height, width, num_parameters)`."""
    count, height, width, channels = images.shape
    pixels = images.reshape(count, height * width, channels).transpose(1, 0, 2)
    pixels = ops.convert_to_tensor(pixels.astype("float32"))
    candidates = 1 if labels is None else labels.shape[1]
    incremental_pass = IncrementalPass(model, candidates)

    def choose(parameters, row, column, found):
        index = row * width + column
        parameters = ops.broadcast_to(parameters[:, :, 0, 0], found.shape[1:])
        return ops.take(pixels, index, axis=0), write(found, index, parameters)

    def run(labels):
        shape = (height * width, count, candidates, model.network.num_parameters)
        return incremental_pass.run({"label": labels}, count, choose, carry=ops.zeros(shape))

    labels = np.zeros((count, 1), "int32") if labels is None else labels
    levels, found = map(ops.convert_to_numpy, compiled(run)(ops.convert_to_tensor(labels)))
    np.testing.assert_array_equal(levels.transpose(2, 0, 1, 3), images)
    found = found.transpose(1, 2, 0, 3)
    return found.reshape(count, candidates, height, width, -1)


def check(rng, tolerance=1e-4, labels=((0,), (1,), (2,)), **arguments):
    """Compares both passes for random images and random weights.

    Each of the three images is evaluated under all `labels`.
    """
    options = {"num_classes": 3, "filters": 4, "num_mixtures": 2, "conditioning": "bias"}
    options |= {"num_blocks": 1, "conditioned_blocks": "all", **arguments}
    cls = options.pop("cls", PixelCNNPlusPlus)
    model = cls(**{name: value for name, value in options.items() if value is not None})
    images = rng.integers(0, 256, (3, *model.image_shape)).astype("uint8")
    labels = None if model.num_classes == 0 else np.int32(labels)
    randomize(model.network, scale=0.1)
    head = model.network.head  # parameters as large as those of a trained model
    head.gain.assign(np.ones(head.gain.shape))
    head.bias.assign(np.linspace(0.5, 1.5, head.bias.shape[0]))
    candidates = None if labels is None else ops.convert_to_tensor(labels)
    expected = ops.convert_to_numpy(model.pixel_parameters(images, candidates))
    received = incremental_parameters(model, to_levels(images, model.num_levels), labels)
    # Relative to the largest parameter of the same pixel, since some are 0.
    scale = np.abs(expected).max(axis=-1, keepdims=True)
    assert scale.min() > 0.1
    difference = np.abs(received - expected) / scale
    assert difference.max() <= tolerance


TWO_RESOLUTIONS = {"image_shape": (4, 4, 3), "num_resolutions": 2}
EVERY = {**TWO_RESOLUTIONS, "conditioning": "+".join(STRATEGIES)}
# If the label is used in one place only, the rest of the network does not depend on it.
ALONE = [
    *({"image_shape": (4, 4, 1), "conditioning": name} for name in ("one_hot", "mixture_head")),
    {**TWO_RESOLUTIONS, "conditioned_blocks": "up", "conditioning": "bias+film"},
    {
        **TWO_RESOLUTIONS,
        "conditioned_blocks": "up_horizontal",
        "conditioning": "bias+film+spatial",
    },
]
SHAPES = [
    *({"image_shape": shape} for shape in [(1, 5, 2), (5, 1, 1)]),
    {"image_shape": (6, 2, 1), "num_resolutions": 2},
    {**TWO_RESOLUTIONS, "num_classes": 0, "filters": (6, 4), "num_blocks": (1, 2)},
]
THREE_RESOLUTIONS = {"image_shape": (8, 8, 1), "num_levels": 17, "num_resolutions": 3}


def once(cases):
    return [pytest.param(case, marks=pytest.mark.once) for case in cases]


@pytest.mark.parametrize(
    "arguments", [*once(SHAPES), pytest.param(THREE_RESOLUTIONS, marks=pytest.mark.slow)]
)
def test_parameters_are_those_of_the_whole_image(rng, arguments):
    check(rng, **{"num_resolutions": 1, **arguments})


@pytest.mark.parametrize("arguments", [EVERY, *once(ALONE)])
def test_labels_side_by_side(rng, arguments):
    labels = [[0, 1, 2], [2, 1, 0], [1, 1, 2]]
    check(rng, labels=labels, **{"num_resolutions": 1, **arguments})


@pytest.mark.parametrize(
    ("cls", "head"),
    [
        pytest.param(PixelCNN, "logistic_mixture", marks=pytest.mark.once),
        (GatedPixelCNN, "categorical"),
    ],
)
def test_labels_side_by_side_in_masked_networks(rng, cls, head):
    sizes = {"filters": 12, "conditioned_blocks": None, "num_resolutions": None}
    labels = [[0, 1, 2], [2, 1, 0], [1, 1, 2]]
    check(rng, labels=labels, cls=cls, head=head, image_shape=(3, 4, 3), num_levels=5, **sizes)


class OtherWindows(AutoregressiveNetwork):
    """Windows of other sizes than in the models, and positions at two resolutions."""

    def __init__(self, config, stem, down, lower):
        super().__init__(config, name="network")
        self.vertical = [
            DownShiftedConv2D(6, (3, 5), strict=True, name="vertical_stem"),
            DownShiftedConv2D(6, (3, 3), strides=2, name="vertical_down"),
            DownShiftedConv2D(6, (1, 3), name="vertical_lower"),
            DownShiftedConv2DTranspose(6, name="vertical_up"),
        ]
        make = MaskedConv2D, DownRightShiftedConv2D
        self.horizontal = [
            make["strict" in arguments](6, name=f"horizontal_{index}", **arguments)
            for index, arguments in enumerate((stem, down, lower))
        ]
        self.horizontal.append(DownRightShiftedConv2DTranspose(6, name="horizontal_up"))
        self.places = [SpatialConditioning(self.conditions, name=f"at_{r}") for r in (0, 1)]
        self.head = WeightNormalizedDense(config.num_parameters, name="head")

    def build(self, image_shape, labels_shape=None):
        values = {"label": ops.zeros((1, 1), "int32")}
        self.call(ops.zeros((1, *image_shape[1:])), values)

    def around(self, layers, pixels, evaluation, link, places):
        stem, down, within, up = layers

        def lower(x, below):
            x = condition(places[1:], ops.tanh(x), below)
            x = ops.tanh(below.convolve(within, x))
            return below.arithmetic.apply(up, x)

        x = ops.tanh(evaluation.convolve(stem, pixels) + link)
        x = condition(places[:1], x, evaluation)
        return x + evaluation.descend(down, x, lower)

    def call_vertical_stack(self, pixels, evaluation, training=False):
        return self.around(self.vertical, pixels, evaluation, 0.0, [])

    def call_horizontal_stack(self, pixels, vertical, evaluation, training=False):
        link = evaluation.link(vertical)
        x = self.around(self.horizontal, pixels, evaluation, link, self.places)
        return evaluation.arithmetic.apply(self.head, x)


class Mine(AutoregressiveModel):
    """A model whose network is `kind(config, **made)`."""

    def __init__(self, kind, made, **options):
        self.kind, self.made = kind, made
        super().__init__(**{"conditioning": "none", "num_classes": 2, "filters": 6, **options})

    def make_network(self):
        return self.kind(self.network_config(), **self.made)


class Convolutions(AutoregressiveNetwork):
    """Calls convolutions one after the other, by the evaluation or, wrongly, directly."""

    def __init__(self, config, others, directly=False):
        super().__init__(config)
        self.stem = MaskedConv2D(4, 3, mask="A", name="stem")
        self.others, self.directly = others, directly
        self.head = WeightNormalizedDense(config.num_parameters, name="head")

    def build(self, image_shape, labels_shape=None):
        self.call(ops.zeros((1, *image_shape[1:])), {"label": ops.zeros((1, 1), "int32")})

    def call_horizontal_stack(self, pixels, vertical, evaluation, training=False):
        x = evaluation.convolve(self.stem, pixels)
        for layer in self.others:
            if self.directly:
                x = ops.reshape(layer(x[:, 0] if isinstance(layer, Conv2D) else x), ops.shape(x))
            else:
                x = evaluation.convolve(layer, x)
        return evaluation.arithmetic.apply(self.head, x)


def shifted(*kernel_size, **arguments):
    return {"kernel_size": kernel_size, "strict": False, **arguments}


NARROW = {
    "stem": shifted(2, 1, strict=True),
    "down": shifted(2, 2, strides=2),
    "lower": shifted(2, 2),
}
WINDOWS = [
    {"stem": shifted(3, 3, strict=True), "down": shifted(1, 4, strides=2), "lower": shifted(3, 2)},
    {
        "stem": {"kernel_size": (3, 5), "mask": "A"},
        "down": {"kernel_size": 3, "strides": 2},
        "lower": {"kernel_size": (5, 3)},
    },
]


@pytest.mark.once
@pytest.mark.parametrize("windows", WINDOWS)
def test_windows_of_any_size(rng, windows):
    sizes = {"image_shape": (8, 8, 2), "num_blocks": 1, "conditioned_blocks": None}
    check(rng, cls=Mine, kind=OtherWindows, made=windows, conditioning=None, **sizes)


def hidden(kind=MaskedConv2D, size=3, **arguments):
    return kind(4, size, name="hidden", **arguments)


NOT_BY_PIXEL = r"can't be evaluated pixel by pixel.*"
BY_EVALUATION = r"called through the evaluation.*'[^']*hidden'"
REFUSED = [
    *(
        (OtherWindows, lambda change=change: {**NARROW, **change}, NOT_BY_PIXEL + "strict=True")
        for change in (
            {"stem": shifted(2, 1)},
            {"lower": shifted(2, 2, strict=True)},
            {"lower": {"kernel_size": 3, "mask": "A"}},
        )
    ),
    # Kernels and caches of two calls would be mixed.
    (Convolutions, lambda: {"others": 2 * [hidden()]}, NOT_BY_PIXEL + "called once"),
    (Convolutions, lambda: {"others": [hidden(), hidden()]}, NOT_BY_PIXEL + "different names"),
    # They would get single pixels, without their neighbors.
    (Convolutions, lambda: {"others": [hidden()], "directly": True}, BY_EVALUATION),
    (
        Convolutions,
        lambda: {"others": [hidden(Conv2D, padding="same")], "directly": True},
        BY_EVALUATION,
    ),
]


@pytest.mark.once
@pytest.mark.parametrize(("kind", "made", "message"), REFUSED)
def test_what_cannot_be_evaluated_pixel_by_pixel(kind, made, message):
    with pytest.raises(ValueError, match=message):
        IncrementalPass(Mine(kind, made(), image_shape=(8, 8, 1), num_blocks=1))


@pytest.mark.once
@pytest.mark.parametrize("kind", [MaskedConv2D, Conv2D])
def test_a_convolution_of_single_pixels_needs_no_evaluation(kind):
    made = {"others": [hidden(kind, 1)], "directly": True}
    IncrementalPass(Mine(Convolutions, made, image_shape=(4, 4, 1), num_blocks=1))


def test_mixed_precision(rng):
    """bfloat16 has eight bits, and the two passes round differently."""
    check(rng, 0.05, image_shape=(4, 4, 3), num_resolutions=2, dtype="mixed_bfloat16")
