"""Folders of images with a map for each."""

import re

import numpy as np
import pytest
from PIL import Image

from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.utils.errors import UserError

pytestmark = pytest.mark.once


def write(folder, numbers, split="train", suffix=".png"):
    """Writes images of 4×4 pixels and maps of 2×2, which have the same value."""
    for kind, size in (("images", 4), ("maps", 2)):
        place = folder / split / kind / "some"
        place.mkdir(parents=True, exist_ok=True)
        for number in numbers:
            image = Image.fromarray(np.full((size, size), number, "uint8"))
            image.save(place / f"{number}{suffix if kind == 'maps' else '.png'}")


def test_images_have_the_maps_of_their_names(tmp_path):
    write(tmp_path, [90, 9, 150], suffix=".bmp")
    write(tmp_path, [7, 200], "test")
    dataset = load_dataset(tmp_path, channels=1, make_splits=False)
    assert dataset.class_names == ()
    assert dataset.conditions[0].shape == (2, 2, 1)
    for name, count in (("train", 3), ("test", 2)):
        split = dataset.split(name)
        assert (split.images.shape, len(split)) == ((count, 4, 4, 1), count)
        np.testing.assert_array_equal(split.images[:, :2, :2], split.given["map"])


def test_without_splits_images_are_split_with_their_maps(tmp_path):
    write(tmp_path, range(100, 130), split=".")
    dataset = load_dataset(tmp_path, image_size=8, channels=1)
    assert [len(split) for split in dataset.splits.values()] == [24, 3, 3]
    for split in dataset.splits.values():
        assert split.images.shape[1:] == (8, 8, 1)
        np.testing.assert_array_equal(split.images, split.given["map"])


@pytest.mark.parametrize("kind", ["images", "maps"])
def test_errors_name_the_file(tmp_path, kind):
    write(tmp_path, [3, 40])
    file = tmp_path / "train" / kind / "some" / "40.png"
    content = file.read_bytes()
    file.write_bytes(content[:40])
    with pytest.raises(UserError, match=rf"^{re.escape(str(file))}: not an image"):
        load_dataset(tmp_path, make_splits=False)
    found = load_dataset(tmp_path, make_splits=False, skip_corrupted=True).split("train")
    assert (found.images.max(), found.given["map"].max()) == (3, 3)
    file.unlink()
    with pytest.raises(UserError, match=r"40\.png has no"):
        load_dataset(tmp_path, make_splits=False)


def test_arrays_with_maps_are_not_resized(tmp_path):
    arrays = {"images": np.zeros((20, 4, 4), "uint8"), "maps": np.zeros((20, 4, 4))}
    np.savez(tmp_path / "pairs.npz", **arrays)
    with pytest.raises(UserError, match="maps"):
        load_dataset(tmp_path / "pairs.npz", image_size=8)
