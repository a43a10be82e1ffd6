"""A run folder for the commands."""

import shutil

import pytest

from keras_pixelcnnpp.files import write_json
from keras_pixelcnnpp.run import RunFolder


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A run folder with both models, as if they had been trained, and its data."""
    # Here, for the tests of metrics and reports need no Keras.
    import tiny

    from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN

    folder = RunFolder(tmp_path_factory.mktemp("trained"))
    data = tiny.tiny_data_config(tiny.tiny_dataset())
    data["source"] = str(tiny.save_npz(folder.path / "tiny.npz"))
    model = tiny.tiny_model()
    section = {"options": {}, "model": model.get_config()}
    write_json(folder.config_json, {"data": data, "pixelcnnpp": section})
    model.save(folder.model_keras)
    BaselineCNN((4, 4, 1), 3, 5, filters=(4,), num_blocks=1).save(folder.baseline_keras)
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """A copy of it, for one test to measure."""
    return RunFolder(shutil.copytree(trained.path, tmp_path / "run"))


@pytest.fixture
def run_without_baseline(run):
    """The same without a baseline CNN."""
    run.baseline_keras.unlink()
    return run
