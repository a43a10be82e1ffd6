"""One function for every form of `--data`: images of one size and kind."""

from dataclasses import replace
from pathlib import Path

from keras_pixelcnnpp.checks import plain, require_choice
from keras_pixelcnnpp.data.built_in import CLASS_NAMES, load_built_in
from keras_pixelcnnpp.data.dataset import Dataset
from keras_pixelcnnpp.data.folders import load_folder
from keras_pixelcnnpp.data.images import RESIZES, resize_images
from keras_pixelcnnpp.data.npz import load_npz
from keras_pixelcnnpp.errors import UserError, argument_errors

DEFAULT_IMAGE_SIZE = 32


def load_dataset(
    source: str | Path,
    *,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    seed: int = 0,
    resize: str = "center_crop",
    skip_corrupted: bool = False,
) -> Dataset:
    """Loads labeled images, in splits, all of one shape.

    Args:
        source: One of
            `"digits"`, `"mnist"`, `"fashion_mnist"`, `"cifar10"`: see `load_built_in`;
            a folder of image files, with CSV files or a folder for each class: see `load_folder`;
            an `.npz` file: see `load_npz`.
        image_size: Integer, or pair `(height, width)`, to resize to. By default 32 for folders of
            image files, and the arrays' own size for the others.
        channels: 1 (gray) or 3 (RGB). By default 3 for folders of image files, the arrays' own
            for the others.
        seed: Integer, chooses the images of a split that isn't there. Loading with another seed
            gives other splits: evaluate with the seed you trained with.
        resize: What to do with images of another aspect ratio than `image_size`: `"center_crop"`
            cuts off as much on either side, `"stretch"` doesn't keep the aspect ratio.
        skip_corrupted: Whether to go on without the image files that can't be read.

    Returns:
        `Dataset` with the splits `train` and `validation`, and `test` where there is one. Its
        `notes` say how a missing split was made, what became of images of another aspect ratio,
        and which files were skipped.

    Raises:
        UserError: If the source or an argument is bad: one line that names the file and the row.
            Of image files that can't be read it names the first ten.

    Example:

    ```python
    dataset = load_dataset("../data/animals", image_size=32)
    train = dataset.split("train")
    train.images, train.labels          # uint8 (N, 32, 32, 3), int32 (N,)
    ```
    """
    size = plain(image_size)
    size = size if size is None or isinstance(size, tuple) else (size, size)
    height, width = _checked_size(size or (DEFAULT_IMAGE_SIZE, DEFAULT_IMAGE_SIZE))
    if channels not in (None, 1, 3):
        raise UserError(
            "Invalid value for argument `channels`. Expected 1 (gray) or 3 (RGB). "
            f"Received: channels={channels!r}"
        )
    with argument_errors():
        require_choice("resize", resize, RESIZES)
    path = Path(source)
    if source in CLASS_NAMES:
        dataset = load_built_in(source, seed)
    elif path.is_dir():
        shape = (height, width, channels or 3)
        dataset = load_folder(path, shape, resize, skip_corrupted, seed)
    elif path.is_file() and path.suffix == ".npz":
        dataset = load_npz(path, seed)
    else:
        raise UserError(
            f"No such folder or .npz file: {path} (built in are: {', '.join(CLASS_NAMES)})"
        )
    return _conform(dataset, size, channels, resize)


def _checked_size(size):
    if len(size) != 2 or not all(type(side) is int and side > 0 for side in size):
        raise UserError(
            "Invalid value for argument `image_size`. Expected a positive integer, or two. "
            f"Received: image_size={size}"
        )
    return size


def _conform(dataset, image_size, channels, resize):
    """Returns `dataset` with the size and channels asked for."""
    height, width, own_channels = dataset.image_shape
    shape = (*(image_size or (height, width)), channels or own_channels)
    if shape == dataset.image_shape:
        return dataset
    if own_channels not in (1, 3):
        raise UserError(f"Images with {own_channels} channels cannot be resized or converted")

    def convert(split):
        return replace(split, images=resize_images(split.images, shape[:2], shape[2], resize))

    splits = {name: convert(split) for name, split in dataset.splits.items()}
    return replace(dataset, splits=splits)
