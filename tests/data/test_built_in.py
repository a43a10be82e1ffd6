"""Data sets known by name, and folders of idx files, all made here."""

import gzip
import struct

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from keras_pixelcnnpp.data import built_in
from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.errors import UserError

FILES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}


def published(seed=0, classes=10):
    """A small data set of MNIST's form: 90 and 20 pictures."""
    rng = np.random.default_rng(seed)
    return {
        "x_train": rng.integers(0, 256, (90, 28, 28), dtype="uint8"),
        "y_train": (np.arange(90) % classes).astype("uint8"),
        "x_test": rng.integers(0, 256, (20, 28, 28), dtype="uint8"),
        "y_test": (np.arange(20) % classes).astype("uint8"),
    }


def idx(array):
    """The format's description: magic number, big-endian sizes, bytes in C order."""
    return struct.pack(f">{array.ndim + 1}I", 0x800 + array.ndim, *array.shape) + array.tobytes()


def write_idx(folder, arrays, packed=True):
    folder.mkdir(parents=True)
    for key, array in arrays.items():
        path = folder / (FILES[key] + ".gz" * packed)
        path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    return folder


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Keras's cache and Debian's folder, empty, and no network: `places.cache`, `places.system`."""

    def fail():
        raise OSError("no route to host")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(built_in, "SYSTEM_FOLDER", tmp_path / "system")
    for name in ("mnist", "fashion_mnist", "cifar10"):
        monkeypatch.setattr(getattr(keras.datasets, name), "load_data", fail)
    return tmp_path / "keras/datasets", tmp_path / "system"


def check(dataset, arrays, name="fashion_mnist"):
    """The splits are fixed: the last thirtieth of the training pictures, here 3, is validation."""
    assert (dataset.image_shape, dataset.num_levels, dataset.num_classes) == ((28, 28, 1), 256, 10)
    parts = {
        "train": (arrays["x_train"][:87], arrays["y_train"][:87]),
        "validation": (arrays["x_train"][87:], arrays["y_train"][87:]),
        "test": (arrays["x_test"], arrays["y_test"]),
    }
    assert set(dataset.splits) == set(parts)
    for split, (images, labels) in parts.items():
        np.testing.assert_array_equal(dataset.split(split).images[..., 0], images)
        np.testing.assert_array_equal(dataset.split(split).labels, labels)
        assert dataset.split(split).images.flags.writeable
    paths = [path for split in dataset.splits.values() for path in split.paths]
    assert len(set(paths)) == 110
    names = {"fashion_mnist": ("T-shirt/top", "Ankle boot"), "mnist": ("0", "9")}[name]
    assert (dataset.class_names[0], dataset.class_names[9]) == names


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("folder", "name"), [("fashion-mnist", "fashion_mnist"), ("fashion_mnist",) * 2, ("mnist",) * 2]
)
def test_folder_of_idx_files(tmp_path, folder, name, packed):
    check(load_dataset(write_idx(tmp_path / folder, published(), packed)), published(), name)


def test_folder_of_another_name_has_numbered_classes(tmp_path):
    dataset = load_dataset(write_idx(tmp_path / "letters", published(classes=3)), seed=5)
    assert dataset.class_names == ("Class0", "Class1", "Class2")
    assert dataset.split("validation").labels.tolist() == [0, 1, 2]


def test_places_are_searched_in_order(places, monkeypatch):
    cache, system = places
    arrays = published(1)
    pairs = ((arrays["x_train"], arrays["y_train"]), (arrays["x_test"], arrays["y_test"]))
    monkeypatch.setattr(keras.datasets.fashion_mnist, "load_data", lambda: pairs)
    check(load_dataset("fashion_mnist"), published(1))
    write_idx(system / "fashion-mnist", published(2))
    check(load_dataset("fashion_mnist"), published(2))
    folder = write_idx(cache / "fashion-mnist", published(3))
    check(load_dataset("fashion_mnist"), published(3))
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()  # a download that broke off
    check(load_dataset("fashion_mnist"), published(2))
    np.savez(cache / "fashion_mnist.npz", **published(4))
    check(load_dataset("fashion_mnist"), published(4))
    check(load_dataset("fashion_mnist", seed=9), published(4))


def test_mnist_is_found_as_keras_keeps_it(places):
    places[0].mkdir(parents=True)
    np.savez(places[0] / "mnist.npz", **published())
    check(load_dataset("mnist"), published(), "mnist")


def test_file_of_other_data(places):
    places[0].mkdir(parents=True)
    np.savez(places[0] / "mnist.npz", **published(classes=3))
    with pytest.raises(UserError, match=r"mnist\.npz has 3 classes; mnist has 10"):
        load_dataset("mnist")


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("mnist", r"Put mnist\.npz .* into .*datasets, or give a folder with train-images-idx3"),
        ("fashion_mnist", ".*, install Debian's package dataset-fashion-mnist, or give a folder"),
        ("cifar10", r"Put cifar10\.npz with x_train, y_train, .* into .*datasets\.$"),
    ],
)
def test_no_network(places, name, advice):
    with pytest.raises(UserError, match=f"{name} cannot be downloaded: no route to host. {advice}"):
        load_dataset(name)


def test_cifar10(places, monkeypatch):
    def part(count):
        return np.zeros((count, 32, 32, 3), "uint8"), np.arange(count)[:, None] % 10

    monkeypatch.setattr(keras.datasets.cifar10, "load_data", lambda: (part(200), part(20)))
    dataset = load_dataset("cifar10")
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 180,
        "validation": 20,
        "test": 20,
    }
    assert dataset.class_names[3] == "cat"
    assert dataset.split("test").paths[7] == "cifar10/test/000007"
    assert load_dataset("cifar10", seed=1).fingerprint() != dataset.fingerprint()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"train-labels-idx1-ubyte\.gz is missing"),
        (b"", "cannot be read as an idx file"),
        (b"no archive", "cannot be read as an idx file"),
        (gzip.compress(b"\0\0\x0d\1" + bytes(20)), "not an array of uint8"),
        (gzip.compress(b"\0\0\x08\1" + struct.pack(">I", 2**31) + bytes(9)), "cannot be read"),
        (gzip.compress(b"\0\0\x08\3" + b"\xff" * 12 + bytes(9)), "cannot be read"),
        (gzip.compress(idx(published()["y_train"]))[:-9], "cannot be read"),
        (gzip.compress(idx(published()["y_train"][:-1])), r"y_train must be integers \(90,\)"),
        (gzip.compress(idx(published()["x_train"])), r"y_train must be integers \(90,\)"),
        (gzip.compress(idx(np.full(90, 7, "uint8"))), "label 7 is out of range"),
    ],
    # Not the archives themselves: they hold the second they were made in, and the processes that
    # share the tests would call them by different names.
    ids=[
        "missing",
        "empty",
        "no_archive",
        "no_uint8",
        "longer_than_said",
        "more_than_fits",
        "cut_short",
        "one_missing",
        "pictures_for_labels",
        "label_out_of_range",
    ],
)
def test_damaged_idx_files(tmp_path, content, message):
    folder = write_idx(tmp_path / "data", published())
    path = folder / "train-labels-idx1-ubyte.gz"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        load_dataset(folder)
    assert "\n" not in str(error.value)


def test_idx_file_that_unpacks_to_much(tmp_path):
    folder = write_idx(tmp_path / "data", published())
    bomb = struct.pack(">II", 0x801, 2**28) + bytes(2**28)
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bomb))
    with pytest.raises(UserError, match="a bomb"):
        load_dataset(folder)


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


def test_digits_do_not_depend_on_the_seed():
    digest = load_dataset("digits").fingerprint()
    assert load_dataset("digits", seed=7).fingerprint() == digest
