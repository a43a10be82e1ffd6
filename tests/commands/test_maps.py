"""A run that is conditioned on maps: trained from arrays, and used by the commands."""

import numpy as np
import pytest
from command_line import done, one_line, read_rows
from PIL import Image

from keras_pixelcnnpp.data.load import load_dataset
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


OF_PAIRS = ["--network", "pixelcnn", "--num-levels", 2, "--filters", 4, "--num-blocks", 1]
OF_PAIRS += ["--epochs", 1, "--batch-size", 6, "--channels", 1, "--white-level", 4095]


@pytest.fixture
def pairs(tmp_path, pixelcnnpp):
    """A folder of images and maps of 12 bits, and a run that was trained on it."""
    folder = tmp_path
    for row in range(12):
        for kind, values in (("images", IMAGES[row]), ("maps", MAPS[row].repeat(2, axis=1))):
            path = folder / "pairs" / ("train" if row < 8 else "test") / kind / f"{row:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values.astype("uint16") * 16).save(path)
    run = folder / "run"
    words = ("train", "--data", folder / "pairs", "--run", run, "--split-seed", 0, *OF_PAIRS)
    done(pixelcnnpp(*words))
    return folder / "pairs" / "test", run


def test_maps_are_read_as_in_training_and_belong_to_their_images(pairs, pixelcnnpp, tmp_path):
    """Bits per dimension of the data set, with its white level, from pairs and folders of maps."""
    data, run = pairs
    model, scores = load_trained_model(run / "model.keras"), tmp_path / "scores.csv"
    dataset = load_dataset(data.parent, channels=1, white_level=4095, make_splits=False)
    split = dataset.split("test")
    maps = split.given["map"]
    assert maps.max() > 200
    expected = model.bits_per_dim(split.images, maps)
    named, output = ("--run", run), ("--output", scores)
    given = ("--data", data / "images", "--map", data / "maps")
    for words in (("--data", data), given, (*given, "--tiled")):
        done(pixelcnnpp("score", *named, *words, *output, "--overwrite"))
        found = [float(row["bits_per_dim"]) for row in read_rows(scores)]
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    alone = ("--data", data / "images" / "08.png", "--map", data / "maps" / "08.png")
    samples = ("sample", *named, "--seed", 0, "--output", tmp_path / "s.npy", "--overwrite")
    done(pixelcnnpp(*samples, "--map", data / "maps", "--count", 4))
    np.testing.assert_array_equal(np.load(tmp_path / "s.npy"), model.sample(maps, seed=0))
    done(pixelcnnpp(*samples, "--map", alone[-1], "--count", 2))
    one = model.sample(maps[:1].repeat(2, axis=0), seed=0)
    np.testing.assert_array_equal(np.load(tmp_path / "s.npy"), one)
    one_line(pixelcnnpp(*samples, "--map", data / "maps"), "has 4 maps", "--count 4")
    (data / "maps" / "09.png").rename(data / "maps" / "other.png")
    one_line(pixelcnnpp("score", *named, *given, *output, "--overwrite"), "1 of 4", "cannot be re")
    assert "no map 09 in" in read_rows(scores)[1]["error"]
    (data / "maps" / "other.png").rename(data / "maps" / "09.png")
