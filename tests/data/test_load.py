from collections import Counter

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

from examples import examples
from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.distributions.levels import to_levels
from keras_pixelcnnpp.errors import UserError


def test_digits_are_images_and_can_be_resized():
    dataset = load_dataset("digits", image_size=16, channels=3)
    assert dataset.image_shape == (16, 16, 3)
    images = dataset.split("test").images
    np.testing.assert_array_equal(images[..., 0], images[..., 2])
    original = load_dataset("digits")
    total = np.sum(list(original.counts().values()), axis=0)
    np.testing.assert_array_equal(total, [*np.bincount(load_digits().target), 0])
    # The mean brightness stays.
    original = original.split("test").images
    assert np.mean(images) == pytest.approx(np.mean(original), abs=2)
    # A model of 17 levels gets those of scikit-learn back.
    levels = Counter(map(bytes, to_levels(original, 17)))
    assert levels <= Counter(map(bytes, load_digits().images.astype("uint8")))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 0}, "argument `image_size`"),
        ({"image_size": (8, -1)}, "argument `image_size`"),
        ({"image_size": 8.5}, "argument `image_size`"),
        ({"channels": 2}, "argument `channels`. Expected one of: None, 1, 3"),
        ({"image_size": (8, 8, 8)}, "argument `image_size`.*or two"),
        ({"resize": "crop"}, "argument `resize`. Expected one of: center_crop, stretch"),
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


@st.composite
def data_sets(draw):
    """A form of `--data` and what to write in it: by split, images and labels."""
    form = draw(st.sampled_from(["npz", "CSV files", "split folders", "class folders"]))
    num_classes = draw(st.integers(1, 3))
    shape = (draw(st.integers(1, 5)), draw(st.integers(1, 5)), draw(st.sampled_from([1, 3])))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    splits = draw(st.sampled_from([("train", "validation", "test"), ("train", "validation")]))
    if form == "class folders" or draw(st.booleans()):
        splits = ("train",)
    count = 10 * num_classes + draw(st.integers(0, 3))  # enough for every split that is made
    made = {}
    for split in splits:
        labels = rng.permutation(np.arange(count) % num_classes)
        made[split] = rng.integers(0, 256, (count, *shape), dtype="uint8"), labels
    return form, made


def write(folder, form, made):
    """Writes a data set and returns what to give as `--data`."""
    if form == "npz":
        images = {f"x_{split}": images for split, (images, _) in made.items()}
        labels = {f"y_{split}": labels for split, (_, labels) in made.items()}
        np.savez(folder / "data.npz", **images, **labels)
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
            (folder / f"{split}.csv").write_text("".join(rows))
    return folder


def content(images, labels):
    """Images with their labels, in any order."""
    return Counter(
        (image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True)
    )


@examples(40)
@given(data_sets())
def test_every_form_comes_back(tmp_path_factory, written):
    form, made = written
    height, width, channels = made["train"][0].shape[1:]
    source = write(tmp_path_factory.mktemp("data"), form, made)
    dataset = load_dataset(source, image_size=(height, width), channels=channels)
    received = {name: content(s.images, s.labels) for name, s in dataset.splits.items()}
    if len(made) == 1:  # splits were made
        assert len(received) == (3 if form == "class folders" else 2)
        assert sum(received.values(), Counter()) == content(*made["train"])
    else:
        assert received == {name: content(*arrays) for name, arrays in made.items()}
    assert dataset.num_classes == len(np.unique(made["train"][1]))


def published(name):
    """Arrays as `keras.datasets` gives them."""
    shape = (32, 32, 3) if name == "cifar10" else (28, 28)
    parts = []
    for count in (600, 20):
        labels = np.arange(count)[:, None] % 10 if name == "cifar10" else np.arange(count) % 10
        parts.append((np.zeros((count, *shape), "uint8"), labels.astype("uint8")))
    return tuple(parts)


@pytest.mark.parametrize(
    ("name", "held_out", "some_class"),
    [("mnist", 20, "3"), ("fashion_mnist", 20, "Dress"), ("cifar10", 60, "cat")],
)
def test_data_sets_of_keras(monkeypatch, name, held_out, some_class):
    monkeypatch.setattr(getattr(keras.datasets, name), "load_data", lambda: published(name))
    dataset = load_dataset(name)
    counts = {split: len(images) for split, images in dataset.splits.items()}
    assert counts == {"train": 600 - held_out, "validation": held_out, "test": 20}
    assert dataset.class_names[3] == some_class
    is_fixed = dataset.fingerprint() == load_dataset(name, seed=1).fingerprint()
    assert is_fixed == (name != "cifar10")


def test_no_network(monkeypatch):
    def fail():
        raise OSError("no route\nto host")

    monkeypatch.setattr(keras.datasets.mnist, "load_data", fail)
    with pytest.raises(UserError, match=r"mnist cannot be downloaded: no route to host\. .*\.npz"):
        load_dataset("mnist")
