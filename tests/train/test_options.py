"""Tests of what a training takes from its options and a preset, and of one-line errors."""

import sys
from types import SimpleNamespace
from typing import get_args, get_type_hints

import pytest
from command_line import one_line

from keras_pixelcnnpp.distributions.heads import HEADS
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.models.archive import NETWORKS
from keras_pixelcnnpp.train.data import load_larger, load_preset
from keras_pixelcnnpp.train.options import PixelCNNOptions, resolve_options
from keras_pixelcnnpp.train.plugins import make_callbacks

PRESET = {
    "model": {"label_loss_weight": 0.3, "num_candidates": 2, "filters": 40},
    "training": {
        "epochs": 44,
        "likelihood_epochs": 26,
        "crop_margin": 4,
        "batch_size": 16,
        "learning_rate_schedule": "cosine",
    },
}
UNLABELED = {"unlabeled_weight": 1.0, "label_loss_weight": 0.1}


@pytest.mark.parametrize(
    ("given", "data", "expected"),
    [
        # The user's options override the preset.
        ({"filters": None, "epochs": 44}, {}, {"filters": 40, "epochs": 44, "batch_size": 16}),
        ({"filters": 20, "batch_size": 8}, {}, {"filters": 20, "epochs": 44, "batch_size": 8}),
        ({"learning_rate": 0.1}, {}, {"learning_rate_schedule": "cosine"}),
        # Values of the preset that do not apply to the data are dropped.
        ({}, {}, {"label_loss_weight": 0.3, "crop_margin": 4, "num_candidates": 2}),
        ({}, {"num_classes": 1}, {"label_loss_weight": 0.0}),
        ({"conditioning": "none"}, {}, {"label_loss_weight": 0.0}),
        ({}, {"from_files": False}, {"crop_margin": 0}),
        ({"crop_margin": 2}, {"from_files": False}, {"crop_margin": 2}),
        ({"learning_rate_decay": 0.9}, {}, {"learning_rate_schedule": "exponential"}),
        # With other epochs, the fraction of likelihood-only epochs is kept.
        ({}, {}, {"likelihood_epochs": 26}),
        ({"epochs": 44}, {}, {"likelihood_epochs": 26}),
        ({"epochs": 10}, {}, {"likelihood_epochs": 5}),
        ({"epochs": 1}, {}, {"likelihood_epochs": 0}),
        ({"epochs": 88}, {}, {"likelihood_epochs": 52}),
        ({"epochs": 10, "likelihood_epochs": 8}, {}, {"likelihood_epochs": 8}),
        # Unlabeled images contribute from the first epoch, with all candidates.
        (UNLABELED, {}, {"likelihood_epochs": 0, "num_candidates": None}),
        ({**UNLABELED, "likelihood_epochs": 4}, {}, {"likelihood_epochs": 4}),
        ({"unlabeled_weight": 0.0}, {}, {"likelihood_epochs": 26, "num_candidates": 2}),
    ],
)
def test_what_a_training_takes(given, data, expected):
    model, training = resolve_options(PRESET, given, **{"num_classes": 4, **data})
    assert model["network"] == "pixelcnnpp"
    assert {**model, **training}.items() >= expected.items()


def test_names_of_the_family():
    hints = get_type_hints(PixelCNNOptions)
    for option, known in (("network", NETWORKS), ("head", HEADS)):
        names, _none = get_args(hints[option])
        assert list(get_args(names)) == list(known)


EMPTY = {"model": {}, "training": {}}
DIGITS = SimpleNamespace(data="digits")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: resolve_options(EMPTY, {"label_loss_weight": 1.0, "conditioning": "none"}, 3),
            "`label_loss_weight`. It needs at least two classes",
        ),
        (
            lambda: load_preset("digits", "digits", "pixelcnn"),
            "The network of preset digits is pixelcnnpp. Received: pixelcnn$",
        ),
        (
            lambda: load_larger(DIGITS, None, {"crop_margin": 2}),
            "folder of image files.*crop_margin=2, data=digits",
        ),
        (lambda: make_callbacks(["not_there:Count"]), "can be imported. Received: 'not_there'"),
        (lambda: make_callbacks(["keras.deep:Count"]), "Received: 'keras.deep'"),
        (lambda: make_callbacks([":Count"]), "Received: ''"),
        (lambda: make_callbacks(["keras:Cuont"]), "'keras' has no attribute 'Cuont'"),
        (lambda: make_callbacks(["keras"]), "Expected module:object"),
        (lambda: make_callbacks(["sys:maxsize"]), "'int' object is not callable"),
        (lambda: make_callbacks(["keras:callbacks.ModelCheckpoint"]), "without arg.*'filepath'"),
        (lambda: make_callbacks(["builtins:dict"]), "it returns {}"),
    ],
)
def test_refused(monkeypatch, call, message):
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(UserError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "wrong", [("--filters", "24;48"), ("--head", "softmax"), ("--epochs", 0), ("--seed", -1)]
)
def test_a_wrong_value_is_refused_before_anything_is_read(pixelcnnpp, tmp_path, wrong):
    command = ("train", "--data", "digits", "--run", tmp_path / "run", *wrong)
    status, _, err = pixelcnnpp(*command)
    assert status == 2
    assert wrong[0] in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        (("--image-size", 30, "--num-resolutions", 3), ("--image-size", "such as 32")),
        (("--network", "pixelcnn", "--num-resolutions", 2), ("PixelCNN: {'num_resolutions': 2}",)),
        (("--conditioning", "none", "--unlabeled-weight", 1), ("`unlabeled_weight`. Expected 0",)),
    ],
)
def test_the_model_names_what_does_not_fit(pixelcnnpp, tmp_path, options, fragments):
    command = ("train", "--data", "digits", "--run", tmp_path / "run", "--filters", 4)
    one_line(pixelcnnpp(*command, *options), *fragments)
    assert not (tmp_path / "run" / "config.json").exists()
