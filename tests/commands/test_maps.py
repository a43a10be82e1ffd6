"""A run that is conditioned on maps: trained from arrays, and used by the commands."""

import numpy as np
import pytest
from command_line import done, one_line, read_rows
from PIL import Image

from keras_pixelcnnpp.export.saved_model import SavedModelClassifier
from keras_pixelcnnpp.models.archive import load_trained_model

pytestmark = [pytest.mark.once, pytest.mark.eagerly]

RNG = np.random.default_rng(0)
MAPS = RNG.integers(0, 256, (12, 4, 2)).astype("uint8")
IMAGES = np.where(MAPS.repeat(2, axis=2) > 127, 255, 0).astype("uint8")


@pytest.fixture(scope="module")
def run_of_maps(run_of_arrays):
    splits = {"x_train": IMAGES, "maps_train": MAPS, "x_val": IMAGES[:4], "maps_val": MAPS[:4]}
    return run_of_arrays(splits)


def test_commands_take_a_map_or_refuse(run_of_maps, pixelcnnpp, tmp_path):
    np.save(tmp_path / "map.npy", MAPS[0])
    images, scores = tmp_path / "images", tmp_path / "scores.csv"
    images.mkdir()
    Image.fromarray(IMAGES[0]).save(images / "one.png")
    named, given = ("--run", run_of_maps.path), ("--map", tmp_path / "map.npy")
    output = "--output", tmp_path / "samples.npy"
    done(pixelcnnpp("sample", *named, *given, "--seed", "0", "--count", "3", *output))
    model = load_trained_model(run_of_maps.model_keras)
    expected = model.sample(MAPS[:1].repeat(3, axis=0), seed=0)
    np.testing.assert_array_equal(np.load(tmp_path / "samples.npy"), expected)
    completed = "--output", tmp_path / "completed.png"
    done(pixelcnnpp("complete", images / "one.png", *named, *given, *completed))
    done(pixelcnnpp("score", *named, *given, "--data", images, "--output", scores))
    (row,) = read_rows(scores)
    log_prob = model.log_prob(IMAGES[:1, ..., None], MAPS[:1])[0]
    assert float(row["log_prob"]) == pytest.approx(log_prob, rel=1e-5)
    one_line(pixelcnnpp("sample", *named), "Missing option --map")
    samples = "--output", tmp_path / "samples.png"
    out = done(pixelcnnpp("sample", *named, "--map", images / "one.png", *samples))
    assert "one.png (4×4 to " in out  # resized, which is not an error
    (tmp_path / "map.npy").write_bytes(b"no array")
    one_line(pixelcnnpp("sample", *named, *given), "map.npy cannot be read")
    one_line(pixelcnnpp("classify", images, *named), "maps")
    one_line(pixelcnnpp("compress", images, *named, "--output", tmp_path / "images.pxc"), "maps")
    one_line(pixelcnnpp("evaluate", "generation", *named), "conditioned on maps")


@pytest.mark.tensorflow
def test_a_saved_model_takes_maps(run_of_maps, pixelcnnpp):
    done(pixelcnnpp("export", "--run", run_of_maps.path))
    model = load_trained_model(run_of_maps.model_keras)
    served = SavedModelClassifier(run_of_maps.savedmodel)
    images, maps = IMAGES[:3, ..., None], MAPS[:3, ..., None]
    found = served.call("log_prob", images=images, maps=maps)["log_likelihood"]
    np.testing.assert_allclose(found, model.log_prob(images, maps), rtol=1e-5)
    assert served.sample(maps, seed=0).shape == images.shape
    completed = served.complete(images, 2, maps)
    np.testing.assert_array_equal(completed[:, :2], images[:, :2])
