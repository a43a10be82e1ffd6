import os

import pytest
import tiny

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.files import write_json
from keras_pixelcnnpp.run import RunFolder

pytestmark = pytest.mark.once


def test_a_model_that_is_not_there_yet(tmp_path):
    run = RunFolder(tmp_path)
    run.model_keras.touch()
    with pytest.raises(UserError, match=r"no config.json, .*--model \S+model.keras, or restore"):
        run.require_model("pixelcnnpp")
    write_json(run.config_json, {"data": tiny.tiny_data_config(tiny.tiny_dataset())})
    assert run.require_model("pixelcnnpp") == run.model_keras
    run.model_keras.unlink()
    with pytest.raises(UserError, match=r"no trained baseline.*pixelcnnpp train-baseline"):
        run.require_model("baseline")
    run.checkpoints("pixelcnnpp").mkdir(parents=True)
    (run.checkpoints("pixelcnnpp") / "epoch-0003.npz").touch()
    with pytest.raises(UserError, match=r"has no model.keras: .*pixelcnnpp train --resume --run"):
        run.require_model("pixelcnnpp")


@pytest.mark.parametrize("options", [{}, {"unlabeled_weight": 1.0}])
def test_images_that_were_not_trained_on_are_none_of_its_training_images(tmp_path, options):
    dataset = tiny.tiny_dataset()
    dataset.split("train").labels[12:] = -1
    chosen = dataset.split("train").some(8, 0)
    expected = chosen if options else chosen.labeled()
    assert 0 < len(chosen.labeled()) < 8
    of_model = {"options": {"max_examples": 8, "seed": 0, **options}}
    data = tiny.tiny_data_config(dataset)
    write_json(tmp_path / "config.json", {"data": data, "pixelcnnpp": of_model})
    assert RunFolder(tmp_path).training_images(dataset).paths == expected.paths


def test_one_training_at_a_time(tmp_path):
    """A second training in the folder gets an error that names the first process."""
    run = RunFolder(tmp_path / "runs" / "run")
    who = rf"run is locked by the training of process {os.getpid()} on \S+, since \d{{4}}-"

    def train():
        with run.locked():
            with pytest.raises(UserError, match=who), RunFolder(run.path).locked():
                pass
            raise KeyError

    for _ in range(2):  # the lock is released when the training ends or fails
        with pytest.raises(KeyError):
            train()
    with RunFolder(run.path).locked():
        pass
