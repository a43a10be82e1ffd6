"""Errors for invalid arguments of models and their methods name the argument."""

import numpy as np
import pytest
import tiny
from refused import each
from tiny import IMAGES, LABELS

import keras_pixelcnnpp as kp

pytestmark = pytest.mark.once

ONE_HOT = np.eye(3, dtype="int32")[LABELS]
NO_IMAGES = [IMAGES / 255, IMAGES.astype(int) - 1, np.uint16(IMAGES) * 16]  # of other values
NO_IMAGES += [IMAGES[:, :2, :2], IMAGES.reshape(12, 16)]  # of other shapes
NO_IMAGES += [np.ma.masked_greater(IMAGES, 200)]
NO_LABELS = [ONE_HOT, LABELS + 1, LABELS - 2, LABELS[:5], LABELS / 2]

MASKED = {"image_shape": (4, 4, 3), "num_classes": 2, "filters": 12, "num_blocks": 1}
PLUS_PLUS = {"image_shape": (4, 4, 1), "num_classes": 3, **tiny.MODEL}
STRATEGIES = ["magic", "bias+bias", "none+bias", 3]
CONSTRUCTORS = each(
    *(
        (cls, MASKED, {"conditioning": ["one_hot", "bias+spatial", "adaptive_norm"]})
        for cls in (kp.PixelCNN, kp.GatedPixelCNN)
    ),
    (kp.PixelCNN, MASKED, {"filters": [9, 4098], "num_blocks": [0, 101]}),
    (kp.PixelCNNPlusPlus, {**PLUS_PLUS, "num_resolutions": 3}, {"image_shape": [(6, 8, 1)]}),
    (kp.PixelCNNPlusPlus, {**PLUS_PLUS, "num_candidates": 2}, {"unlabeled_weight": [1.0]}),
    (
        kp.PixelCNNPlusPlus,
        PLUS_PLUS,
        {
            "image_shape": [(4, 4), (8192, 8192, 1)],
            "num_classes": [2.0],
            "num_levels": [4097],
            "filters": [(4, 4)],
            "num_blocks": [101],
            "head": ["single", ["categorical"]],
            "conditioning": STRATEGIES,
            "conditioned_blocks": ["down"],
            "dropout_rate": [1.0],
            "label_loss_weight": [float("nan")],
            "num_candidates": [1],
            "initial_logit_scale": [0],
            "class_names": [["a"], "abc", ["a", "b", 3], ["a", "b", "b"], 3],
        },
    ),
    (
        kp.BaselineCNN,
        {"image_shape": (8, 8, 1), "num_classes": 3},
        {
            "num_classes": [1],
            "filters": [(), (4, 0), 4097],
            "num_blocks": [101],
            "label_smoothing": [-0.1],
        },
    ),
)


@pytest.mark.parametrize(("cls", "arguments", "name"), CONSTRUCTORS)
def test_constructors(cls, arguments, name):
    with pytest.raises(ValueError, match=f"`{name}`|must be unique"):
        cls(**arguments)


@pytest.mark.parametrize(("channels", "filters"), [(1, 96), (3, 96), (5, 100), (7, 98)])
def test_default_filters_suit_the_channels(channels, filters):
    """A masked softmax divides them among the channels."""
    model = kp.GatedPixelCNN((2, 2, channels), num_classes=0, num_levels=2, num_blocks=1)
    assert model.get_config()["filters"] == filters


@pytest.fixture(scope="module")
def model():
    return tiny.tiny_model()


SAMPLING = {
    "seed": [1.5, -1],
    "temperature": [0, float("nan")],
    "guidance": [-0.5, float("inf"), "3"],
    "guidance_logit_scale": [-1],
}
WHOLE = {"images": IMAGES, "labels": LABELS}
METHODS = each(
    ("class_probabilities", {"images": IMAGES}, {"batch_size": [2.5]}),
    ("evidence_map", {**WHOLE, "against": LABELS}, {"labels": [LABELS[:2]]}),
    ("sample", {}, {"labels": [[0, 3], [0.5]]}),
    ("sample", {"labels": LABELS}, {**SAMPLING, "batch_size": [0]}),
    ("complete", WHOLE, {"observed": [5]}),
    ("complete", {**WHOLE, "observed": 1}, {"labels": [[0, 1]], "num_particles": [0, 1.5]}),
    ("class_log_likelihoods", {"images": IMAGES}, {"observed": [-1], "num_particles": [0]}),
    ("bits_per_dim", {"images": IMAGES}, {"observed": [[1, 2]]}),
    ("compile", {"optimizer": "adam"}, {"loss": ["mse"]}),
)
METHODS += [("log_prob", {"images": IMAGES}, "`labels`.*; labels=-1 stands for p")]


@pytest.mark.parametrize(("method", "arguments", "name"), METHODS)
def test_methods(model, method, arguments, name):
    with pytest.raises(ValueError, match=name):
        getattr(model, method)(**arguments)


DATA = [
    *((images, LABELS, "images") for images in NO_IMAGES),
    *((IMAGES, labels, "labels") for labels in [*NO_LABELS, None]),
    ({"images": IMAGES}, None, "Received: dict"),
    (None, None, "images"),
    (IMAGES[:0], LABELS[:0], "images"),
]


@pytest.mark.parametrize(("images", "labels", "message"), DATA)
def test_data_of_a_baseline(images, labels, message):
    """The matrix of test_seams has those of the other models."""
    model = kp.BaselineCNN((4, 4, 1), 3, filters=(4,), num_blocks=1)
    model.compile("sgd")
    for method in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=message):
            method(images, labels)
    if "labels" not in message:
        with pytest.raises(ValueError, match="images"):
            model.predict(images)


@pytest.fixture(scope="module")
def unconditional():
    return tiny.untrained_model(num_classes=0, conditioning="none")


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("class_probabilities", {"images": IMAGES}, "classes"),
        ("evidence_map", {**WHOLE, "against": LABELS}, "classes"),
        ("sample", {"labels": [0, 1]}, "`labels`. Expected a positive integer"),
        ("log_prob", WHOLE, "`labels`. Expected None, because the model is unconditional"),
        ("complete", {**WHOLE, "observed": 2}, "`labels`. Expected None"),
    ],
)
def test_an_unconditional_model_has_no_classes(unconditional, method, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(unconditional, method)(**arguments)


def test_advice_for_masked_frames():
    """`TiledModel` has no argument `observed`."""
    frames = np.ma.masked_greater(np.full((1, 4, 4), 255, "uint8"), 200)
    with pytest.raises(ValueError, match=r"Received: a masked array\. Score rectangles without"):
        kp.TiledModel(tiny.untrained_pixelcnn()).bits_per_dim(frames)
