import numpy as np
import pytest

from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.errors import UserError


def arrays(**changes):
    rng = np.random.default_rng(0)
    made = {
        "x_train": rng.integers(0, 256, (20, 6, 4, 3), dtype="uint8"),
        "y_train": np.arange(20) % 2,
        "x_val": rng.integers(0, 256, (4, 6, 4, 3), dtype="uint8"),
        "y_val": np.arange(4)[:, None] % 2,
        "x_test": rng.integers(0, 256, (3, 6, 4, 3), dtype="uint8"),
    }
    return {name: value for name, value in (made | changes).items() if value is not None}


def write(tmp_path, **changes):
    path = tmp_path / "data.npz"
    np.savez(path, **arrays(**changes))
    return path


def test_splits_labels_and_class_names(tmp_path):
    dataset = load_dataset(write(tmp_path, class_names=["cat", "dog"]))
    np.testing.assert_array_equal(dataset.split("train").images, arrays()["x_train"])
    assert dataset.split("validation").labels.tolist() == [0, 1, 0, 1]
    assert dataset.split("test").labels.tolist() == [-1, -1, -1]
    assert (dataset.class_names, dataset.name) == (("cat", "dog"), "data")


def test_gray_images_without_a_channel_axis_or_class_names(tmp_path):
    gray = {name: value[..., 0] for name, value in arrays().items() if name.startswith("x_")}
    dataset = load_dataset(write(tmp_path, **gray))
    assert (dataset.image_shape, dataset.class_names) == ((6, 4, 1), ("Class0", "Class1"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": None}, "no array x_train. There is: x_test, x_val"),
        ({"y_train": None}, "x_train but no y_train"),
        ({"x_train": np.zeros((20, 6, 4, 3))}, r"x_train must be uint8 .* it is float64"),
        ({"x_train": np.zeros((20, 6), "uint8")}, "x_train must be uint8"),
        ({"x_train": np.zeros((0, 6, 4, 3), "uint8")}, "x_train must be uint8 .* not empty"),
        ({"x_test": np.zeros((3, 8, 8, 3), "uint8")}, "images of different shapes"),
        ({"y_train": np.arange(19) % 2}, r"y_train must be integers \(20,\)"),
        ({"y_train": np.arange(20) / 2}, r"y_train must be integers"),
        ({"y_train": np.arange(20) % 2 * 2}, "labels of train, row 1: label 2 is out of range"),
        ({"y_val": np.array([0, 1, 2, 0])}, "labels of validation, row 2: label 2 is out of range"),
        ({"y_val": np.array([0, 1, 2**32, 0])}, "is out of range"),
        ({"class_names": ["cat"]}, "`class_names`. Expected 2 strings"),
        ({"class_names": ["cat", "cat"]}, "No two classes may have the same name"),
        ({"x_valid": arrays()["x_val"]}, "two names for one split, valid and val"),
    ],
)
def test_bad_arrays_are_named(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        load_dataset(write(tmp_path, **changes))


def test_pickled_objects_are_not_loaded(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x_train=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UserError, match=r"cannot be read as an \.npz file"):
        load_dataset(path)
