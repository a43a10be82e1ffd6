import json

import pytest
import tiny

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.files import write_json
from keras_pixelcnnpp.optimizers import variable_value
from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.train.options import resolve_options
from keras_pixelcnnpp.train.pixelcnnpp import train_pixelcnnpp

# Keras's saving asks NumPy for copies in a way that NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

TRAINING = {"epochs": 2, "batch_size": 12, "learning_rate": 0.01, "ema_momentum": 0.5}


def test_without_a_baseline(tmp_path):
    dataset = tiny.tiny_dataset()
    preset = {"model": tiny.MODEL, "training": TRAINING}
    model, training = resolve_options(preset, {"frechet_every": 1}, dataset.num_classes)
    run = RunFolder(tmp_path / "run")
    with pytest.raises(UserError, match="pixelcnnpp train baseline"):
        train_pixelcnnpp(dataset, run, model, training, tiny.tiny_data_config(dataset), verbose=0)
    assert not run.path.exists()


@pytest.mark.slow
def test_last_distance_is_that_of_the_evaluation(tmp_path, pixelcnnpp):
    import keras

    preset = {"model": {**tiny.MODEL, "image_shape": [4, 4, 1]}, "training": TRAINING}
    write_json(tmp_path / "preset" / "config.json", preset)
    data = tiny.save_npz(tmp_path / "data.npz")
    run = RunFolder(tmp_path / "run")
    status, _, _ = pixelcnnpp(
        *("train", "baseline", "--data", data, "--run", run.path),
        *("--epochs", 1, "--batch-size", 12),
    )
    assert status == 0
    train = ("train", "pixelcnnpp", "--data", data, "--preset", tmp_path / "preset")
    status, _, _ = pixelcnnpp(*train, "--run", run.path, "--frechet-every", 2, "--sample-every", 0)
    assert status == 0
    first, last = json.loads(run.history_json("pixelcnnpp").read_text())
    assert "val_frechet_distance" not in first

    status, _, _ = pixelcnnpp(
        *("evaluate", "generation", "--run", run.path),
        *("--temperatures", "", "--completions", 0),
    )
    assert status == 0
    report = json.loads((run.reports / "generation.json").read_text())
    evaluated = report["metrics"]["all"]["frechet_distance"]
    assert last["val_frechet_distance"] == pytest.approx(evaluated, rel=1e-4)

    # What is looked at doesn't change what is trained.
    other = RunFolder(tmp_path / "other")
    status, _, _ = pixelcnnpp(*train, "--run", other.path, "--sample-every", 0)
    assert status == 0
    watched, unwatched = (keras.models.load_model(each.model_keras) for each in (run, other))
    for variable, expected in zip(watched.weights, unwatched.weights, strict=True):
        assert (variable_value(variable) == variable_value(expected)).all()
