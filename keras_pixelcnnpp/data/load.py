"""One function for every form of `--data`: pictures of one size, kind and number of levels."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from keras_pixelcnnpp.checks import plain, require_choice, require_integer
from keras_pixelcnnpp.data.built_in import (
    CLASS_NAMES,
    is_idx_folder,
    load_built_in,
    load_idx_folder,
)
from keras_pixelcnnpp.data.dataset import Dataset
from keras_pixelcnnpp.data.folders import (
    PictureReader,
    is_course_folder,
    load_class_folders,
    load_course_folder,
)
from keras_pixelcnnpp.data.images import RESIZES, resize_images, to_levels, to_pixels
from keras_pixelcnnpp.data.npz import load_npz
from keras_pixelcnnpp.errors import UserError, argument_errors

DEFAULT_IMAGE_SIZE = 32

# Fewer pictures to measure on than these, and what is measured says little.
FEW_PICTURES = 50
FEW_PER_CLASS = 5


def load_dataset(
    source: str | Path,
    *,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    num_levels: int | None = None,
    seed: int = 0,
    resize: str = "crop",
    skip_bad_files: bool = False,
    splits: Collection[str] | None = None,
) -> Dataset:
    """Loads labelled pictures, in splits, all of one shape.

    Args:
        source: One of
            `"digits"`, `"mnist"`, `"fashion_mnist"`, `"cifar10"`: see `load_built_in`;
            a folder with `train.csv`, `validation.csv`, `test.csv`: see `load_course_folder`;
            a folder of class folders, with or without split folders: see `load_class_folders`;
            a folder with MNIST's idx files: see `load_idx_folder`;
            an `.npz` file: see `load_npz`.
        image_size: Integer, or pair `(height, width)`, to resize to. By default 32 for folders of
            picture files, and the arrays' own size for the others.
        channels: 1 (grey) or 3 (RGB). By default 3 for folders of picture files, the arrays' own
            for the others.
        num_levels: Integer from 2 to 256, number of values of a sub-pixel. By default the
            source's own.
        seed: Integer, chooses the pictures of a split that isn't there. `digits` and MNIST's files
            don't depend on it. Loading with another seed gives other splits: evaluate with the
            seed you trained with.
        resize: What to do with pictures of another aspect ratio than `image_size`: `"crop"` cuts
            off as much on either side, `"squeeze"` doesn't keep the aspect ratio.
        skip_bad_files: Whether to go on without the picture files that can't be read.
        splits: Names of the splits to load, `None` for all. Picture files of others aren't read.

    Returns:
        `Dataset` with the splits `train` and `validation`, and `test` where there is one. Its
        `notes` say how a missing split was made, what became of pictures of another aspect ratio,
        which files were skipped, and whether `validation` is too small to rely on.

    Raises:
        UserError: If the source or an argument is bad: one line that names the file and the row.
            Of picture files that can't be read it names the first ten.

    Example:

    ```python
    dataset = load_dataset("../data/animals", image_size=32)
    train = dataset.split("train")
    train.images, train.labels          # uint8 (N, 32, 32, 3), int32 (N,)
    ```
    """
    size = _checked_size(image_size)
    if channels not in (None, 1, 3):
        raise UserError(
            "Invalid value for argument `channels`. Expected 1 (grey) or 3 (RGB). "
            f"Received: channels={channels!r}"
        )
    with argument_errors():
        require_choice("resize", resize, RESIZES)
        if num_levels is not None:
            require_integer("num_levels", num_levels, low=2, high=256)
    shape = (*(size or (DEFAULT_IMAGE_SIZE,) * 2), channels or 3)
    reader = PictureReader(shape, resize, skip_bad_files, splits)
    dataset = _load(str(source), reader, seed)
    if splits is not None:
        dataset = replace(dataset, splits={name: dataset.split(name) for name in splits})
    dataset = _conform(dataset, size, channels, num_levels, resize)
    return replace(dataset, notes=(*dataset.notes, *_small_validation(dataset)))


def _load(source, reader, seed):
    if source in CLASS_NAMES:
        return load_built_in(source, seed)
    path = Path(source)
    if path.is_file() and path.suffix == ".npz":
        return load_npz(path, seed)
    if not path.is_dir():
        raise UserError(
            f"No such folder or .npz file: {path} (built in are: {', '.join(CLASS_NAMES)})"
        )
    if is_idx_folder(path):
        return load_idx_folder(path)
    load = load_course_folder if is_course_folder(path) else load_class_folders
    return load(path, reader, seed)


def _conform(dataset, image_size, channels, num_levels, resize):
    """Returns `dataset` with the size, channels and levels asked for."""
    height, width, own_channels = dataset.image_shape
    shape = (*(image_size or (height, width)), channels or own_channels)
    num_levels = num_levels or dataset.num_levels
    if (shape, num_levels) == (dataset.image_shape, dataset.num_levels):
        return dataset
    if shape != dataset.image_shape and own_channels not in (1, 3):
        raise UserError(f"Pictures with {own_channels} channels cannot be resized or converted")

    def convert(split):
        pixels = to_pixels(split.images, dataset.num_levels)
        pixels = resize_images(pixels, shape[:2], shape[2], resize)
        return replace(split, images=to_levels(pixels, num_levels))

    splits = {name: convert(split) for name, split in dataset.splits.items()}
    return replace(dataset, splits=splits, num_levels=num_levels)


def _small_validation(dataset):
    """Returns a note, or none where the split is large enough."""
    if "validation" not in dataset.splits:
        return ()
    *by_class, _ = dataset.counts()["validation"]
    total = len(dataset.split("validation"))
    least = min(by_class, default=total)
    if total >= FEW_PICTURES and least >= FEW_PER_CLASS:
        return ()
    return (f"The split validation is small: {total} pictures, as few as {least} of a class.",)


def _checked_size(image_size):
    if image_size is None:
        return None
    size = plain(image_size)
    size = (size, size) if isinstance(size, int) else tuple(size)
    if len(size) != 2:
        raise UserError(
            "Invalid value for argument `image_size`. Expected a positive integer, or two. "
            f"Received: image_size={image_size!r}"
        )
    with argument_errors():
        for side in size:
            require_integer("image_size", side)
    return size
