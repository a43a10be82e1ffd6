"""Errors for invalid arguments of models and their methods name the argument."""

import keras
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
def models():
    """One model of each kind, compiled with a learning rate of 0."""
    cnn = kp.BaselineCNN((4, 4, 1), 3, filters=(4,), num_blocks=1)
    for model in (made := (tiny.tiny_model(), cnn)):
        model.compile(keras.optimizers.SGD(0.0))
    return made


SAMPLING = {
    "seed": [1.5, -1],
    "temperature": [0, float("nan")],
    "guidance": [-0.5, float("inf"), "3"],
    "guidance_logit_scale": [-1],
}
MASKS = [np.ones((3, 2), bool), np.full((4, 4), 0.5), np.ones((3, 4, 4), bool)]
WHOLE = {"images": IMAGES, "labels": LABELS}
METHODS = each(
    ("log_prob", WHOLE, {"images": NO_IMAGES, "labels": [*NO_LABELS, None]}),
    ("pixel_log_probs", WHOLE, {"images": NO_IMAGES, "labels": [*NO_LABELS, None]}),
    (
        "class_probabilities",
        {"images": IMAGES},
        {"batch_size": [2.5], "observed": [-1, 5, 1.5, True, [1, 5], "1"]},
    ),
    ("evidence_map", {**WHOLE, "against": LABELS}, {"labels": [LABELS[:2]]}),
    ("sample", {}, {"labels": [[0, 3], [0.5]]}),
    ("sample", {"labels": LABELS}, {**SAMPLING, "batch_size": [0]}),
    ("complete", {**WHOLE, "observed": 1}, {"images": NO_IMAGES, "labels": [[0, 1]]}),
    ("complete", WHOLE, {"observed": [5, *MASKS]}),
    ("complete", {**WHOLE, "observed": 1}, {"num_particles": [0, 1.5]}),
    ("class_log_likelihoods", {"images": IMAGES}, {"observed": MASKS, "num_particles": [0]}),
    ("bits_per_dim", {"images": IMAGES}, {"observed": [[1, 2], *MASKS]}),
    ("compile", {"optimizer": "adam"}, {"loss": ["mse"]}),
    ("compress", {"images": IMAGES}, {"labels": NO_LABELS, "images": NO_IMAGES}),
)
METHODS += [("log_prob", {"images": IMAGES}, "`labels`.*; labels=-1 stands for p")]


@pytest.mark.parametrize(("method", "arguments", "name"), METHODS)
def test_methods(models, method, arguments, name):
    with pytest.raises(ValueError, match=name):
        getattr(models[0], method)(**arguments)


DATA = [
    *((images, LABELS, "images") for images in NO_IMAGES),
    *((IMAGES, labels, "labels") for labels in [*NO_LABELS, None]),
    ({"images": IMAGES}, None, "Received: dict"),
    (None, None, "images"),
    (IMAGES[:0], LABELS[:0], "images"),
]


@pytest.mark.parametrize("name", ["fit", "evaluate", "train_on_batch"])
@pytest.mark.parametrize(("images", "labels", "message"), DATA)
def test_data_of_kerass_methods(models, name, images, labels, message):
    for model in models:
        with pytest.raises(ValueError, match=message):
            getattr(model, name)(images, labels)
        if name == "fit" and images is not None:
            with pytest.raises(ValueError, match=message):
                model.fit(IMAGES, LABELS, validation_data=(images, labels), verbose=0)


@pytest.mark.parametrize(
    "images", [*NO_IMAGES, {"image": IMAGES}, [7], [IMAGES, LABELS], IMAGES[:0]]
)
def test_images_to_predict(models, images):
    for model in models:
        for predict in (model.predict, model.predict_on_batch):
            with pytest.raises(ValueError, match="images"):
                predict(images)


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


# One sentence for all data of a source: an advice from one array would scale others differently.
CONVERT = (
    r" Convert all data with np\.interp\(images, \(LOW, HIGH\), \(0, 255\)\)\.round\(\)"
    r"\.astype\('uint8'\), where LOW and HIGH .* the source can have, .*scientific_data\.md$"
)
OTHER_VALUES = [IMAGES / 100, IMAGES > 100, IMAGES * 4.0, IMAGES.astype(int) * 16 - 100]


@pytest.mark.parametrize(
    ("images", "advice"),
    [
        (IMAGES + np.int64(1), "values from 1 to 256, first at index 2. Conv"),
        (IMAGES.reshape(12, 1, 4, 4), r"np\.moveaxis\(images, 1, -1\)"),
        (np.ma.masked_greater(IMAGES[..., 0], 200), "observed=~images.mask$"),
        (np.ma.masked_greater(IMAGES, 200), r"observed=~images.mask.any\(axis=-1\)$"),
        (np.where(IMAGES > 200, np.nan, IMAGES), r"finite.* observed=np\.isfinite\(images\)$"),
        *((images, CONVERT) for images in OTHER_VALUES),
    ],
)
def test_advice_for_other_arrays(models, images, advice):
    with pytest.raises(ValueError, match=advice):
        models[0].log_prob(images, LABELS)


def test_advice_for_masked_frames():
    """`TiledModel` has no argument `observed`."""
    frames = np.ma.masked_greater(np.full((1, 4, 4), 255, "uint8"), 200)
    with pytest.raises(ValueError, match=r"Received: a masked array\. Score rectangles without"):
        kp.TiledModel(tiny.untrained_pixelcnn()).bits_per_dim(frames)


def test_masked_labels_and_known_pixels(models):
    labels = np.ma.masked_equal(LABELS, 0)
    observed = np.ma.masked_array(np.ones((4, 4), bool), mask=np.eye(4, dtype=bool))
    with pytest.raises(ValueError, match=r"`labels`\. Expected no masked values"):
        models[0].log_prob(IMAGES, labels)
    with pytest.raises(ValueError, match=r"`observed`\. Expected no masked values"):
        models[0].class_log_likelihoods(IMAGES, observed=observed)
