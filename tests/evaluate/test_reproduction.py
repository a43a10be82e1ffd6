"""The commands of a report, given to the command line again."""

import json

import pytest
import tiny

from keras_pixelcnnpp.evaluate.report import training_words
from keras_pixelcnnpp.models.archive import ARCHITECTURES
from keras_pixelcnnpp.train import commands


class Recorder:
    """Stands in for a training; keeps what the command would have trained with."""

    def pixelcnnpp(self, dataset, run, model_options, training, data_config, *_):
        self.options = {**model_options, **training}
        arguments = dict(model_options)
        model = ARCHITECTURES[arguments.pop("architecture")](
            dataset.image_shape,
            dataset.num_classes,
            name="model",
            **arguments,
        )
        self.config = {
            "data": data_config,
            "pixelcnnpp": {"options": self.options, "model": model.get_config()},
        }

    def baseline(self, dataset, run, training, data_config, *_):
        self.options = {name: value for name, value in training.items() if value is not None}
        self.config = {"data": data_config, "baseline": {"options": self.options}}


@pytest.fixture
def recorded(monkeypatch, pixelcnnpp, tmp_path):
    """Runs a training command; returns the `config.json` that it would have written."""
    recorder = Recorder()
    monkeypatch.setattr(commands, "train_pixelcnnpp", recorder.pixelcnnpp)
    monkeypatch.setattr(commands, "train_baseline", recorder.baseline)

    def run(*words):
        status, _, err = pixelcnnpp(*words, "--run", tmp_path / "run")
        assert status == 0, err
        return json.loads(json.dumps(recorder.config))

    return run


TINY = ("--preset", "digits", "--num-resolutions", 1, "--filters", 4)


@pytest.mark.parametrize(
    "options",
    [
        ("--data", "digits"),
        ("--data", "digits", "--preset", "cpen455", "--crop-margin", 0, "--image-size", 16),
        ("--data", "digits", "--architecture", "pixelcnn", "--head", "categorical"),
        ("--data", "digits", "--preset", "report", "--filters", "8,16,16", "--image-size", 8),
        ("--data", "NPZ", *TINY, "--seed", 3, "--max-examples", 5, "--num-candidates", 2),
        ("--data", "NPZ", *TINY, "--num-levels", 7, "--skip-corrupted"),
        ("--data", "NPZ", *TINY, "--label-dropout-rate", 0.25, "--conditioning", "bias+spatial"),
    ],
)
def test_pixelcnnpp(recorded, options, tmp_path):
    npz = tiny.save_npz(tmp_path / "two words.npz")
    options = [npz if word == "NPZ" else word for word in options]
    first = recorded("train", "pixelcnnpp", *options)
    again = recorded(*training_words(first, "pixelcnnpp"))
    assert again["data"] == first["data"]
    assert again["pixelcnnpp"]["model"] == first["pixelcnnpp"]["model"]
    # What the first left to the model's own defaults is written out.
    assert first["pixelcnnpp"]["options"].items() <= again["pixelcnnpp"]["options"].items()


def test_baseline(recorded):
    options = ("--data", "digits", "--epochs", 3, "--no-jit-compile")
    first = recorded("train", "baseline", *options)
    again = recorded(*training_words(first, "baseline"))
    assert again == first
