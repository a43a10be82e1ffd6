import subprocess
import sys

import numpy as np
import pytest

from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.errors import UserError


def test_digits_can_be_resized_and_requantized():
    dataset = load_dataset("digits", image_size=16, channels=3, num_levels=4)
    assert (dataset.image_shape, dataset.num_levels) == ((16, 16, 3), 4)
    images = dataset.split("test").images
    assert images.max() == 3
    np.testing.assert_array_equal(images[..., 0], images[..., 2])
    # The mean brightness stays.
    original = load_dataset("digits").split("test").images
    assert np.mean(images / 3) == pytest.approx(np.mean(original / 16), abs=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 0}, "argument `image_size`.*Received: image_size=0"),
        ({"image_size": (8, -1)}, "argument `image_size`"),
        ({"image_size": True}, "argument `image_size`"),
        ({"channels": 2}, r"argument `channels`.*1 \(grey\) or 3 \(RGB\)"),
        ({"num_levels": 1}, "argument `num_levels`.*from 2 to 256"),
        ({"num_levels": 257}, "argument `num_levels`"),
        ({"image_size": (8, 8, 8)}, "argument `image_size`.*or two"),
        ({"resize": "stretch"}, "argument `resize`. Expected one of: crop, squeeze"),
        ({"splits": ["dev"]}, "no split 'dev'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(UserError, match=message):
        load_dataset("digits", **arguments)


@pytest.mark.parametrize("name", ["nowhere", "data.csv", "\0"])
def test_missing_source(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match=r"No such folder or \.npz file: .* digits, mnist, fashion_mnist, cifar10"
    ):
        load_dataset(name)


def test_one_split_alone():
    dataset = load_dataset("digits", splits=["test"])
    assert list(dataset.splits) == ["test"]
    whole = load_dataset("digits").split("test")
    np.testing.assert_array_equal(dataset.split("test").images, whole.images)


def test_nothing_heavy_is_imported_for_arrays(tmp_path):
    """A run's report reads its data, and should not wait for a backend."""
    path = tmp_path / "data.npz"
    labels = np.arange(4) % 2
    pictures = np.zeros((4, 2, 2, 1), "uint8")
    np.savez(path, x_train=pictures, y_train=labels, x_val=pictures, y_val=labels)
    code = (
        "import sys; from keras_pixelcnnpp.data import load_dataset\n"
        f"load_dataset({str(path)!r}, image_size=4, channels=3)\n"
        "heavy = {'keras', 'tensorflow', 'jax', 'torch', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("counts", "notes"),
    [
        ((25, 25), ()),
        ((25, 24), ("The split validation is small: 49 pictures, as few as 24 of a class.",)),
        ((96, 4), ("The split validation is small: 100 pictures, as few as 4 of a class.",)),
    ],
)
def test_few_pictures_to_measure_on_are_told(tmp_path, counts, notes):
    labels = np.repeat([0, 1], counts)
    images = np.zeros((len(labels), 4, 4), "uint8")
    path = tmp_path / "data.npz"
    np.savez(path, x_train=images, y_train=labels, x_validation=images, y_validation=labels)
    assert load_dataset(path).notes == notes
