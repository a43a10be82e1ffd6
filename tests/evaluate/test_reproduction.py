"""The commands in a report reproduce the run."""

import keras
import pytest
import tiny
from command_line import done

from keras_pixelcnnpp.evaluate.report import training_words
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.run import RunFolder


@pytest.fixture
def recorded(monkeypatch, pixelcnnpp, tmp_path):
    """Runs a training command without its training; returns its `config.json`."""
    for command in ("pixelcnnpp", "baseline"):
        monkeypatch.setattr(f"keras_pixelcnnpp.train.{command}.train_into", lambda *_, **__: None)
    monkeypatch.setattr(AutoregressiveModel, "initialize", lambda *_: None)

    def run(*words):
        keras.utils.clear_session(free_memory=False)  # Keras numbers the names of models
        done(pixelcnnpp(*words, "--run", tmp_path / "run", "--overwrite"))
        return RunFolder(tmp_path / "run").read_config()

    return run


TINY = ("--preset", "digits", "--num-resolutions", 1, "--filters", 4)


@pytest.mark.parametrize(
    "options",
    [
        ("--data", "digits"),
        ("--data", "digits", "--preset", "photographs", "--crop-margin", 0, "--image-size", 16),
        ("--data", "digits", "--network", "pixelcnn", "--head", "categorical"),
        (
            "--data",
            "digits",
            "--preset",
            "course_report",
            "--filters",
            "8,16,16",
            "--image-size",
            8,
        ),
        ("--data", "NPZ", *TINY, "--seed", 3, "--max-examples", 5, "--num-candidates", 2),
        ("--data", "NPZ", *TINY, "--num-levels", 7, "--skip-corrupted"),
        ("--data", "NPZ", *TINY, "--conditioning", "bias+spatial"),
    ],
)
def test_pixelcnnpp(recorded, options, tmp_path):
    npz = tiny.save_npz(tmp_path / "two words.npz")
    options = [npz if word == "NPZ" else word for word in options]
    first = recorded("train", *options)
    again = recorded(*training_words(first, "pixelcnnpp"))
    assert again["data"] == first["data"]
    assert again["pixelcnnpp"]["model"] == first["pixelcnnpp"]["model"]
    # Defaults of the model are written out.
    assert first["pixelcnnpp"]["options"].items() <= again["pixelcnnpp"]["options"].items()


def test_baseline(recorded):
    options = ("--data", "digits", "--epochs", 3, "--no-jit-compile")
    first = recorded("train-baseline", *options)
    again = recorded(*training_words(first, "baseline"))
    assert again == first
