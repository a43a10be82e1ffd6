"""Images and labels as arrays in an .npz file, which may come from anybody."""

import zipfile
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from keras_pixelcnnpp.checks import check_class_names
from keras_pixelcnnpp.data.dataset import (
    SPLIT_NAMES,
    Dataset,
    LabeledImages,
    count_classes,
    named_splits,
    with_validation,
)
from keras_pixelcnnpp.errors import UserError


def load_npz(path: Path, seed: int = 0) -> Dataset:
    """Loads an `.npz` file with the arrays `x_train`, `y_train`, `x_validation`, … `x_test`.

    Images are uint8 `(N, height, width)` or `(N, height, width, channels)`, labels integers
    `(N,)` or `(N, 1)`, -1 for unlabeled. `y_test` may be missing. `val` and `valid` do for
    `validation`; without that split, a tenth of the training images becomes it. `class_names`,
    strings, may be there too.

    Args:
        path: `pathlib.Path`.
        seed: Integer, chooses the images of a validation split that isn't there.

    Returns:
        `Dataset`.

    Raises:
        UserError: If the file is damaged, holds Python objects, unpacks to far more than images
            do, or an array is missing or of the wrong shape, type or values.
    """
    # Keras has the same limit for archives. Images don't shrink to a hundredth, a bomb does.
    limit = max(256 << 20, 100 * path.stat().st_size)
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            # More than is declared here, zipfile doesn't unpack.
            unpacked = sum(entry.file_size for entry in archive.infolist())
            if unpacked > limit:
                raise ValueError(f"{path.stat().st_size} bytes that unpack to {unpacked}: a bomb")
            for name in archive.namelist():
                with archive.open(name) as file:
                    arrays[name.removesuffix(".npy")] = npy.read_array(file, allow_pickle=False)
        return dataset_of_arrays(path.stem, arrays, seed)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    # Anything: a hostile archive fails in the zip, header or array reader.
    except Exception as error:
        message = " ".join(str(error).split())
        raise UserError(f"{path} cannot be read as an .npz file: {message}") from error


def dataset_of_arrays(name: str, arrays: dict[str, np.ndarray], seed: int = 0) -> Dataset:
    """Makes a `Dataset` of arrays that are called as in `load_npz`."""
    there = (name for name in SPLIT_NAMES if f"x_{name}" in arrays)
    splits = {split: _split(arrays, suffix) for split, suffix in named_splits(there).items()}
    if "train" not in splits:
        found = ", ".join(sorted(filter(str.isprintable, arrays)))
        raise UserError(f"There is no array x_train. There is: {found}")
    shapes = {split.images.shape[1:] for split in splits.values()}
    if len(shapes) > 1:
        raise UserError(f"The splits have images of different shapes: {sorted(shapes)}")
    num_classes = count_classes(
        {name: split.labels for name, split in splits.items()},
        lambda name, row: f"labels of {name}, row {row}",
    )
    names = arrays.get("class_names")
    if names is None:
        names = np.array([f"Class{index}" for index in range(num_classes)], dtype="U")
    if names.shape != (num_classes,) or names.dtype.kind != "U":
        raise UserError(f"class_names must be {num_classes} strings")
    check_class_names(names)
    splits, notes = with_validation(splits, seed)
    return Dataset(name, tuple(map(str, names)), splits, notes)


def _split(arrays, suffix):
    images = arrays[f"x_{suffix}"]
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype != np.uint8 or images.ndim != 4 or 0 in images.shape:
        raise UserError(
            f"x_{suffix} must be uint8 (N, height, width, channels), not empty; it is "
            f"{images.dtype} {arrays[f'x_{suffix}'].shape}"
        )
    count = len(images)
    labels = arrays.get(f"y_{suffix}")
    if labels is None and suffix == "test":
        labels = np.full(count, -1)
    if labels is None:
        raise UserError(f"There is x_{suffix} but no y_{suffix} (-1 stands for unlabeled)")
    if labels.shape not in ((count,), (count, 1)) or labels.dtype.kind not in "ui":
        raise UserError(
            f"y_{suffix} must be integers ({count},); it is {labels.dtype} {labels.shape}"
        )
    # Clipped, or a label such as 2**32 would wrap to a valid one.
    labels = np.clip(labels.reshape(count), -2, 2**31 - 1).astype("int32")
    return LabeledImages(images, labels, tuple(f"{suffix}/{row:06d}" for row in range(count)))
