"""Fixed-point results are identical for whole images, the incremental pass and all backends."""

import hashlib
from fractions import Fraction

import numpy as np
import pytest
from keras import ops

from keras_pixelcnnpp.codec.exact_model import ExactModel
from keras_pixelcnnpp.distributions import heads
from keras_pixelcnnpp.distributions.levels import to_levels
from keras_pixelcnnpp.distributions.tables import UNIT
from keras_pixelcnnpp.layers import conditioning
from keras_pixelcnnpp.layers.conditioning import STRATEGIES, BiasConditioning
from keras_pixelcnnpp.layers.fixed_point import (
    LIMIT,
    MAX_WEIGHT,
    FixedPointArithmetic,
    as_whole_numbers,
)
from keras_pixelcnnpp.models.archive import NETWORKS
from keras_pixelcnnpp.models.pixelcnn import GatedPixelCNN, PixelCNN
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
from keras_pixelcnnpp.utils.backend import compiled, float64
from keras_pixelcnnpp.utils.errors import UserError

# First digits of the SHA-256 of the parameters, identical under all backends. If one of them
# changes, existing compressed files can no longer be read: mend the code, not the digits.
EXPECTED = {
    "resolutions": "e5f841c15f719160",
    "strategies": "e918fd1efdd48e78",
    "wide": "fe356d0af7e987fb",
    "pixelcnn": "5ba726206cf3cc6a",
    "gated": "6d1c80d457edcf44",
    "unconditional": "11238f15decae5d6",
}
ALL = "one_hot+embedding+bias+film+adaptive_norm+spatial+cross_attention+mixture_head"
MODELS = {
    "resolutions": (PixelCNNPlusPlus, {"num_resolutions": 3, "filters": (4, 6, 8)}),
    "strategies": (PixelCNNPlusPlus, {"num_resolutions": 1, "conditioning": ALL}),
    "wide": (PixelCNNPlusPlus, {"num_resolutions": 1, "dtype": "mixed_bfloat16", "channels": 4}),
    "pixelcnn": (PixelCNN, {"filters": 12, "channels": 3, "head": "categorical"}),
    "gated": (GatedPixelCNN, {"filters": 12, "channels": 2, "conditioning": "bias+film"}),
    "unconditional": (GatedPixelCNN, {"filters": 12, "num_classes": 0}),
}
# Later additions get models and digits of their own, and those above remain as they are.
ABOVE = [*ALL.split("+"), "logistic_mixture", "categorical"]
ABOVE += ["pixelcnnpp", "gated_pixelcnn", "pixelcnn"]
for name in [name for name in (*STRATEGIES, *heads.HEADS, *NETWORKS) if name not in ABOVE]:
    arguments = {"conditioning": name} if name in STRATEGIES else {}
    arguments |= {"head": name} if name in heads.HEADS else {}
    MODELS[name] = (NETWORKS.get(name, PixelCNNPlusPlus), {"filters": 12, **arguments})
# The golden file has several resolutions, and other backends compute the same integers.
MARKS = {"resolutions": pytest.mark.slow} | dict.fromkeys(
    ("pixelcnn", "wide", "unconditional"), pytest.mark.once
)


def make(cls, channels=1, **arguments):
    """Creates a model and images of 8×8 pixels, with weights that do not depend on the backend."""
    options = {"num_levels": 5, "num_classes": 3, "filters": 4, "num_blocks": 1, "num_mixtures": 2}
    if cls is PixelCNNPlusPlus:
        options["conditioned_blocks"] = "all"
    model = cls((8, 8, channels), **{**options, **arguments})
    rng = np.random.default_rng(0)
    for part in (model.network, model.distribution):
        for weight in part.weights:
            if weight.dtype != "uint32":  # the state of a random generator
                weight.assign(0.3 * rng.normal(size=weight.shape) + weight.path.endswith("gain"))
    return model, rng.integers(0, 256, (3, *model.image_shape)).astype("uint8")


