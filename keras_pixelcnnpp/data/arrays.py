"""Loads `.npz` files of images."""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_pixelcnnpp.conditions import KINDS, Part, Vectors
from keras_pixelcnnpp.data.dataset import (
    SPLIT_NAMES,
    Dataset,
    LabeledImages,
    count_classes,
    named_splits,
)
from keras_pixelcnnpp.data.source import DataSource, LoadOptions
from keras_pixelcnnpp.utils.checks import (
    checked_class_names,
    checked_codes,
    conversion,
    reading_of,
    require_finite,
)
from keras_pixelcnnpp.utils.errors import UserError, one_line
from keras_pixelcnnpp.utils.files import read_arrays


class Arrays(DataSource):
    """An `.npz` file with the arrays `x_train`, `y_train`, `x_validation`, … `x_test`.

    Images are uint8 `(N, height, width)` or `(N, height, width, channels)`. Labels are integers
    `(N,)` or `(N, 1)`, -1 for unlabeled images. A split without labels is unlabeled. `val` and
    `valid` are also names of `validation`. For data without splits, the arrays are `images` and
    `labels`. `class_names` is an optional array of strings.

    For a model of `Vectors`, images have vectors: numbers `(N, size)` or `(N,)` in `vectors_train`
    and so on, or `vectors`. The argument `vectors` of `load_dataset` names their components, by
    default `h0`, `h1` and so on. For a model of `Maps`, they have maps: numbers `(N, height,
    width)` or `(N, height, width, channels)` in `maps_train` and so on, or `maps`. Images with
    several of labels, vectors, and maps are for a model of several conditions.

    With `as_uint16` of `load_dataset`, the images are uint16 instead of uint8. With `num_codes`,
    they are codes without an order, integers below `num_codes`, and so are maps of integers.

    Raises:
        UserError: If the file is damaged, contains Python objects, unpacks to much more than its
            size, or an array is missing or has a wrong shape, dtype or value.
    """

    form = ".npz file"
    may_be_codes = True

    @classmethod
    def takes(cls, text: str) -> bool:
        return Path(text).suffix == ".npz" and Path(text).is_file()

    def load(self, how: LoadOptions) -> Dataset:
        dtype = "uint16" if how.as_uint16 else "uint8"
        try:
            with self.path.open("rb") as file:
                stored, of_codes = read_arrays(file), how.num_codes
                return dataset_of_arrays(self.name, stored, dtype, how.vectors, of_codes)
        except UserError as error:
            raise UserError(f"{self.path}: {one_line(error)}") from error
        # Any exception: a malicious archive fails in the reader for zip, headers or arrays.
        except Exception as error:
            message = f"{self.path} cannot be read as an .npz file: {one_line(error)}"
            raise UserError(message) from error


def dataset_of_arrays(
    name: str,
    stored: Mapping[str, np.ndarray],
    dtype: str = "uint8",
    vectors: Sequence[str] = (),
    num_codes: int | None = None,
) -> Dataset:
    """Creates a `Dataset` from arrays with the names of `Arrays`. Others are named in a note."""
    there = named_splits(name for name in SPLIT_NAMES if f"x_{name}" in stored)
    kinds = [part.kind for part in _in_data()]
    names: dict[str, list[str]] = {
        split: [f"{kind}_{name}" for kind in ("x", "y", *kinds)] for split, name in there.items()
    }
    if "images" in stored and not names:
        names = {"all": ["images", "labels", *kinds]}
    used = {"class_names", *itertools.chain(*names.values())}
    unused = sorted(filter(str.isprintable, stored.keys() - used))
    if not names:
        raise UserError(f"Expected an array x_train, or images. Received: {', '.join(unused)}")
    arrays = {name: stored[name] for name in stored if name in used}
    how: Any = {"dtype": dtype, "num_codes": num_codes}
    splits = {split: _split(arrays, split, *own, **how) for split, own in names.items()}
    shapes = {split.images.shape[1:] for split in splits.values()}
    if len(shapes) > 1:
        raise UserError(f"The splits have images of different shapes: {sorted(shapes)}")
    num_classes = count_classes(
        {name: split.labels for name, split in splits.items()},
        lambda name, row: f"labels of {name}, row {row}",
    )
    class_names = arrays.get("class_names")
    if class_names is not None and not {"train", "all"} & splits.keys():
        num_classes = max(num_classes, class_names.size)  # some may have no image
    notes = sorted({reading_of(arrays[images].shape) for images, *_ in names.values()} - {""})
    notes += _channels_note(*shapes)
    if unused:
        notes.append(f"Arrays that are not used: {', '.join(unused)}.")
    class_names = checked_class_names(class_names, num_classes)
    of_kinds = zip(_in_data(), zip(*(own[2:] for own in names.values()), strict=True), strict=True)
    shapes = {part.name: _common_shape(part.name, splits, given) for part, given in of_kinds}
    size = shapes[Vectors.name][-1]
    if not size and vectors:
        raise UserError(
            f"Expected an array {Vectors.kind}_… for {', '.join(vectors)}. Received: none"
        )
    vector_names = vectors or tuple(f"h{index}" for index in range(size))
    vector_names = checked_class_names(vector_names, size, "vectors")
    return Dataset(name, class_names, splits, (*notes,), vector_names, num_codes)


