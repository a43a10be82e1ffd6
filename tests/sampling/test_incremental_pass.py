"""The incremental pass gives the same parameters as the full pass at every pixel."""

import numpy as np
import pytest
from backend_tools import compiled
from keras import ops
from layer_checks import randomize

from keras_pixelcnnpp.backend import write
from keras_pixelcnnpp.distributions.levels import to_levels
from keras_pixelcnnpp.layers.conditioning import STRATEGIES
from keras_pixelcnnpp.models.pixelcnn import GatedPixelCNN, PixelCNN
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
from keras_pixelcnnpp.sampling.incremental_pass import IncrementalPass


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
        return incremental_pass.run(labels, count, choose, carry=ops.zeros(shape))

    labels = None if labels is None else ops.convert_to_tensor(labels)
    levels, found = map(ops.convert_to_numpy, compiled(run)(labels))
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
    model.initialize(images, None if labels is None else labels[:, 0])
    randomize(model.network, scale=0.1)
    candidates = None if labels is None else ops.convert_to_tensor(labels)
    expected = ops.convert_to_numpy(model.pixel_parameters(images, candidates))
    received = incremental_parameters(model, to_levels(images, model.num_levels), labels)
    # Relative to the largest parameter of the same pixel, since some are 0.
    scale = np.abs(expected).max(axis=-1, keepdims=True)
    assert scale.min() > 0.1
    difference = np.abs(received - expected) / scale
    assert difference.max() <= tolerance


EVERY_BACKEND = [
    {"image_shape": (4, 4, 3), "num_resolutions": 2, "conditioning": "+".join(STRATEGIES)},
    {"image_shape": (4, 4, 3), "num_resolutions": 2, "num_classes": 0},
]
# If the label is used in one place only, the rest of the network does not depend on it.
ALONE = [
    *(
        {"image_shape": (4, 4, 1), "conditioning": name}
        for name in ("one_hot", "embedding", "film", "spatial", "mixture_head")
    ),
    *(
        {"image_shape": (4, 4, 3), "num_resolutions": 2, **arguments}
        for arguments in [
            {"conditioned_blocks": "up", "conditioning": "bias+film"},
            {"conditioned_blocks": "up_horizontal", "conditioning": "bias+film+spatial"},
        ]
    ),
]
SHAPES = [
    *({"image_shape": shape} for shape in [(1, 1, 1), (1, 5, 2), (5, 1, 1)]),
    *({"image_shape": shape, "num_resolutions": 2} for shape in [(6, 2, 1), (2, 8, 2)]),
    *(
        {"image_shape": (4, 4, 3), "num_resolutions": 2, **arguments}
        for arguments in [{"filters": (6, 4), "num_blocks": 2}, {"num_blocks": (1, 2)}]
    ),
]
THREE_RESOLUTIONS = {"image_shape": (8, 8, 1), "num_levels": 17, "num_resolutions": 3}


def once(cases):
    return [pytest.param(case, marks=pytest.mark.once) for case in cases]


@pytest.mark.parametrize(
    "arguments",
    [
        *EVERY_BACKEND,
        *once(SHAPES),
        pytest.param(THREE_RESOLUTIONS, marks=pytest.mark.slow),
    ],
)
def test_parameters_are_those_of_the_whole_image(rng, arguments):
    check(rng, **{"num_resolutions": 1, **arguments})


@pytest.mark.parametrize("arguments", [EVERY_BACKEND[0], *once(ALONE)])
def test_labels_side_by_side(rng, arguments):
    labels = [[0, 1, 2], [2, 1, 0], [1, 1, 2]]
    check(rng, labels=labels, **{"num_resolutions": 1, **arguments})


@pytest.mark.parametrize(
    ("cls", "head"), [(PixelCNN, "logistic_mixture"), (GatedPixelCNN, "categorical")]
)
def test_labels_side_by_side_in_masked_networks(rng, cls, head):
    sizes = {"filters": 12, "conditioned_blocks": None, "num_resolutions": None}
    labels = [[0, 1, 2], [2, 1, 0], [1, 1, 2]]
    check(rng, labels=labels, cls=cls, head=head, image_shape=(3, 4, 3), num_levels=5, **sizes)


def test_mixed_precision(rng):
    """bfloat16 has eight bits, and the two passes round differently."""
    check(rng, 0.05, image_shape=(4, 4, 3), num_resolutions=2, dtype="mixed_bfloat16")
