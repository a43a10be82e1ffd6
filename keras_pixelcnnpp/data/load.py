"""One function for every form of `--data`."""

from dataclasses import replace
from pathlib import Path

from keras_pixelcnnpp.data.built_in import load_cifar10, load_digits
from keras_pixelcnnpp.data.folders import is_course_folder, load_class_folders, load_course_folder
from keras_pixelcnnpp.data.images import resize_images, to_levels, to_pixels
from keras_pixelcnnpp.data.npz import load_npz
from keras_pixelcnnpp.errors import UserError

DEFAULT_IMAGE_SIZE = 32


def load_dataset(source, *, image_size=None, channels=None, num_levels=None, seed=0, splits=None):
    """Loads labelled pictures, in splits, all of one shape.

    Args:
        source: One of
            `"digits"`: scikit-learn's, 8×8×1, 17 levels, split once and for all;
            `"cifar10"`: downloaded by Keras, 32×32×3;
            a folder with `train.csv`, `validation.csv`, `test.csv`: see `load_course_folder`;
            a folder of class folders, with or without split folders: see `load_class_folders`;
            an `.npz` file: see `load_npz`.
        image_size: Integer, or pair `(height, width)`, to resize to. By default 32 for folders, and
            the arrays' own size for the others.
        channels: 1 (grey) or 3 (RGB). By default 3 for folders, the arrays' own for the others.
        num_levels: Integer from 2 to 256, number of values of a sub-pixel. By default the
            source's own.
        seed: Integer, chooses the pictures of a split that isn't there. `digits` doesn't depend
            on it. Loading with another seed gives other splits: evaluate with the seed you trained
            with.
        splits: Names of the splits that are wanted, such as `("train",)`; by default all. Of a
            folder, the picture files of the others are not read.

    Returns:
        `Dataset` with the splits `train` and `validation`, and `test` where there is one; or with
        those of `splits`.

    Raises:
        UserError: If the source or an argument is bad: one line that names the file and the row.

    Example:

    ```python
    dataset = load_dataset("../data/animals", image_size=32)
    train = dataset.split("train")
    train.images, train.labels          # uint8 (N, 32, 32, 3), int32 (N,)
    ```
    """
    size = _checked_size(image_size)
    _check_channels(channels)
    _check_num_levels(num_levels)
    dataset = _load(str(source), size, channels, seed, splits)
    if splits is not None:
        dataset = replace(dataset, splits={name: dataset.split(name) for name in splits})
    return _conform(dataset, size, channels, num_levels)


def _load(source, image_size, channels, seed, splits):
    if source == "digits":
        return load_digits()
    if source == "cifar10":
        return load_cifar10(seed)
    path = Path(source)
    if path.is_file() and path.suffix == ".npz":
        return load_npz(path, seed)
    if not path.is_dir():
        raise UserError(f"No such folder or .npz file: {path} (built in are: digits, cifar10)")
    image_shape = (*(image_size or (DEFAULT_IMAGE_SIZE,) * 2), channels or 3)
    load = load_course_folder if is_course_folder(path) else load_class_folders
    return load(path, image_shape, seed, splits)


def _conform(dataset, image_size, channels, num_levels):
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
        pixels = resize_images(pixels, shape[:2], shape[2])
        return replace(split, images=to_levels(pixels, num_levels))

    splits = {name: convert(split) for name, split in dataset.splits.items()}
    return replace(dataset, splits=splits, num_levels=num_levels)


def _checked_size(image_size):
    if image_size is None:
        return None
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(size) != 2 or not all(_is_integer(side) and side > 0 for side in size):
        raise UserError(
            "Invalid value for argument `image_size`. Expected a positive integer, or two. "
            f"Received: image_size={image_size!r}"
        )
    return size


def _check_channels(channels):
    if channels not in (None, 1, 3):
        raise UserError(
            "Invalid value for argument `channels`. Expected 1 (grey) or 3 (RGB). "
            f"Received: channels={channels!r}"
        )


def _check_num_levels(num_levels):
    if num_levels is not None and not (_is_integer(num_levels) and 2 <= num_levels <= 256):
        raise UserError(
            "Invalid value for argument `num_levels`. Expected an integer from 2 to 256. "
            f"Received: num_levels={num_levels!r}"
        )


def _is_integer(value):
    return isinstance(value, int) and not isinstance(value, bool)
