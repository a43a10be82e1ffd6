from typing import get_args, get_type_hints

import pytest

from keras_pixelcnnpp.distributions.heads import HEADS
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.models.archive import ARCHITECTURES
from keras_pixelcnnpp.train.data import load_preset
from keras_pixelcnnpp.train.options import PixelCNNOptions, numbers, resolve_options


@pytest.mark.parametrize(("text", "expected"), [(None, None), ("40", 40), ("24,48", [24, 48])])
def test_one_number_or_one_per_resolution(text, expected):
    assert numbers(text) == expected


@pytest.mark.parametrize(
    "wrong",
    [("--filters", "24;48"), ("--head", "softmax"), ("--epochs", 0)],
)
def test_a_wrong_value_is_refused_before_anything_is_read(pixelcnnpp, tmp_path, wrong):
    command = ("train", "pixelcnnpp", "--data", "digits", "--run", tmp_path / "run", *wrong)
    status, _, err = pixelcnnpp(*command)
    assert status == 2
    assert wrong[0] in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"label_loss_weight": 1.0, "conditioning": "none"}, "Without labels"),
        ({"architecture": "pixelcnn", "num_resolutions": 2}, "one resolution"),
        ({"unlabeled_weight": 1.0, "conditioning": "none"}, "Without labels"),
    ],
)
def test_contradicting_options(overrides, message):
    with pytest.raises(UserError, match=message):
        resolve_options({"model": {}, "training": {}}, overrides, 3)


def test_preset_of_another_architecture():
    with pytest.raises(UserError, match=r"The preset digits is of pixelcnnpp. Received: pixelcnn$"):
        load_preset("digits", "digits", "pixelcnn")


def test_unlabeled_images_take_all_candidates_whatever_the_preset_has():
    preset = {"model": {"label_loss_weight": 0.1, "num_candidates": 2}, "training": {}}
    assert resolve_options(preset, {"unlabeled_weight": 0.5}, 3)[0]["num_candidates"] is None
    assert resolve_options(preset, {"unlabeled_weight": 0.0}, 3)[0]["num_candidates"] == 2


@pytest.mark.parametrize(
    ("given", "num_classes", "from_files", "expected"),
    [
        ({}, 4, True, (0.3, 4)),
        ({}, 1, True, (0.0, 4)),
        ({"conditioning": "none"}, 4, True, (0.0, 4)),
        ({"label_loss_weight": 0.0}, 4, True, (0.0, 4)),
        ({}, 4, False, (0.3, 0)),
        ({"crop_margin": 2}, 4, False, (0.3, 2)),
    ],
)
def test_a_preset_gives_way_to_the_data(given, num_classes, from_files, expected):
    preset = {"model": {"label_loss_weight": 0.3}, "training": {"crop_margin": 4}}
    model, training = resolve_options(preset, given, num_classes, from_files)
    assert (model["label_loss_weight"], training["crop_margin"]) == expected


def test_options_override_the_preset():
    own = {"image_shape": [32, 32, 3], "num_classes": 4}
    preset = {"model": {"filters": 40, **own}, "training": {"epochs": 100, "batch_size": 16}}
    model, training = resolve_options(preset, {"filters": None, "epochs": 5}, 10)
    assert model == {"architecture": "pixelcnnpp", "filters": 40}
    assert (training["epochs"], training["batch_size"]) == (5, 16)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, 26),
        ({"epochs": 44}, 26),
        ({"epochs": 10}, 5),
        ({"epochs": 1}, 0),
        ({"epochs": 88}, 52),
        ({"epochs": 10, "likelihood_epochs": 8}, 8),
    ],
)
def test_of_other_epochs_as_large_a_share_is_by_likelihood(given, expected):
    preset = {"model": {}, "training": {"epochs": 44, "likelihood_epochs": 26}}
    assert resolve_options(preset, given, 3)[1]["likelihood_epochs"] == expected


def test_images_without_a_label_teach_from_the_start():
    preset = {"model": {}, "training": {"epochs": 44, "likelihood_epochs": 26}}
    given = {"unlabeled_weight": 1.0, "label_loss_weight": 0.1}
    assert resolve_options(preset, given, 3)[1]["likelihood_epochs"] == 0
    assert (
        resolve_options(preset, {**given, "likelihood_epochs": 4}, 3)[1]["likelihood_epochs"] == 4
    )


def test_names_of_the_family():
    hints = get_type_hints(PixelCNNOptions)
    for option, known in (("architecture", ARCHITECTURES), ("head", HEADS)):
        names, _none = get_args(hints[option])
        assert list(get_args(names)) == list(known)
