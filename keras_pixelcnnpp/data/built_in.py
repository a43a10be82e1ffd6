"""Data sets known by name, and folders of MNIST's idx files."""

import gzip
import os
from pathlib import Path

import numpy as np

from keras_pixelcnnpp.data.dataset import (
    VALIDATION_SHARE,
    Dataset,
    LabelledImages,
    with_validation,
)
from keras_pixelcnnpp.data.npz import labelled_splits, largest_harmless, read_npz
from keras_pixelcnnpp.errors import UserError

DIGITS = tuple("0123456789")
CLASS_NAMES = {
    "digits": DIGITS,
    "mnist": DIGITS,
    "fashion_mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    "cifar10": (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ),
}

# As MNIST was published, by the names that Keras has for the arrays.
IDX_FILES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}

# Where Debian's packages of data put them.
SYSTEM_FOLDER = Path("/usr/share/datasets")

_IDX_HINT = (
    f"or give a folder with {IDX_FILES['x_train']}.gz and the three files beside it as the data"
)
_HINTS = {
    "mnist": f", {_IDX_HINT}",
    "fashion_mnist": f", install Debian's package dataset-fashion-mnist, {_IDX_HINT}",
}


def load_built_in(name: str, seed: int = 0) -> Dataset:
    """Loads a data set by its name.

    | name | pictures | splits |
    |---|---|---|
    | `"digits"` | 1797, 8×8×1, 17 levels | see `load_digits` |
    | `"mnist"` | 70,000, 28×28×1 | see `load_idx_folder` |
    | `"fashion_mnist"` | 70,000, 28×28×1 | see `load_idx_folder` |
    | `"cifar10"` | 60,000, 32×32×3 | a tenth of the 50,000 to train on becomes `validation` |

    All but the digits are looked for in Keras's cache (`~/.keras/datasets`: `mnist.npz`,
    `fashion-mnist/*.gz`), then where Debian's packages put them; otherwise Keras downloads them.

    Args:
        name: One of `CLASS_NAMES`.
        seed: Integer, chooses the validation pictures of `cifar10`. The others' are fixed.

    Returns:
        `Dataset` of ten classes, with the splits `train`, `validation` and `test`.

    Raises:
        UserError: If the files are nowhere and can't be downloaded, or are damaged.

    References:
        - LeCun et al. 1998, https://doi.org/10.1109/5.726791
        - Xiao et al. 2017, https://arxiv.org/abs/1708.07747
        - Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html
    """
    if name == "digits":
        return load_digits()
    place, arrays = _published(name)
    splits, num_classes = labelled_splits(place, arrays, prefix=f"{name}/")
    if num_classes != len(CLASS_NAMES[name]):
        raise UserError(f"{place} has {num_classes} classes; {name} has {len(CLASS_NAMES[name])}")
    if name != "cifar10":
        splits, notes = _with_last_ones(splits), ()
    else:
        splits, notes = with_validation(splits, seed)
    return Dataset(name, CLASS_NAMES[name], 256, splits, notes)


def load_digits() -> Dataset:
    """Loads scikit-learn's digits: 1797 pictures, 8×8, grey, 17 levels, ten classes.

    The split is always the same: a third of each class is `test`, a tenth of the rest `validation`.

    Returns:
        `Dataset` with the classes `"0"` to `"9"`.

    Reference:
        Alpaydin and Kaynak 1998, https://archive.ics.uci.edu/dataset/80
    """
    # Takes seconds to import, which other data need not wait for.
    from sklearn import datasets

    bunch = datasets.load_digits()
    everything = LabelledImages(
        bunch.images[..., None].astype("uint8"),
        bunch.target.astype("int32"),
        tuple(f"digits/{row:06d}" for row in range(len(bunch.target))),
    )
    rest, test = everything.hold_out(1 / 3, seed=0)
    train, validation = rest.hold_out(VALIDATION_SHARE, seed=0)
    splits = {"train": train, "validation": validation, "test": test}
    return Dataset("digits", DIGITS, 17, splits)


def is_idx_folder(folder: Path) -> bool:
    """Returns whether `folder` holds one of MNIST's idx files."""
    return any(_idx_file(folder, name) for name in IDX_FILES.values())


def load_idx_folder(folder: Path) -> Dataset:
    """Loads a folder with the files in which MNIST and its likes are published.

    They are `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
    `t10k-labels-idx1-ubyte`, packed (`.gz`) or not. The last thirtieth of the training pictures
    (of MNIST, 2,000 of 60,000) is `validation`. Folders called `mnist`, `fashion-mnist` or
    `fashion_mnist` have those classes; else they are called `Class0`, `Class1`, …

    Args:
        folder: The folder.

    Returns:
        `Dataset` with 256 levels, whose splits `train`, `validation` and `test` are fixed.

    Raises:
        UserError: If a file is missing or damaged; the message names it.
    """
    splits, num_classes = labelled_splits(folder, _read_idx_folder(folder))
    name = folder.resolve().name
    class_names = CLASS_NAMES.get(name.replace("-", "_"), ())
    if len(class_names) != num_classes:
        class_names = tuple(f"Class{index}" for index in range(num_classes))
    return Dataset(name, class_names, 256, _with_last_ones(splits))


def _with_last_ones(splits):
    """Returns `splits` with the last thirtieth of `train` as `validation`."""
    train = splits["train"]
    stay = len(train) - max(1, len(train) // 30)
    last = train.take(slice(stay, None))
    return splits | {"train": train.take(slice(stay)), "validation": last}


def _published(name):
    """Returns the first place that has the data, and their arrays."""
    cache = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "datasets"
    npz = cache / f"{name}.npz"
    if npz.is_file():
        return npz, read_npz(npz)
    for folder in (cache / name.replace("_", "-"), SYSTEM_FOLDER / name.replace("_", "-")):
        # Where a download broke off, Keras fetches the rest.
        if all(_idx_file(folder, file) for file in IDX_FILES.values()):
            return folder, _read_idx_folder(folder)
    # Takes seconds to import, which data that lie here need not wait for.
    import keras

    try:
        (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    # Anything: the network, the disk, the archive.
    except Exception as error:
        raise UserError(
            f"{name} cannot be downloaded: {' '.join(str(error).split())}. Put {npz.name} with "
            f"x_train, y_train, x_test and y_test into {cache}{_HINTS.get(name, '')}."
        ) from error
    return name, {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


def _idx_file(folder, name):
    """Returns where the file lies, packed or not; `None` if it is missing."""
    files = (folder / f"{name}.gz", folder / name)
    return next((file for file in files if file.is_file()), None)


def _read_idx_folder(folder):
    arrays = {}
    for key, name in IDX_FILES.items():
        file = _idx_file(folder, name)
        if file is None:
            raise UserError(f"{folder}: {name}.gz is missing")
        arrays[key] = _read_idx(file)
    return arrays


def _read_idx(path):
    limit = largest_harmless(path)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise ValueError(
                f"{path.stat().st_size} bytes that unpack to more than {limit}: a bomb"
            )
        # Two zeros, the type (8 is uint8), the number of axes, their lengths, the values.
        if content[:3] != b"\0\0\x08":
            raise ValueError("not an array of uint8")
        shape = np.frombuffer(content, ">u4", count=content[3], offset=4)
        values = np.frombuffer(content, np.uint8, offset=4 + shape.nbytes)
        # A copy may be written to, as other arrays may.
        return values.reshape([int(size) for size in shape]).copy()
    # Anything: a damaged or hostile file fails in the archive or the array reader.
    except Exception as error:
        message = " ".join(str(error).split())
        raise UserError(f"{path} cannot be read as an idx file: {message}") from error
