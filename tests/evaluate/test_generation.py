import json

import numpy as np
import pytest
import tiny
from command_line import one_line
from PIL import Image

from keras_pixelcnnpp.atomic import write_json
from keras_pixelcnnpp.run_folder import RunFolder

# Keras's saving asks NumPy for copies in a way that NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def run(tmp_path):
    """A run folder with a model, as if it had been trained."""
    folder = RunFolder(tmp_path / "run")
    write_json(folder.config_json, {"data": tiny.tiny_data_config(tiny.tiny_dataset())})
    tiny.tiny_model().save(folder.model_keras)
    return folder


def test_pictures_grids_and_report(pixelcnnpp, run):
    command = ("evaluate", "generation", "--run", run.path)
    status, out, _ = pixelcnnpp(*command, "--per-class", 3, "--seed", 5)
    assert status == 0
    assert str(run.samples) in out
    names = ("dark", "grey", "bright")
    assert {path.name for path in run.samples.iterdir()} == {
        f"{name}_image_{number:02d}.png" for name in names for number in (1, 2, 3)
    }
    grids = {path.stem: np.asarray(Image.open(path)).shape for path in run.reports.glob("*.png")}
    assert set(grids) == {"samples", *(f"samples_{name}" for name in names)}
    assert grids["samples"] == (16 * 16, 16 * 16)

    report = json.loads((run.reports / "generation.json").read_text())
    assert (report["count"], report["per_class"], report["seed"]) == (9, 3, 5)
    model = tiny_model_of(run)
    labels = np.repeat(np.arange(3), 3)
    levels = model.sample(labels, seed=5)
    bits = -model.log_prob(levels, labels) / (16 * np.log(2))
    assert report["bits_per_dim"] == pytest.approx(bits.mean(), rel=1e-4)
    for index, name in enumerate(names):
        expected = bits[labels == index].mean()
        assert report["classes"][name] == {
            "count": 3,
            "bits_per_dim": pytest.approx(expected, rel=1e-4),
        }
    with Image.open(run.samples / "bright_image_02.png") as image:
        assert (np.asarray(image) // 63 == levels[7, ..., 0]).all()

    # A smaller set leaves nothing of the larger one behind.
    assert pixelcnnpp(*command, "--per-class", 1)[0] == 0
    assert len(list(run.samples.iterdir())) == 3


def tiny_model_of(run):
    import keras

    return keras.models.load_model(run.model_keras)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--temperature", 0), "temperature"),
        (("--temperature", "inf"), "temperature"),
        (("--guidance", 1), "label dropout"),
    ],
)
def test_bad_options(pixelcnnpp, run, options, message):
    one_line(pixelcnnpp("evaluate", "generation", "--run", run.path, *options), message)
    assert not run.samples.exists()
    assert not run.reports.exists()


def test_nothing_trained(pixelcnnpp, tmp_path):
    one_line(pixelcnnpp("evaluate", "generation", "--run", tmp_path), "No run in")
