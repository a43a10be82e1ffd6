"""The incremental pass gives the parameters of the full pass, at every pixel."""

import numpy as np
import pytest
from backend_tools import compiled
from keras import ops
from layer_checks import randomize

from keras_pixelcnnpp.distributions.levels import to_levels
from keras_pixelcnnpp.layers.conditioning import STRATEGIES
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
from keras_pixelcnnpp.sampling.incremental_pass import IncrementalPass


def incremental_parameters(model, images, labels):
    """Mixture parameters `(N, height, width, num_parameters)` while `images` are forced."""
    count, height, width, channels = images.shape
    pixels = images.reshape(count, height * width, channels).transpose(1, 0, 2)
    pixels = ops.convert_to_tensor(pixels.astype("float32"))
    num_parameters = model.network.num_parameters

    def choose(parameters, row, column):
        pixel = ops.take(pixels, row * width + column, axis=0)
        return ops.concatenate([pixel, parameters], axis=-1)

    def run(labels):
        return IncrementalPass(model).run(labels, count, choose, channels + num_parameters)

    labels = None if labels is None else ops.convert_to_tensor(np.int32(labels))
    records = ops.convert_to_numpy(compiled(run)(labels))
    records = records.transpose(2, 0, 1, 3)
    np.testing.assert_array_equal(records[..., :channels], images)
    return records[..., channels:]


def check(rng, tolerance=1e-4, labels=(0, 1, 2), **arguments):
    """Compares both passes for random images and weights that no initializer gives."""
    options = {"num_classes": 3, "filters": 4, "num_mixtures": 2, "conditioning": "bias"}
    options |= {"num_blocks": 1, "conditioned_blocks": "all"}
    model = PixelCNNPlusPlus(**{**options, **arguments})
    images = rng.integers(0, 256, (3, *model.image_shape)).astype("uint8")
    labels = None if model.num_classes == 0 else np.array(labels)
    model.initialize(images, labels)
    randomize(model.network, scale=0.1)
    candidates = None if labels is None else ops.convert_to_tensor(np.int32(labels)[:, None])
    expected = ops.convert_to_numpy(model.pixel_parameters(images, candidates))[:, 0]
    received = incremental_parameters(model, to_levels(images, model.num_levels), labels)
    # Relative to the largest parameter of the same pixel: some are 0.
    scale = np.abs(expected).max(axis=-1, keepdims=True)
    assert scale.min() > 0.1
    difference = np.abs(received - expected) / scale
    assert difference.max() <= tolerance


ALONE = ("one_hot", "embedding", "film", "spatial", "mixture_head")
CASES = [
    {"image_shape": (4, 4, 3), "num_resolutions": 2, "conditioning": "+".join(STRATEGIES)},
    {"image_shape": (4, 4, 3), "num_resolutions": 2, "num_classes": 0},
    {"image_shape": (8, 8, 1), "num_levels": 17, "num_resolutions": 3},
    *({"image_shape": shape} for shape in [(1, 1, 1), (1, 5, 2), (5, 1, 1)]),
]
ONCE = [
    # Where the label enters at one place alone, the rest of the network doesn't see it.
    *({"image_shape": (4, 4, 1), "conditioning": name} for name in ALONE),
    {"image_shape": (6, 2, 1), "num_resolutions": 2},
    {"image_shape": (2, 8, 2), "num_resolutions": 2},
    *(
        {"image_shape": (4, 4, 3), "num_resolutions": 2, **arguments}
        for arguments in [
            {"filters": (6, 4), "num_blocks": 2},
            {"num_blocks": (1, 2)},
            {"conditioned_blocks": "up", "conditioning": "bias+film"},
            {"conditioned_blocks": "up_horizontal", "conditioning": "bias+film+spatial"},
        ]
    ),
]


@pytest.mark.parametrize(
    "arguments", [*CASES, *(pytest.param(case, marks=pytest.mark.once) for case in ONCE)]
)
def test_parameters_are_those_of_the_whole_image(rng, arguments):
    check(rng, **{"num_resolutions": 1, **arguments})


def test_mixed_precision(rng):
    """bfloat16 keeps eight bits, and both passes round at other places."""
    check(rng, 0.05, image_shape=(4, 4, 3), num_resolutions=2, dtype="mixed_bfloat16")
