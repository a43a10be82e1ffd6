"""Arrays in an .npz file."""

import math
import zipfile
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

from keras_pixelcnnpp.data.dataset import Dataset, LabelledImages, count_classes, with_validation
from keras_pixelcnnpp.errors import UserError

SPLIT_KEYS = {
    "train": ("train",),
    "validation": ("validation", "valid", "val"),
    "test": ("test",),
}


def load_npz(path, seed=0):
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
    arrays = _read(path)
    num_levels = _num_levels(path, arrays)
    splits = {}
    for split, suffixes in SPLIT_KEYS.items():
        for suffix in suffixes:
            if f"x_{suffix}" in arrays:
                splits[split] = _split(path, arrays, suffix, num_levels)
    if "train" not in splits:
        raise UserError(f"{path} has no array x_train. It has: {', '.join(sorted(arrays))}")
    shapes = {split.images.shape[1:] for split in splits.values()}
    if len(shapes) > 1:
        raise UserError(f"{path}: the splits have pictures of different shapes: {sorted(shapes)}")
    num_classes = count_classes(
        {name: split.labels for name, split in splits.items()},
        lambda name, row: f"{path}, labels of {name}, row {row}",
    )
    names = _class_names(path, arrays, num_classes)
    splits, notes = with_validation(splits, seed)
    return Dataset(path.stem, names, num_levels, splits, notes)


def _read(path):
    try:
        # Opened here: on a damaged archive np.load would leave its file open.
        with path.open("rb") as file:
            refuse_npz_bomb(file)
            with np.load(file, allow_pickle=False) as arrays:
                return {key: np.asarray(arrays[key]) for key in arrays.files}
    # Anything: a damaged or hostile archive fails in the zip, header or array reader.
    except Exception as error:
        message = " ".join(str(error).split())
        raise UserError(f"{path} cannot be read as an .npz file: {message}") from error


def _num_levels(path, arrays):
    value = arrays.get("num_levels", np.array(256))
    if value.shape != () or value.dtype.kind not in "ui" or not 2 <= value <= 256:
        raise UserError(f"{path}: num_levels must be an integer from 2 to 256")
    return int(value)


def _split(path, arrays, suffix, num_levels):
    images = arrays[f"x_{suffix}"]
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype != np.uint8 or images.ndim != 4 or 0 in images.shape:
        raise UserError(
            f"{path}: x_{suffix} must be uint8 (N, height, width, channels), not empty; it is "
            f"{images.dtype} {arrays[f'x_{suffix}'].shape}"
        )
    if images.max() >= num_levels:
        raise UserError(
            f"{path}: x_{suffix} has the value {images.max()}, but only {num_levels} levels"
        )
    labels = _labels(path, arrays, suffix, len(images))
    paths = tuple(f"{suffix}/{row:06d}" for row in range(len(images)))
    return LabelledImages(images, labels, paths)


def _labels(path, arrays, suffix, count):
    if suffix == "test" and "y_test" not in arrays:
        return np.full(count, -1, dtype="int32")
    labels = arrays.get(f"y_{suffix}")
    if labels is None:
        raise UserError(f"{path} has x_{suffix} but no y_{suffix} (-1 stands for unlabeled)")
    if labels.shape not in ((count,), (count, 1)) or labels.dtype.kind not in "ui":
        raise UserError(
            f"{path}: y_{suffix} must be integers ({count},); it is {labels.dtype} {labels.shape}"
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
    return tuple(str(name) for name in names)


# Keras's own limits for archives: pictures don't shrink to a hundredth, a bomb does.
_MAX_EXPANSION = 100


_HARMLESS_BYTES = 256 << 20


def refuse_npz_bomb(file: BinaryIO) -> None:
    """Raises a `ValueError` before NumPy allocates what a hostile `.npz` asks for.

    Refused are arrays whose header promises other than what the archive has, and archives that
    unpack to more than 256 MB and a hundred times their size.

    Args:
        file: An open `.npz` file. Its position is put back to the start.
    """
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        packed = sum(entry.compress_size for entry in entries)
        unpacked = sum(entry.file_size for entry in entries)
        if unpacked > max(_HARMLESS_BYTES, _MAX_EXPANSION * packed):
            raise ValueError(f"{packed} bytes that unpack to {unpacked} are a bomb")
        for entry in entries:
            with archive.open(entry) as stored:
                _check_header(stored, entry)
    file.seek(0)


def _check_header(stored: BinaryIO, entry: zipfile.ZipInfo) -> None:
    version = npy.read_magic(stored)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(stored)
    promised = math.prod(shape) * dtype.itemsize
    # Pickled objects have no size of their own; `np.load` refuses them.
    if not dtype.hasobject and stored.tell() + promised != entry.file_size:
        raise ValueError(f"{entry.filename} promises {promised} bytes and has {entry.file_size}")
