import numpy as np
import pytest
import tiny

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.models.archive import copy_initial_weights
from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.train.options import resolve_options
from keras_pixelcnnpp.train.pixelcnnpp import train_pixelcnnpp

HYBRID = {"label_loss_weight": 0.5, "initial_temperature": 0.5}


@pytest.fixture
def source():
    """A model that no fresh one equals, its offsets and temperature included."""
    model = tiny.tiny_model(**HYBRID)
    model.posterior.offsets.assign([3.0, 0.0, -3.0, 0.0])
    model.posterior.log_temperature.assign(0.7)
    return model


@pytest.mark.parametrize("kind", ["archive", "preset"])
def test_the_model_then_answers_as_its_source(kind, source, tmp_path):
    path = tmp_path / "source.keras"
    if kind == "archive":
        source.save(path)
    else:
        source.save_to_preset(path)
    # Not the same options: what concerns the training only may differ.
    model = tiny.tiny_model(label_loss_weight=0.2, learn_temperature=False, dropout_rate=0.1)
    pictures = tiny.tiny_split(9).images
    expected = source.class_probabilities(pictures)
    assert not np.allclose(model.class_probabilities(pictures), expected, atol=1e-3)
    copy_initial_weights(str(path), model)
    np.testing.assert_allclose(model.class_probabilities(pictures), expected, atol=1e-6)


def test_another_architecture_is_refused(source, tmp_path):
    source.save(tmp_path / "source.keras")
    model = tiny.tiny_model(num_mixtures=2)
    with pytest.raises(UserError, match=r"num_mixtures=2\. Received: .*, with num_mixtures=1"):
        copy_initial_weights(str(tmp_path / "source.keras"), model)


def test_a_preset_without_weights_is_refused():
    with pytest.raises(UserError, match="without weights"):
        copy_initial_weights("report", tiny.tiny_model())


def test_training_starts_from_them(source, tmp_path):
    """With steps of length zero it also ends there."""
    source.save(tmp_path / "source.keras")
    dataset = tiny.tiny_dataset()
    preset = {"model": tiny.MODEL, "training": {"epochs": 1, "batch_size": 12}}
    options = {"initial_weights": str(tmp_path / "source.keras"), "learning_rate": 0.0}
    model_options, training = resolve_options(preset, options, dataset.num_classes)
    data = tiny.tiny_data_config(dataset)
    run = RunFolder(tmp_path / "run")
    model = train_pixelcnnpp(dataset, run, model_options, training, data, verbose=0)
    for weights, expected in zip(
        model.network.get_weights(), source.network.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(weights, expected)


def test_refused_weights_leave_the_old_run_as_it_was(source, tmp_path):
    dataset = tiny.tiny_dataset()
    preset = {"model": tiny.MODEL, "training": {"epochs": 1, "batch_size": 12}}
    run = RunFolder(tmp_path / "run")

    def train(options, **how):
        model_options, training = resolve_options(preset, options, dataset.num_classes)
        data = tiny.tiny_data_config(dataset)
        return train_pixelcnnpp(dataset, run, model_options, training, data, verbose=0, **how)

    train({})
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="Unknown preset"):
        train({"initial_weights": "cpne455"}, overwrite=True)
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before
    # The very model that is to be overwritten is a good start.
    train({"initial_weights": str(run.model_keras)}, overwrite=True)
