"""Sources of `--data`: a source is one class, and commands ask it for all that they need."""

import keras
import numpy as np
import pytest
import tiny
from command_line import done, one_line

from keras_pixelcnnpp.data import load
from keras_pixelcnnpp.data.dataset import Dataset
from keras_pixelcnnpp.data.load import source_of
from keras_pixelcnnpp.data.source import DataSource
from keras_pixelcnnpp.recipes.existing import CLASS_NAMES
from keras_pixelcnnpp.train import run_training
from keras_pixelcnnpp.training.run import RunFolder
from keras_pixelcnnpp.utils.errors import UserError
from keras_pixelcnnpp.utils.files import read_json, write_json

pytestmark = [pytest.mark.once, pytest.mark.eagerly]


class Stripes(DataSource):
    """Striped images, `stripes:SEED`, of a contributor."""

    form = "stripes:SEED"
    may_be_mirrored = False
    preset = "digits"

    def __init__(self, text):
        self.path, self.location, self.name = None, text, text.replace(":", "-")

    @classmethod
    def takes(cls, text):
        return text.startswith("stripes:")

    def load(self, how):
        return Dataset(self.name, tiny.NAMES, {"all": tiny.tiny_split(60, int(self.name[-1]))})


def test_a_class_is_enough(pixelcnnpp, monkeypatch, tmp_path):
    monkeypatch.setattr(load, "SOURCES", (Stripes, *load.SOURCES))
    monkeypatch.setattr(run_training, "_train_into", lambda *_: None)
    run = RunFolder(tmp_path / "run")
    words = ("--data", "stripes:4", "--run", run.path)
    assert "Recipe of the preset digits" in done(pixelcnnpp("train", *words, "--filters", 4))
    keras.utils.clear_session(free_memory=False)
    done(pixelcnnpp("train-baseline", *words))
    config = run.read_config()
    assert config["data"]["source"] == "stripes:4"
    assert config["baseline"]["options"]["horizontal_flip"] is False
    tiny.tiny_model(tiny.untrained_pixelcnn, class_names=tiny.NAMES).save(run.model_keras)
    assert len(run.load_data().split("validation")) == 6
    done(pixelcnnpp("evaluate", "likelihood", "--run", run.path, "--data", "stripes:5"))
    report = read_json(run.reports / "stripes-5" / "likelihood.json")
    assert (report["data"], report["count"]) == ("stripes:5", 60)
    one_line(
        pixelcnnpp("train", "--run", run.path, "--data", "strips:4"), "stripes:SEED", "strips:4"
    )


def test_a_run_recognizes_its_own_data_by_name_and_by_relative_path(run, monkeypatch):
    config = run.read_config()
    path = run.path / "own.npz"
    np.savez(path, images=tiny.tiny_split(40, 3).images)
    monkeypatch.chdir(run.path)
    for source, text in (("digits", "digits"), (str(path), "own.npz")):
        write_json(run.config_json, {"data": {**config["data"], "source": source}})
        with pytest.raises(UserError, match="has changed since the run was trained on it"):
            run.load_data(text)


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_a_mirrored_digit_is_no_digit(tmp_path, name):
    """A file of the same name may have any images."""
    assert source_of(name).may_be_mirrored == (name not in ("digits", "mnist"))
    assert source_of(tiny.save_npz(tmp_path / f"{name}.npz")).may_be_mirrored