def of_whole_images(exact, labels, levels):
    """Returns the parameters, int32 `(N, height, width, num_parameters)`."""

    def parameters(inputs):
        arithmetic = FixedPointArithmetic().with_kernels(inputs["kernels"])
        with exact.weights(inputs):
            found = exact.network.call(inputs["levels"][:, None], inputs["values"], arithmetic)
        return as_whole_numbers(found[:, 0])

    with float64():
        found = compiled(parameters, [])(exact.inputs(labels) | {"levels": levels})
    return ops.convert_to_numpy(found)


@pytest.mark.parametrize("name", [pytest.param(name, marks=MARKS.get(name, ())) for name in MODELS])
def test_same_numbers_everywhere(name):
    """Results are identical for all batch sizes, and close to floating point.

    `compress` decodes what it has coded, by the incremental pass.
    """
    cls, arguments = MODELS[name]
    model, images = make(cls, **arguments)
    exact, levels = ExactModel(model), to_levels(images, 5)
    labels = np.int32([2, 0, 1]) * bool(model.num_classes)
    whole = of_whole_images(exact, labels, levels)
    np.testing.assert_array_equal(of_whole_images(exact, labels[1:2], levels[1:2]), whole[1:2])
    assert model.compress(images, labels if model.num_classes else None, verbose=0)
    digits = hashlib.sha256(whole.astype("<i4").tobytes()).hexdigest()[:16]
    assert digits == EXPECTED.get(name, "not in EXPECTED: add the digits of what is new")

    candidates = ops.convert_to_tensor(labels[:, None]) if model.num_classes else None
    expected = ops.convert_to_numpy(model.pixel_parameters(images, candidates))[:, 0]
    tolerance = 0.1 if "dtype" in arguments else 0.02
    np.testing.assert_allclose(whole / UNIT, expected, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("num_levels", [888, 4096])
def test_levels_are_rounded_as_by_integers(num_levels):
    """XLA computes `x * c - 1` with one rounding, and others with two, on either side of a tie."""

    def scale(levels):
        return as_whole_numbers(FixedPointArithmetic().scale_to_unit(levels, num_levels))

    with float64():
        found = compiled(scale, [], xla=True)(np.arange(num_levels, dtype="uint16"))
    steps = num_levels - 1
    expected = [round(Fraction((2 * level - steps) * UNIT, steps)) for level in range(num_levels)]
    np.testing.assert_array_equal(ops.convert_to_numpy(found), expected)


@pytest.mark.once
def test_large_features_have_exact_sums():
    model, images = make(PixelCNN, filters=12)
    stem = model.network.stem
    stem.bias.assign(stem.bias + 900.0)
    for block in model.network.blocks:
        block["widen"].gain.assign(block["widen"].gain * 100)
    assert model.compress(images, np.zeros(3, int), verbose=0)


@pytest.mark.once
def test_the_largest_weights_that_are_accepted_have_exact_sums():
    """A float64 has 53 bits, and a float32 has 24. A weight is a multiple of 1 / UNIT."""
    model, _ = make(PixelCNN, filters=12)
    head = model.network.head
    head.gain.assign(0 * head.gain)
    largest = MAX_WEIGHT - 1 / UNIT
    head.bias.assign(0 * head.bias + largest)
    ExactModel(model)
    assert np.float32(largest) == largest
    assert MAX_WEIGHT * LIMIT * UNIT**2 <= 2**53
    for value in (MAX_WEIGHT, np.nan):
        head.bias.assign(0 * head.bias + value)
        with pytest.raises(UserError, match=r"below 1024\. Received: .* in .*head"):
            ExactModel(model)


@pytest.mark.once
def test_parts_of_other_packages(monkeypatch):
    class MyConditioning(BiasConditioning):
        pass

    class MyHead(heads.CategoricalHead):
        pass

    monkeypatch.setitem(conditioning.STRATEGIES, "mine", MyConditioning)
    monkeypatch.setitem(heads.HEADS, "mine", MyHead)
    for arguments, name in (
        ({"conditioning": "mine"}, "MyConditioning"),
        ({"head": "mine"}, "MyHead"),
    ):
        model, _ = make(PixelCNN, filters=12, **arguments)
        with pytest.raises(UserError, match=rf"keras_pixelcnnpp\. Received: {name}"):
            ExactModel(model)