def _channels_note(shape: tuple[int, int, int]) -> list[str]:
    """Returns a message for images whose channels may be the first axis."""
    height, width, channels = shape
    if height > 4 or min(width, channels) <= 4:
        return []
    note = (
        f"The images are {height} pixels high and have {channels} channels. If their channels are "
        "the first axis, move them to the last: np.moveaxis(images, 1, -1)."
    )
    return [note]


def _in_data() -> list[type[Part]]:
    """Returns the parts of conditions, beside labels, of which files can have values."""
    return sorted((part for part in KINDS.values() if part.in_data), key=lambda part: part.name)


def _common_shape(
    part: str, splits: dict[str, LabeledImages], names: Sequence[str]
) -> tuple[int, ...]:
    """Returns the shape of a value of a part in all splits, `(0,)` if none has any.

    `names` are those of the arrays of the splits.
    """
    of_splits = zip(names, splits.values(), strict=True)
    values = {name: split.given.get(part) for name, split in of_splits}
    shapes = {name: (0,) if one is None else one.shape[1:] for name, one in values.items()}
    shape = max(shapes.values(), key=math.prod)
    for name, found in shapes.items():
        if found != shape:
            raise UserError(
                f"Expected {name} with {'×'.join(map(str, shape))} numbers for each image, as in "
                f"other splits. Received: {'×'.join(map(str, found)) if any(found) else 'none'}"
            )
    return shape


def _split(
    arrays: dict[str, np.ndarray],
    split: str,
    images_of: str,
    labels_of: str,
    *others: str,
    dtype: str,
    num_codes: int | None,
) -> LabeledImages:
    given = images = arrays[images_of]
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or 0 in images.shape or images.dtype.kind not in "uif":
        raise UserError(
            f"{images_of} must be {dtype} (N, height, width) or (N, height, width, channels), "
            f"and not empty. Received: {given.dtype} {given.shape}"
        )
    # Of images with channels last, no width equals the number of channels.
    if images.shape[1] in (1, 3) and images.shape[2] == images.shape[3] > 4:
        raise UserError(
            f"{images_of} must be {dtype} (N, height, width, channels). Received: {given.shape}, "
            f"whose channels are first. Move them: np.moveaxis({images_of}, 1, -1)"
        )
    require_finite(images, images_of)
    if num_codes is not None:
        images = checked_codes(images, num_codes, images_of)
    elif images.dtype != dtype:
        deep = " as_uint16=True, or train's --num-levels from 257 on, loads them with their values."
        advice = f".{deep * (images.dtype == 'uint16')} {conversion(name=images_of)}"
        raise UserError(
            f"{images_of} must be {dtype}. Received: {given.dtype}, values from "
            f"{images.min()} to {images.max()}{advice * (dtype == 'uint8')}"
        )
    count = len(images)
    labels = arrays.get(labels_of, np.full(count, -1))
    if labels.shape not in ((count,), (count, 1)) or labels.dtype.kind not in "ui":
        raise UserError(
            f"{labels_of} must be integers ({count},). Received: {labels.dtype} {labels.shape}"
        )
    # Clipped, because a label such as 2**32 would wrap to a valid one.
    labels = np.clip(labels.reshape(count), -2, 2**31 - 1).astype("int32")
    given = {
        part.name: part.checked_array(arrays[name], count, name, num_codes)
        for part, name in zip(_in_data(), others, strict=True)
        if name in arrays
    }
    paths = tuple(f"{split}/{row:06d}" for row in range(count))
    return LabeledImages(images, labels, paths, given=given)
