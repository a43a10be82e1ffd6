"""One function for every form of `--data`, and the forms that are no folder: names and arrays."""

import zipfile
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
from numpy.lib import format as npy

from keras_pixelcnnpp.checks import checked_class_names, plain, require_choice, require_integer
from keras_pixelcnnpp.data.dataset import (
    SPLIT_NAMES,
    VALIDATION_SHARE,
    Dataset,
    LabeledImages,
    count_classes,
    named_splits,
    with_validation,
)
from keras_pixelcnnpp.data.folders import load_folder
from keras_pixelcnnpp.data.images import RESIZES, resize_images
from keras_pixelcnnpp.distributions.levels import to_images
from keras_pixelcnnpp.errors import UserError, invalid_argument, one_line

CLASS_NAMES = {
    "digits": tuple("0123456789"),
    "mnist": tuple("0123456789"),
    "fashion_mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    "cifar10": (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ),
}


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
    size = 32 if image_size is None else plain(image_size)
    size = size if isinstance(size, tuple) else (size, size)
    for side in size:
        require_integer("image_size", side)
    if len(size) != 2:
        raise invalid_argument("image_size", image_size, "one size, or height and width")
    require_choice("channels", channels, (None, 1, 3))
    require_choice("resize", resize, RESIZES)
    path = Path(source)
    if str(source) in CLASS_NAMES:
        dataset = load_built_in(str(source), seed)
    elif path.is_dir():
        dataset = load_folder(path, (*size, channels or 3), resize, skip_corrupted, seed)
    elif path.is_file() and path.suffix == ".npz":
        dataset = load_npz(path, seed)
    else:
        raise UserError(
            f"No such folder or .npz file: {path} (built in are: {', '.join(CLASS_NAMES)})"
        )

    def converted(split):
        own = split.images.shape[1:3] if image_size is None else size
        return replace(split, images=resize_images(split.images, own, channels, resize))

    splits = {name: converted(split) for name, split in dataset.splits.items()}
    return replace(dataset, splits=splits)


def load_built_in(name: str, seed: int = 0) -> Dataset:
    """Loads a data set by its name.

    | name | images | splits |
    |---|---|---|
    | `"digits"` | 1797, 8×8×1 | a third of each class is `test`, a tenth of the rest `validation` |
    | `"mnist"` | 70,000, 28×28×1 | the last 2,000 to train on are `validation` |
    | `"fashion_mnist"` | 70,000, 28×28×1 | the last 2,000 to train on are `validation` |
    | `"cifar10"` | 60,000, 32×32×3 | a tenth of those to train on becomes `validation` |

    The digits are scikit-learn's. Their 17 levels of gray are spread over 0 to 255: a model with
    `num_levels=17` has them back exactly. The others come from `keras.datasets`, which downloads
    them once.

    Args:
        name: One of `CLASS_NAMES`.
        seed: Integer, chooses the validation images of `cifar10`. The others' are fixed.

    Returns:
        `Dataset` of ten classes, with the splits `train`, `validation` and `test`.

    Raises:
        UserError: If the data can't be downloaded.

    References:
        - Alpaydin and Kaynak 1998, https://archive.ics.uci.edu/dataset/80
        - LeCun et al. 1998, https://doi.org/10.1109/5.726791
        - Xiao et al. 2017, https://arxiv.org/abs/1708.07747
        - Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html
    """
    if name == "digits":
        return _load_digits()
    try:
        (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    # Anything: the network, the disk, the archive.
    except Exception as error:
        raise UserError(
            f"{name} cannot be downloaded: {one_line(error)}. Without a network, give "
            "an .npz file with the arrays x_train, y_train, x_test and y_test as the data"
            + (f", and train with --preset {name}" if name != "cifar10" else "")
        ) from error
    arrays = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
    if name != "cifar10":
        held_out = len(x_train) // 30
        arrays["x_validation"], arrays["y_validation"] = x_train[-held_out:], y_train[-held_out:]
        arrays["x_train"], arrays["y_train"] = x_train[:-held_out], y_train[:-held_out]
    return _dataset_of_arrays(name, {**arrays, "class_names": np.array(CLASS_NAMES[name])}, seed)


def _load_digits():
    from sklearn import datasets  # takes a second to import

    bunch = datasets.load_digits()
    everything = LabeledImages(
        to_images(bunch.images[..., None], 17),
        bunch.target.astype("int32"),
        tuple(f"digits/{row:06d}" for row in range(len(bunch.target))),
    )
    rest, test = everything.hold_out(1 / 3, seed=0)
    train, validation = rest.hold_out(VALIDATION_SHARE, seed=0)
    splits = {"train": train, "validation": validation, "test": test}
    return Dataset("digits", CLASS_NAMES["digits"], splits)


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
        return _dataset_of_arrays(path.stem, arrays, seed)
    except UserError as error:
        raise UserError(f"{path}: {one_line(error)}") from error
    # Anything: a hostile archive fails in the zip, header or array reader.
    except Exception as error:
        raise UserError(f"{path} cannot be read as an .npz file: {one_line(error)}") from error


def _dataset_of_arrays(name: str, arrays: dict[str, np.ndarray], seed: int = 0) -> Dataset:
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
    class_names = checked_class_names(arrays.get("class_names"), num_classes)
    splits, notes = with_validation(splits, seed)
    return Dataset(name, class_names, splits, notes)


def _split(arrays, suffix):
    images = arrays[f"x_{suffix}"]
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype != np.uint8 or images.ndim != 4 or 0 in images.shape:
        raise UserError(
            f"x_{suffix} must be uint8 (N, height, width) or (N, height, width, channels), and not "
            f"empty. Received: {images.dtype} {arrays[f'x_{suffix}'].shape}"
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
