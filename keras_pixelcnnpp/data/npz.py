"""Pictures and labels as arrays in an .npz file, which may come from anybody."""

import zipfile
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from keras_pixelcnnpp.data.dataset import (
    SPLIT_NAMES,
    Dataset,
    LabelledImages,
    count_classes,
    named_splits,
    with_validation,
)
from keras_pixelcnnpp.errors import UserError


def load_npz(path: Path, seed: int = 0) -> Dataset:
    """Loads an `.npz` file with the arrays `x_train`, `y_train`, `x_validation`, … `x_test`.

    Pictures are uint8 `(N, height, width)` or `(N, height, width, channels)`, labels integers
    `(N,)` or `(N, 1)`, -1 for unlabeled. `y_test` may be missing. `val` and `valid` do for
    `validation`; without that split, a tenth of the training pictures becomes it. Two more keys may
    be there: `class_names`, strings, and `num_levels`: the pictures then hold levels
    0 … `num_levels - 1` rather than 0 … 255.

    Args:
        path: `pathlib.Path`.
        seed: Integer, chooses the pictures of a validation split that isn't there.

    Returns:
        `Dataset`.

    Raises:
        UserError: If an array is missing, or its shape, type or values are wrong.
    """
    arrays = read_npz(path)
    num_levels = _num_levels(path, arrays)
    splits, num_classes = labelled_splits(path, arrays, num_levels)
    names = _class_names(path, arrays, num_classes)
    splits, notes = with_validation(splits, seed)
    return Dataset(path.stem, names, num_levels, splits, notes)


def labelled_splits(
    place: Path | str, arrays: dict[str, np.ndarray], num_levels: int = 256, prefix: str = ""
) -> tuple[dict[str, LabelledImages], int]:
    """Checks arrays called as in `load_npz`, and makes splits of them.

    Args:
        place: Where they come from, for the messages.
        arrays: From `"x_train"`, `"y_train"`, … to arrays.
        num_levels: Integer from 2 to 256.
        prefix: What the pictures' `paths` begin with.

    Returns:
        Dict of `LabelledImages`, and the number of classes.

    Raises:
        UserError: If an array is missing, or its shape, type or values are wrong.
    """
    there = (name for name in SPLIT_NAMES if f"x_{name}" in arrays)
    splits = {
        split: _split(place, arrays, suffix, num_levels, prefix)
        for split, suffix in named_splits(there, place).items()
    }
    if "train" not in splits:
        found = ", ".join(sorted(filter(str.isprintable, arrays)))
        raise UserError(f"{place} has no array x_train. It has: {found}")
    shapes = {split.images.shape[1:] for split in splits.values()}
    if len(shapes) > 1:
        raise UserError(f"{place}: the splits have pictures of different shapes: {sorted(shapes)}")
    num_classes = count_classes(
        {name: split.labels for name, split in splits.items()},
        lambda name, row: f"{place}, labels of {name}, row {row}",
    )
    return splits, num_classes


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Reads all arrays of an `.npz` file.

    Raises:
        UserError: If it is damaged, holds Python objects, or is a bomb: see `largest_harmless`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            # More than is declared here, zipfile doesn't unpack.
            unpacked = sum(entry.file_size for entry in entries)
            if unpacked > largest_harmless(path):
                raise ValueError(f"{path.stat().st_size} bytes that unpack to {unpacked}: a bomb")
            arrays = {}
            for entry in entries:
                with archive.open(entry) as file:
                    key = entry.filename.removesuffix(".npy")
                    arrays[key] = npy.read_array(file, allow_pickle=False)
            return arrays
    # Anything: a hostile archive fails in the zip, header or array reader.
    except Exception as error:
        message = " ".join(str(error).split())
        raise UserError(f"{path} cannot be read as an .npz file: {message}") from error


def largest_harmless(path: Path) -> int:
    """Returns to how many bytes a file of pictures may unpack: 256 MB, or a hundred times its size.

    Keras has the same limit for archives. Pictures don't shrink to a hundredth, a bomb does.
    """
    return max(256 << 20, 100 * path.stat().st_size)


def _num_levels(path, arrays):
    value = arrays.get("num_levels", np.array(256))
    if value.shape != () or value.dtype.kind not in "ui" or not 2 <= value <= 256:
        raise UserError(f"{path}: num_levels must be an integer from 2 to 256")
    return int(value)


def _split(place, arrays, suffix, num_levels, prefix):
    images = arrays[f"x_{suffix}"]
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype != np.uint8 or images.ndim != 4 or 0 in images.shape:
        raise UserError(
            f"{place}: x_{suffix} must be uint8 (N, height, width, channels), not empty; it is "
            f"{images.dtype} {arrays[f'x_{suffix}'].shape}"
        )
    if images.max() >= num_levels:
        raise UserError(
            f"{place}: x_{suffix} has the value {images.max()}, but only {num_levels} levels"
        )
    labels = _labels(place, arrays, suffix, len(images))
    paths = tuple(f"{prefix}{suffix}/{row:06d}" for row in range(len(images)))
    return LabelledImages(images, labels, paths)


def _labels(place, arrays, suffix, count):
    if suffix == "test" and "y_test" not in arrays:
        return np.full(count, -1, dtype="int32")
    labels = arrays.get(f"y_{suffix}")
    if labels is None:
        raise UserError(f"{place} has x_{suffix} but no y_{suffix} (-1 stands for unlabeled)")
    if labels.shape not in ((count,), (count, 1)) or labels.dtype.kind not in "ui":
        raise UserError(
            f"{place}: y_{suffix} must be integers ({count},); it is {labels.dtype} {labels.shape}"
        )
    # Clipped, or a label such as 2**32 would wrap to a valid one.
    return np.clip(labels.reshape(count), -2, 2**31 - 1).astype("int32")


def _class_names(path, arrays, num_classes):
    if "class_names" not in arrays:
        return tuple(f"Class{index}" for index in range(num_classes))
    names = arrays["class_names"]
    if names.shape != (num_classes,) or names.dtype.kind != "U":
        raise UserError(f"{path}: class_names must be {num_classes} strings")
    if not all(str(name).isprintable() for name in names):
        raise UserError(f"{path}: class_names must be printable")
    if len(set(names)) < num_classes:
        raise UserError(f"{path}: no two of class_names may be equal")
    return tuple(str(name) for name in names)
