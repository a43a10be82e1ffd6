import numpy as np
import pytest
from sklearn.datasets import load_digits

from keras_pixelcnnpp.data.dataset import Dataset, LabelledImages
from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.errors import UserError


def test_digits_are_all_there_once_and_a_third_is_for_testing():
    dataset = load_dataset("digits")
    bunch = load_digits()
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 1078,
        "validation": 120,
        "test": 599,
    }
    seen = []
    for split in dataset.splits.values():
        rows = [int(path.removeprefix("digits/")) for path in split.paths]
        np.testing.assert_array_equal(split.images[..., 0], bunch.images[rows])
        np.testing.assert_array_equal(split.labels, bunch.target[rows])
        # Stratified: no class is missing or twice as frequent.
        expected = np.bincount(bunch.target) * len(split) / 1797
        np.testing.assert_allclose(np.bincount(split.labels), expected, atol=1.5)
        seen += rows
    assert sorted(seen) == list(range(1797))
    assert dataset.class_names == tuple("0123456789")
    assert (dataset.image_shape, dataset.num_levels, dataset.num_classes) == ((8, 8, 1), 17, 10)


def test_counts_are_by_split_and_class():
    dataset = load_dataset("digits")
    counts = dataset.counts()
    total = np.sum([counts["train"], counts["validation"], counts["test"]], axis=0)
    np.testing.assert_array_equal(total, [*np.bincount(load_digits().target), 0])
    test = dataset.split("test")
    unlabelled = LabelledImages(test.images, np.full(599, -1, "int32"), test.paths)
    counts = Dataset("digits", dataset.class_names, 17, {"test": unlabelled}).counts()
    assert counts == {"test": [0] * 10 + [599]}


def test_digits_do_not_depend_on_the_seed():
    digest = load_dataset("digits").fingerprint()
    assert load_dataset("digits", seed=7).fingerprint() == digest


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
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(UserError, match=message):
        load_dataset("digits", **arguments)


@pytest.mark.parametrize("name", ["nowhere", "data.csv", "mnist", "\0"])
def test_missing_source(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"No such folder or \.npz file: .* digits, cifar10"):
        load_dataset(name)


def test_unknown_split_names_the_others():
    with pytest.raises(UserError, match=r"no split 'dev'\. It has: test, train, validation"):
        load_dataset("digits").split("dev")


def small_dataset(**changes):
    images = np.arange(24, dtype="uint8").reshape(3, 2, 4, 1)
    arguments = {
        "images": images,
        "labels": np.array([0, 1, 0], "int32"),
        "class_names": ("a", "b"),
        "split": "train",
    } | changes
    split = LabelledImages(arguments["images"], arguments["labels"], ("x", "y", "z"))
    return Dataset("small", arguments["class_names"], 256, {arguments["split"]: split})


@pytest.mark.parametrize(
    "changes",
    [
        {"images": np.arange(24, dtype="uint8").reshape(3, 2, 4, 1)[::-1]},
        {"images": np.arange(24, dtype="uint8").reshape(3, 4, 2, 1)},
        {"labels": np.array([1, 0, 0], "int32")},
        {"class_names": ("a", "c")},
        {"class_names": ("ab",)},
        {"split": "test"},
    ],
)
def test_fingerprint_notices_every_change(changes):
    assert small_dataset().fingerprint() == small_dataset().fingerprint()
    assert small_dataset(**changes).fingerprint() != small_dataset().fingerprint()


def test_take_and_labelled():
    split = small_dataset(labels=np.array([0, -1, 1], "int32")).split("train")
    assert split.labelled().paths == ("x", "z")
    assert split.take([2, 0]).labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    "changes",
    [
        {"images": np.zeros((3, 2, 2, 1))},
        {"images": np.zeros((3, 2, 2), "uint8")},
        {"labels": np.zeros(2, "int32")},
        {"labels": np.zeros(3, "int64")},
    ],
)
def test_arrays_that_do_not_fit(changes):
    with pytest.raises(ValueError, match="Invalid value for argument"):
        small_dataset(**changes)
