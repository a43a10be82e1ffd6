"""Errors of the training commands, each in one line that names the option."""

import sys
from types import SimpleNamespace

import pytest
from command_line import one_line

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.train.data import load_larger, load_preset
from keras_pixelcnnpp.train.options import resolve_options
from keras_pixelcnnpp.train.plugins import make_callbacks

PRESET = {"model": {}, "training": {}}
DIGITS = SimpleNamespace(data="digits")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: resolve_options(PRESET, {"label_loss_weight": 1.0, "conditioning": "none"}, 3),
            "`label_loss_weight`. With conditioning none or fewer than two classes",
        ),
        (
            lambda: resolve_options(PRESET, {"unlabeled_weight": 1.0, "conditioning": "none"}, 3),
            "`unlabeled_weight`. With conditioning none",
        ),
        (
            lambda: resolve_options(PRESET, {"network": "pixelcnn", "num_resolutions": 2}, 3),
            "`num_resolutions`. pixelcnn has one resolution",
        ),
        (
            lambda: resolve_options({**PRESET, "model": {"num_levels": 4096}}, {}, 3),
            "`num_levels`.*at most 256 levels",
        ),
        (
            lambda: load_preset("digits", "digits", "pixelcnn"),
            "The network of preset digits is pixelcnnpp. Received: pixelcnn$",
        ),
        (lambda: load_larger(DIGITS, None, 2), "folder of image files.*crop_margin=2, data=digits"),
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


def test_a_size_that_cannot_be_halved_is_told_by_the_option(pixelcnnpp, tmp_path):
    command = ("train", "--data", "digits", "--run", tmp_path / "run", "--image-size", 30)
    one_line(
        pixelcnnpp(*command, "--num-resolutions", 3, "--filters", 4), "--image-size", "such as 32"
    )
