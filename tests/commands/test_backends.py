"""Training, sampling and classifying work under JAX and torch; other tests of commands run once."""

import numpy as np
import pytest
import tiny
from command_line import done, read_rows

from keras_pixelcnnpp.data.images import png_bytes
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.training.run import RunFolder

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


def test_classify(pixelcnnpp, trained, archive, folder, tmp_path):
    classes = tmp_path / "classes.csv"
    done(pixelcnnpp("classify", "--model", archive, folder, "--csv", classes))
    expected = trained.class_probabilities(IMAGES).argmax(axis=1).tolist()
    assert [int(row["predicted"]) for row in read_rows(classes)] == expected


def test_train(pixelcnnpp, tmp_path):
    run = RunFolder(tmp_path / "run")
    words = ("--data", tiny.save_npz(tmp_path / "tiny.npz"), "--run", run.path)
    done(pixelcnnpp("train", *words, *SMALL, "--network", "pixelcnn"))
    (epoch,) = run.history("pixelcnnpp")
    images = run.load_data().images("validation", with_labels=True)
    model = load_trained_model(run.model_keras)
    bits = model.bits_per_dim(images.images, images.labels).mean()
    assert epoch["val_bits_per_dim"] == pytest.approx(bits, rel=1e-3)
