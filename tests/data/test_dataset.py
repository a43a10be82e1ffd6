"""Tests of labeled images and their splits."""

import numpy as np
import pytest

from keras_pixelcnnpp.data.dataset import (
    Dataset,
    LabeledImages,
    class_notes,
)
from keras_pixelcnnpp.utils.errors import UserError

pytestmark = pytest.mark.once

SORTED = np.repeat(np.arange(3), 30).astype("int32")
IMAGES, LABELS = np.arange(24, dtype="uint8").reshape(3, 2, 4, 1), np.array([0, 1, 0], "int32")


def small_dataset(images=IMAGES, labels=LABELS, class_names=("a", "b"), split="train"):
    return Dataset("small", class_names, {split: LabeledImages(images, labels, ("x", "y", "z"))})


@pytest.mark.parametrize(
    "changes",
    [
        {"images": IMAGES[::-1]},
        {"images": IMAGES.reshape(3, 4, 2, 1)},
        {"labels": np.array([1, 0, 0], "int32")},
        {"class_names": ("a", "c")},
        {"class_names": ("ab",)},
        {"split": "test"},
    ],
)
def test_fingerprint_notices_every_change(changes):
    assert small_dataset().fingerprint() == small_dataset().fingerprint()
    assert small_dataset(**changes).fingerprint() != small_dataset().fingerprint()


def test_some_images_are_chosen_at_random_in_their_order():
    split = small_dataset().split("train")
    assert split.some(None) is split.some(3) is split
    many = LabeledImages(np.zeros((90, 1, 1, 1), "uint8"), SORTED, tuple(map(str, range(90))))
    part = many.some(30)
    assert np.bincount(part.labels, minlength=3).min() >= 5  # the first ones are all of one class
    assert len(part) == 30
    assert list(part.paths) == sorted(part.paths, key=int)
    assert part.paths == many.some(30).paths
    assert part.paths != many.some(30, seed=1).paths


def test_images_to_train_or_measure_on():
    labels = np.array([1, -1, 0], "int32")
    dataset = small_dataset(labels=labels)
    assert dataset.images("train", with_labels=True).paths == ("x", "z")
    assert len(dataset.images("train", with_labels=False)) == 3
    assert len(dataset.images("train", with_labels=True, max_examples=1)) == 1
    unlabeled = small_dataset(labels=np.full(3, -1, "int32"))
    assert len(unlabeled.images("train", with_labels=False, max_examples=2)) == 2
    with pytest.raises(UserError, match="split train has no labeled image"):
        unlabeled.images("train", with_labels=True)


def test_classes_are_found_by_their_names_in_folders():
    dataset = small_dataset(class_names=("Bag", "T-shirt_top"))
    again = dataset.with_classes(("T-shirt/top", "Coat", "Bag"))
    assert again.split("train").labels.tolist() == [2, 0, 2]
    in_order = dataset.with_classes(("T-shirt/top", "Coat", "Bag"), in_order=True)
    assert in_order.split("train").labels.tolist() == [0, 1, 0]
    with pytest.raises(UserError, match="alphabetical for folders"):
        dataset.with_classes(("T-shirt", "Bag"))


def test_held_out_images_have_the_same_share_of_each_class():
    labels = np.concatenate([SORTED, SORTED[:30], np.full(10, -1, "int32")])
    images = np.zeros((len(labels), 1, 1, 1), "uint8")
    split = LabeledImages(images, labels, tuple(map(str, range(len(labels)))))
    stay, held_out = split.hold_out(0.2, seed=0)
    assert np.bincount(held_out.labels).tolist() == [12, 6, 6]
    assert (stay.labels == -1).sum() == 10
    for part in (stay, held_out):
        assert list(part.paths) == sorted(part.paths, key=int)
    assert sorted(stay.paths + held_out.paths) == sorted(split.paths)
    assert len(split.take(labels < 0).hold_out(0.2, seed=0)[1]) == 2


def test_classes_that_a_split_lacks_are_named():
    dataset = small_dataset(labels=np.zeros(3, "int32"), split="validation")
    assert class_notes(dataset) == ["The split validation has no image of: b."]
