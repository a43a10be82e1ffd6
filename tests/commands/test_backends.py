"""Training, classifying and sampling work under JAX and torch; other tests of commands run once."""

import numpy as np
import pytest
import tiny
from command_line import SMALL_OPTIONS, done, read_rows

from keras_pixelcnnpp.data.images import png_bytes
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.training.run import RunFolder


@pytest.mark.jax
@pytest.mark.torch
def test_a_run_is_trained_and_its_model_classifies_and_samples(pixelcnnpp, tmp_path):
    run, images = RunFolder(tmp_path / "run"), tmp_path / "images"
    data = tiny.save_npz(tmp_path / "tiny.npz")
    done(pixelcnnpp("train", "--data", data, "--run", run.path, *SMALL_OPTIONS))
    model, split = load_trained_model(run.model_keras), run.load_data().split("validation")
    (epoch,) = run.history("pixelcnnpp")
    bits = model.bits_per_dim(split.images, split.labels).mean()
    assert epoch["val_bits_per_dim"] == pytest.approx(bits, rel=1e-3)
    images.mkdir()
    for index, image in enumerate(split.images):
        (images / f"{index}.png").write_bytes(png_bytes(image))
    done(pixelcnnpp("classify", "--run", run.path, images, "--csv", tmp_path / "classes.csv"))
    expected = model.class_probabilities(split.images).argmax(axis=1).tolist()
    assert [int(row["predicted"]) for row in read_rows(tmp_path / "classes.csv")] == expected
    output = ("--seed", 3, "--output", tmp_path / "samples.npy")
    done(pixelcnnpp("sample", "--run", run.path, "--count", 2, *output))
    expected = model.sample([0, 0, 1, 1, 2, 2], seed=3)
    np.testing.assert_array_equal(np.load(tmp_path / "samples.npy"), expected)
