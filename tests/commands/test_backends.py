"""Each command works under JAX and torch, under which the other tests of commands do not run."""

import numpy as np
import pytest
import tiny
from command_line import done, read_rows
from PIL import Image

from keras_pixelcnnpp.data.images import png_bytes, read_image
from keras_pixelcnnpp.layers.conditions import Vectors
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.models.pixelcnn import PixelCNN
from keras_pixelcnnpp.training.run import RunFolder
from keras_pixelcnnpp.utils.files import read_json

pytestmark = [pytest.mark.jax, pytest.mark.torch]

IMAGES = tiny.tiny_split(4).images
SMALL = ("--epochs", 1, "--batch-size", 12, "--filters", 4, "--num-blocks", 1, "--num-mixtures", 1)


@pytest.fixture
def folder(tmp_path):
    """A folder of four images."""
    (tmp_path / "images").mkdir()
    for index, image in enumerate(IMAGES):
        (tmp_path / "images" / f"{index}.png").write_bytes(png_bytes(image))
    return tmp_path / "images"


def test_sample(pixelcnnpp, trained, archive, tmp_path):
    output = tmp_path / "samples.npy"
    done(pixelcnnpp("sample", "--model", archive, "--count", 2, "--seed", 3, "--output", output))
    np.testing.assert_array_equal(np.load(output), trained.sample([0, 0, 1, 1, 2, 2], seed=3))


def test_complete(pixelcnnpp, archive, folder, tmp_path):
    words = ("--model", archive, "--count", 1, "--seed", 3, "--output", tmp_path / "a.png")
    done(pixelcnnpp("complete", folder / "0.png", *words))
    grid = np.asarray(Image.open(tmp_path / "a.png"))[::16, ::16]
    np.testing.assert_array_equal(grid[1:3, 6:10], IMAGES[0, :2, :, 0])


def test_classify_and_score(pixelcnnpp, trained, archive, folder, tmp_path):
    classes, scores = tmp_path / "classes.csv", tmp_path / "scores.csv"
    done(pixelcnnpp("classify", "--model", archive, folder, "--csv", classes))
    done(pixelcnnpp("score", "--model", archive, "--data", folder, "--output", scores))
    expected = trained.class_probabilities(IMAGES).argmax(axis=1).tolist()
    for table in (classes, scores):
        assert [int(row["predicted"]) for row in read_rows(table)] == expected


def test_compress_and_decompress(pixelcnnpp, archive, folder, tmp_path):
    file, back = tmp_path / "a.pxc", tmp_path / "back"
    done(pixelcnnpp("compress", "--model", archive, folder, "--output", file))
    done(pixelcnnpp("decompress", file, "--model", archive, "--output", back))
    for index, image in enumerate(IMAGES):
        np.testing.assert_array_equal(read_image(back / f"{index}.png", (4, 4, 1)), image)


def test_posterior(pixelcnnpp, folder, tmp_path):
    small = {"num_levels": 5, "filters": 4, "num_blocks": 1, "num_mixtures": 1}
    model = PixelCNN((4, 4, 1), conditions=Vectors(1, [0], [1], ["share"]), **small)
    model.save(tmp_path / "model.keras")
    words = ("--model", tmp_path / "model.keras", "--data", folder, "--grid", "share=0:1:3")
    done(pixelcnnpp("posterior", *words, "--output", tmp_path / "a.csv"))
    rows = read_rows(tmp_path / "a.csv")
    expected = model.grid_posterior(IMAGES, np.array([[0.0], [0.5], [1.0]])).mean[:, 0]
    assert [float(row["share_mean"]) for row in rows] == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_train_baseline(pixelcnnpp, tmp_path):
    run = RunFolder(tmp_path / "run")
    words = ("--data", tiny.save_npz(tmp_path / "tiny.npz"), "--run", run.path)
    done(pixelcnnpp("train-baseline", *words, "--epochs", 1))
    (epoch,) = run.history("baseline")
    images = run.load_data().images("validation", with_labels=True)
    model = load_trained_model(run.baseline_keras, BaselineCNN)
    right = model.class_probabilities(images.images).argmax(axis=1) == images.labels
    assert epoch["val_accuracy"] == pytest.approx(right.mean())


def test_train(pixelcnnpp, tmp_path):
    run = RunFolder(tmp_path / "run")
    words = ("--data", tiny.save_npz(tmp_path / "tiny.npz"), "--run", run.path)
    done(pixelcnnpp("train", *words, *SMALL, "--network", "pixelcnn"))
    (epoch,) = run.history("pixelcnnpp")
    images = run.load_data().images("validation", with_labels=True)
    model = load_trained_model(run.model_keras)
    bits = model.bits_per_dim(images.images, images.labels).mean()
    assert epoch["val_bits_per_dim"] == pytest.approx(bits, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "few"),
    [
        ("classification", ()),
        ("evidence", ("--per-class", 1)),
        ("generation", ("--per-class", 2, "--temperatures", "", "--completions", 1)),
        ("likelihood", ("--count", 4)),
        pytest.param("ood", ("--count", 4), marks=pytest.mark.slow),
    ],
)
def test_evaluate(pixelcnnpp, run, name, few):
    done(pixelcnnpp("evaluate", name, "--run", run.path, *few))
    assert read_json(run.reports / f"{name}.json")["weights"]
    assert (run.reports / "index.html").is_file()
