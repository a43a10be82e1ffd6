import re
from collections import Counter
from pathlib import Path
from unittest import mock

import hostile
import keras
import numpy as np
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.distributions.levels import to_levels
from keras_pixelcnnpp.utils.errors import UserError

pytestmark = pytest.mark.once


def test_digits_are_images_and_can_be_resized():
    dataset = load_dataset("digits", image_size=16, channels=3)
    assert dataset.image_shape == (16, 16, 3)
    images = dataset.split("test").images
    np.testing.assert_array_equal(images[..., 0], images[..., 2])
    original = load_dataset(Path("digits"))  # a name may be a path
    total = np.sum(list(original.counts().values()), axis=0)
    np.testing.assert_array_equal(total, [*np.bincount(load_digits().target), 0])
    # The mean brightness is unchanged.
    original = original.split("test").images
    assert np.mean(images) == pytest.approx(np.mean(original), abs=2)
    # Quantized to 17 levels, the images equal those of scikit-learn.
    levels = Counter(map(bytes, to_levels(original, 17)))
    assert levels <= Counter(map(bytes, load_digits().images.astype("uint8")))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 0}, "argument `image_size`"),
        ({"image_size": (8, 8, 3)}, "argument `image_size`. Expected an integer, or a pair"),
        ({"channels": 2}, r"argument `channels`. Expected 1 .*3 \(RGB\).* \.npz file"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(UserError, match=message):
        load_dataset("digits", **arguments)


@pytest.mark.parametrize("name", ["none", "\0", __file__])
def test_bad_sources(name):
    expected = r"Expected an existing \.npz file or folder, or one of: digits, mnist.* Received: "
    expected += re.escape(__file__) + "$" if name == __file__ else ".*, but there is no such file"
    with pytest.raises(UserError, match=expected):
        load_dataset(name)


@st.composite
def data_sets(draw):
    """Generates a form of `--data`, and images and labels for each split."""
    forms = ["npz", "npz as Keras has it", "CSV files", "split folders", "class folders"]
    form = draw(st.sampled_from(forms))
    num_classes = draw(st.integers(1, 3))
    shape = (draw(st.integers(1, 5)), draw(st.integers(1, 5)), draw(st.sampled_from([1, 3])))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    splits = draw(st.sampled_from([("train", "validation", "test"), ("train", "validation")]))
    if form == "class folders" or draw(st.booleans()):
        splits = ("train",)
    count = 10 * num_classes + draw(st.integers(0, 3))  # enough images for all splits
    made = {}
    for split in splits:
        labels = rng.permutation(np.arange(count) % num_classes)
        made[split] = rng.integers(0, 256, (count, *shape), dtype="uint8"), labels
    return form, made


def write(folder, form, made):
    """Writes a data set; returns the value of `--data`."""
    if form in ("npz", "npz as Keras has it"):
        arrays = {}
        for split, (images, labels) in made.items():
            is_gray = form != "npz" and images.shape[3] == 1
            name = "val" if (form, split) == ("npz", "validation") else split
            arrays[f"x_{name}"] = images.squeeze(3) if is_gray else images
            arrays[f"y_{name}"] = labels if form == "npz" else labels[:, None]
        np.savez(folder / "data.npz", **arrays)
        return folder / "data.npz"
    for split, (images, labels) in made.items():
        rows = []
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            name = f"{index}{('.png', '.BMP')[index % 2]}"
            place = {
                "CSV files": folder / "images" / split,
                "split folders": folder / split / f"class {label}",
                "class folders": folder / f"class {label}" / "below",
            }[form]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(place / name)
            rows.append(f"images/{split}/{name},{label}\n")
        if form == "CSV files":
            name = "val" if split == "validation" else split
            (folder / f"{name}.csv").write_text("".join(rows))
    return folder


def content(images, labels):
    """Returns images with their labels, independent of their order."""
    return Counter(
        (image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True)
    )


@hostile.examples(40)
@given(data_sets())
def test_every_form_comes_back(tmp_path_factory, written):
    form, made = written
    height, width, channels = made["train"][0].shape[1:]
    source = write(tmp_path_factory.mktemp("data"), form, made)
    dataset = load_dataset(source, image_size=(height, width), channels=channels)
    received = {name: content(s.images, s.labels) for name, s in dataset.splits.items()}
    if len(made) == 1:  # the data was split
        assert len(received) == (3 if form == "class folders" else 2)
        assert sum(received.values(), Counter()) == content(*made["train"])
    else:
        assert received == {name: content(*arrays) for name, arrays in made.items()}
    assert dataset.num_classes == len(np.unique(made["train"][1]))


def published(name):
    """Returns arrays in the form of `keras.datasets`."""
    shape = (32, 32, 3) if name == "cifar10" else (28, 28)
    parts = []
    for count in (600, 20):
        labels = np.arange(count)[:, None] % 10 if name == "cifar10" else np.arange(count) % 10
        parts.append((np.zeros((count, *shape), "uint8"), labels.astype("uint8")))
    return tuple(parts)


@pytest.mark.parametrize(
    ("name", "held_out", "some_class"),
    [("mnist", 20, "3"), ("fashion_mnist", 60, "Dress"), ("cifar10", 60, "cat")],
)
def test_data_sets_of_keras(monkeypatch, name, held_out, some_class):
    monkeypatch.setattr(getattr(keras.datasets, name), "load_data", lambda: published(name))
    dataset = load_dataset(name)
    counts = {split: len(images) for split, images in dataset.splits.items()}
    assert counts == {"train": 600 - held_out, "validation": held_out, "test": 20}
    assert dataset.class_names[3] == some_class
    is_fixed = dataset.fingerprint() == load_dataset(name, seed=1).fingerprint()
    assert is_fixed == (name == "mnist")


def test_no_network(monkeypatch):
    """The preset of a data set is its advice, but that of CIFAR-10 is too large."""
    fail = mock.Mock(side_effect=OSError("no route\nto host"))
    for name, advice in {"mnist": ", and train with --preset mnist", "cifar10": ""}.items():
        monkeypatch.setattr(getattr(keras.datasets, name), "load_data", fail)
        expected = rf"{name} cannot be downloaded: no route to host\. .*\.npz .* the data{advice}$"
        with pytest.raises(UserError, match=expected):
            load_dataset(name)


def write_npz(tmp_path, **changes):
    rng = np.random.default_rng(0)
    made = {
        "x_train": rng.integers(0, 256, (20, 6, 4, 3), dtype="uint8"),
        "y_train": np.arange(20) % 2,
        "x_val": rng.integers(0, 256, (4, 6, 4, 3), dtype="uint8"),
        "y_val": np.arange(4)[:, None] % 2,
        "x_test": rng.integers(0, 256, (3, 6, 4, 3), dtype="uint8"),
    }
    arrays = {name: value for name, value in (made | changes).items() if value is not None}
    np.savez(tmp_path / "data.npz", **arrays)
    return tmp_path / "data.npz"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": None}, "Expected a split train. Received: validation and test"),
        ({"y_train": None}, "labels of validation, row 0: .* have the labels"),
        ({"x_train": np.zeros((20, 6), "uint8")}, "x_train must be uint8"),
        ({"x_test": np.zeros((3, 8, 8, 3), "uint8")}, "images of different shapes"),
        (
            {"x_train": np.zeros((20, 1, 28, 28), "uint8")},
            r"\(20, 1, 28, 28\), whose channels are first\. .*np\.moveaxis\(x_train, 1, -1\)$",
        ),
        ({"y_train": np.arange(19) % 2}, r"y_train must be integers \(20,\)"),
        ({"y_train": np.arange(20) / 2}, r"y_train must be integers"),
        ({"y_val": np.array([0, 1, 2, 0])}, "labels of validation, row 2: label 2 is out of range"),
    ],
)
def test_bad_arrays_are_named(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        load_dataset(write_npz(tmp_path, **changes))


def test_what_may_not_be_meant_is_told(tmp_path):
    """Arrays that are not used, images on another axis, splits on other scales, letter case."""
    np.savez(tmp_path / "a.npz", x_train=np.zeros((16, 16, 100), "uint8"), fold=0, X_valid=0)
    notes = " ".join(load_dataset(tmp_path / "a.npz").notes)
    assert "Arrays that are not used: X_valid, fold." in notes
    assert "(16, 16, 100) is read as 16 images, 16 pixels high and 100 wide" in notes
    np.savez(tmp_path / "a.npz", x_train=np.zeros((20, 3, 32, 40), "uint8"))
    notes = " ".join(load_dataset(tmp_path / "a.npz").notes)
    assert "3 pixels high and have 40 channels. If their channels are the first axis, move" in notes
    names = np.array(["cat", "Cat"])
    path = write_npz(tmp_path, class_names=names)
    *_, letters, unlabeled = load_dataset(path, make_splits=False).notes
    assert letters == "Classes whose names differ in case only: cat, Cat."
    assert unlabeled == "Unlabeled images: 3 test."
    images = np.full((20, 24, 32), 9, "uint8")
    scales = {"x_train": 2 * images, "y_train": np.arange(20) % 2, "x_test": images}
    np.savez(tmp_path / "a.npz", **scales, y_test=scales["y_train"])
    notes = " ".join(load_dataset(tmp_path / "a.npz").notes)
    assert "Minimum, median and maximum of the values: train 18, 18, 18; " in notes
    assert "test 9, 9, 9" in notes
    maps = np.linspace(0, 1, images.size).reshape(images.shape)
    given = {"maps_train": maps, "maps_test": 255 * maps}
    given |= {"vectors_train": maps[:, 0, :2], "vectors_test": maps[:, 0, :2] + 2}
    np.savez(tmp_path / "a.npz", **scales, y_test=scales["y_train"], **given)
    notes = load_dataset(tmp_path / "a.npz", vectors=("beta", "field")).notes
    shown = [note for note in notes if note.startswith("Minimum")]
    assert [note.split(": ")[0].split("of the ")[1] for note in shown] == [
        "values",
        "maps",
        "vectors' component beta",
        "vectors' component field",
    ]
    assert "train 0, 0.5, 1; " in shown[1]
    assert "test 0, 127.5, 255" in shown[1]


@pytest.mark.parametrize("has_labels", [False, True])
def test_arrays_that_are_split(tmp_path, has_labels):
    images, labels = tiny.tiny_split(30).images, np.arange(30) % 3 if has_labels else [-1] * 30
    others = {"labels": labels, "class_names": tiny.NAMES} if has_labels else {}
    np.savez(tmp_path / "a.npz", images=images, **others)
    dataset = load_dataset(tmp_path / "a.npz")
    assert (dataset.class_names, dataset.name) == (others.get("class_names", ()), "a")
    assert [len(split) for split in dataset.splits.values()] == [24, 3, 3]
    (whole,) = load_dataset(tmp_path / "a.npz", make_splits=False).splits.values()
    np.testing.assert_array_equal(whole.images, images)
    np.testing.assert_array_equal(whole.labels, labels)


def test_arrays_to_be_measured_only(tmp_path):
    """Some classes may have no images."""
    labels = np.array([0, 2, 2])
    split = tiny.tiny_split(3)
    np.savez(tmp_path / "a.npz", x_test=split.images, y_test=labels)
    dataset = load_dataset(tmp_path / "a.npz", make_splits=False)
    assert dataset.split("test").labels.tolist() == [0, 2, 2]
    np.savez(tmp_path / "a.npz", x_test=split.images, y_test=labels, class_names=[*"abcd"])
    assert load_dataset(tmp_path / "a.npz", make_splits=False).num_classes == 4
    np.savez(tmp_path / "a.npz", x_test=split.images, y_test=[0, 1, 2**30])
    with pytest.raises(UserError, match="label 1073741824 is out of range"):
        load_dataset(tmp_path / "a.npz", make_splits=False)


@pytest.mark.parametrize(
    ("given", "low", "high"),
    [
        (np.linspace(0, 1, 16, dtype="float32"), 0, 1),
        (np.arange(16, dtype="uint16") * 60, 100, 4095),  # some are darker than LOW
        (np.arange(16, dtype="int64") * 17, 0, 255),
    ],
)
def test_other_numbers_are_refused_with_code_that_works(tmp_path, given, low, high):
    """The code is the same for all data, whatever their range."""
    x_train = given.reshape(1, 4, 4, 1).repeat(20, axis=0)
    with pytest.raises(UserError, match=r"x_train must be uint8\. Received: .* with ") as caught:
        load_dataset(write_npz(tmp_path, x_train=x_train))
    code = str(caught.value).split("Convert all data with ")[1].split(", where")[0]
    assert ("as_uint16=True" in str(caught.value)) == (given.dtype == "uint16")
    assert str(caught.value).endswith("/docs/how-to/scientific_data.md")
    converted = eval(code, {"x_train": x_train, "LOW": low, "HIGH": high, "np": np})
    expected = np.clip((given.astype(float) - low) * 255 / (high - low), 0, 255)
    assert converted.dtype == np.uint8
    np.testing.assert_array_equal(converted[0].ravel(), np.round(expected))


VALUES = (np.arange(20 * 16, dtype="uint16") * 200).reshape(20, 4, 4)


def test_files_of_16_bits_keep_their_values(tmp_path):
    for index, values in enumerate(VALUES):
        suffix = "tif" if index % 2 else "png"
        Image.fromarray(values).save(tmp_path / f"{index:02d}.{suffix}")
    dataset = load_dataset(tmp_path, image_size=4, as_uint16=True, make_splits=False)
    images = dataset.split("all").images
    assert images.dtype == np.uint16
    np.testing.assert_array_equal(images[..., 0], VALUES)
    smaller = load_dataset(tmp_path, image_size=2, as_uint16=True, make_splits=False)
    means = VALUES.astype("float64").mean(axis=(1, 2))
    assert smaller.split("all").images.mean(axis=(1, 2, 3)) == pytest.approx(means, abs=1)
    Image.fromarray(VALUES[0].astype("uint8")).save(tmp_path / "eight.png")
    with pytest.raises(UserError, match=r"gray image of 16 bits\. Received: mode L"):
        load_dataset(tmp_path, as_uint16=True)
    (tmp_path / "eight.png").unlink()
    Image.fromarray(VALUES[0, :3]).save(tmp_path / "other.png")
    with pytest.raises(UserError, match=r"of one size, 4×4, or the argument image_size"):
        load_dataset(tmp_path, as_uint16=True)


def test_arrays_of_16_bits(tmp_path):
    others = {"x_val": None, "x_test": None}
    path = write_npz(tmp_path, x_train=VALUES, **others)
    dataset = load_dataset(path, as_uint16=True)
    assert len(dataset.splits) == 2
    assert dataset.split("train").images.dtype == np.uint16
    assert load_dataset(path, image_size=2, as_uint16=True).image_shape == (2, 2, 1)
    path = write_npz(tmp_path, x_train=np.zeros((20, 4, 4), "uint8"), **others)
    with pytest.raises(UserError, match=r"x_train must be uint16\. Received: uint8, .* 0 to 0$"):
        load_dataset(path, as_uint16=True)
    path = write_npz(tmp_path, x_train=np.tile(VALUES[..., None], 3), **others)
    assert load_dataset(path, as_uint16=True, channels=3).image_shape == (4, 4, 3)
    with pytest.raises(UserError, match="gray images, because others of 16 bits"):
        load_dataset(path, as_uint16=True, image_size=2)
