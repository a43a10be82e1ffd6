"""Loads data sets in every form of `--data`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_pixelcnnpp.conditions import Maps
from keras_pixelcnnpp.data.arrays import Arrays
from keras_pixelcnnpp.data.built_in import BuiltIn
from keras_pixelcnnpp.data.dataset import (
    Dataset,
    LabeledImages,
    class_notes,
    duplicates_notes,
    first_ten,
    with_missing_splits,
)
from keras_pixelcnnpp.data.folders import Folder
from keras_pixelcnnpp.data.images import resize_images, resized_note
from keras_pixelcnnpp.data.pairs import Pairs
from keras_pixelcnnpp.data.source import DataSource, LoadOptions
from keras_pixelcnnpp.recipes.existing import CLASS_NAMES
from keras_pixelcnnpp.utils.errors import UserError, invalid_argument

# The forms of `--data`; the first one that takes a text loads it.
SOURCES: tuple[type[DataSource], ...] = (BuiltIn, Arrays, Pairs, Folder)


def source_of(text: str | Path) -> DataSource:
    """Returns the source that a value of `--data` names.

    Raises:
        UserError: If no such data exist.
    """
    for kind in SOURCES:
        if kind.takes(str(text)):
            return kind(str(text))
    forms = " or ".join(kind.form for kind in SOURCES if kind.form)
    names = ", ".join(CLASS_NAMES)
    received = f"{text}" if Path(text).exists() else f"{text}, but there is no such file or folder"
    raise UserError(f"Expected an existing {forms}, or one of: {names}. Received: {received}")


def load_dataset(
    source: str | Path,
    *,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    seed: int = 0,
    resize: str = "center_crop",
    skip_corrupted: bool = False,
    white_level: int | None = None,
    as_uint16: bool = False,
    make_splits: bool = True,
    unlabeled_others: bool = False,
    vectors: Sequence[str] = (),
    num_codes: int | None = None,
) -> Dataset:
    """Loads labeled or unlabeled images in splits, all of one shape.

    Args:
        source: One of
            `"digits"`, `"mnist"`, `"fashion_mnist"`, `"cifar10"`: see `BuiltIn`;
            a folder of image files, with CSV files, a folder for each class or neither: see
            `Folder`;
            a folder with the folders `images` and `maps`: see `Pairs`;
            an `.npz` file: see `Arrays`.
        image_size: Integer, or pair `(height, width)`, size to which images are resized. By default
            32 for folders of image files, and the original size for arrays and with `as_uint16`.
        channels: 1 (gray) or 3 (RGB). By default 3 for folders of image files, and the original
            number for arrays.
        seed: Integer, random seed of missing splits. Evaluate with the seed of the training,
            because other seeds give other splits.
        resize: As in `read_image`.
        skip_corrupted: Boolean, whether to skip image files that can't be read.
        white_level: As in `read_image`.
        as_uint16: Boolean, whether to keep 16 bits, for models of more than 256 levels. Image files
            must be 16-bit gray PNG or TIFF files, all of one size unless `image_size` is given, and
            arrays uint16. Only gray images are resized.
        make_splits: Boolean, whether to create missing splits. Data without splits are split into
            80% `train`, 10% `validation` and 10% `test` of each class. If only `validation` is
            missing, it gets 10% of the training images.
        unlabeled_others: Boolean, whether image files of a class that the training split lacks are
            unlabeled, for an unconditional model. By default, they are an error.
        vectors: Sequence of strings, the names of the components of the images' vectors, for a
            model of `Vectors`: columns of the CSV files of a folder, or names for the arrays
            `vectors_train` and so on of an `.npz` file.
        num_codes: Integer, number of codes, if the values of an `.npz` file are codes without an
            order, such as those of a VQ-VAE: integers below `num_codes`. They are not resized.

    Returns:
        `Dataset` with the splits `train`, `validation` and, if available, `test`. With
        `make_splits=False`, it has the existing splits, or `all` for data without splits. Its
        `notes` describe created splits, unlabeled images, resized images, skipped files and
        duplicates.

    Raises:
        UserError: If the source or an argument is invalid. The message names the file and the row,
            or the first ten image files that can't be read.

    Example:

    ```python
    dataset = load_dataset("../data/animals", image_size=32)
    train = dataset.split("train")
    train.images, train.labels          # uint8 (N, 32, 32, 3), int32 (N,)
    ```
    """
    of_files = resize, skip_corrupted, white_level, as_uint16, unlabeled_others, vectors
    how = LoadOptions(image_size, channels, *of_files, num_codes)
    found = source_of(source)
    if num_codes is not None and not found.may_be_codes:
        raise UserError(f"Expected an .npz file with codes. Received: {source}")
    dataset = found.load(how)
    notes, splits = dataset.notes, dataset.splits
    own = dataset.image_shape[:2]
    if how.size is not None:
        notes += resized_note(own, how.size) if resize != "crop" else ()
        own = how.size
    if (*own, channels or dataset.image_shape[2]) != dataset.image_shape:
        if num_codes is not None:
            height, width, own_channels = dataset.image_shape
            raise UserError(
                f"{source}: codes are not resized. Expected {(*own, channels or own_channels)}"
                f". Received: {(height, width, own_channels)}"
            )
        if any(Maps.name in split.given for split in splits.values()):
            expected = "the size and the channels of the images, because their maps are not resized"
            raise invalid_argument("image_size", image_size, expected)
        splits = {
            name: replace(
                split.with_hashes(), images=resize_images(split.images, own, channels, resize)
            )
            for name, split in splits.items()
        }
    if num_codes is None:
        notes = (*notes, *_dark_note(splits, found.has_files, white_level))
    if make_splits:
        try:
            splits, made = with_missing_splits(splits, seed)
        except UserError as error:
            raise UserError(f"{source}: {error}{_few(dataset)}") from error
        notes = (*made, *notes)
    arrays = {name: split.images for name, split in splits.items()}
    notes = (*notes, _values_note("values", arrays), *_notes_of_conditions(dataset, splits))
    dataset = replace(dataset, splits=splits)
    return replace(dataset, notes=(*notes, *class_notes(dataset), *duplicates_notes(dataset)))


def _few(dataset: Dataset) -> str:
    """Returns which classes have fewer than ten images, for an error."""
    of_classes = np.sum([*dataset.counts().values()], axis=0)[:-1]
    pairs = zip(dataset.class_names, of_classes.tolist(), strict=True)
    few = first_ten([f"{name} ({count})" for name, count in pairs if count < 10])
    return f". Classes with fewer than ten images: {few}" if few else ""


def _values_note(what: str, arrays: dict[str, np.ndarray]) -> str:
    """Returns the range of the values of each split, which shows splits on different scales."""
    found = [
        f"{name} {array.min():.9g}, {np.median(array):g}, {array.max():.9g}"
        for name, array in arrays.items()
        if array.size
    ]
    return f"Minimum, median and maximum of the {what}: {'; '.join(found)}."


def _notes_of_conditions(dataset: Dataset, splits: dict[str, LabeledImages]) -> tuple[str, ...]:
    """Returns the ranges of the values of conditions, such as maps, in each split."""
    notes = []
    for part in dataset.conditions:
        found = {name: part.described(part.values_in(split)) for name, split in splits.items()}
        notes += [
            _values_note(what, {name: described[what] for name, described in found.items()})
            for what in next(iter(found.values()))
        ]
    return tuple(notes)


def _dark_note(
    splits: dict[str, LabeledImages], are_files: bool, white_level: int | None
) -> tuple[str, ...]:
    brightest = max(split.images.max(initial=0) for split in splits.values())
    deep = any(split.images.dtype == "uint16" for split in splits.values())
    if deep or brightest > 64:
        return ()
    advice = (
        "If the values are levels, convert them to images with "
        "keras_pixelcnnpp.data.to_images(levels, K), where K is the number of levels. If they are "
        "codes without an order, use ordered_levels=False, or train's --codes."
    )
    if are_files:
        advice = (
            f"A smaller white_level than {white_level} makes them brighter."
            if white_level
            else "For gray image files that use 12 of 16 bits, use white_level=4095, or train's "
            "--white-level 4095."
        )
    return (f"All images are nearly black: the largest value is {brightest} of 255. {advice}",)
