"""Loads data sets in every form of `--data`: built-in names, `.npz` files and folders."""

import math
import zipfile
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
from numpy.lib import format as npy

from keras_pixelcnnpp.data.dataset import (
    MAX_CLASSES,
    SPLIT_NAMES,
    VALIDATION_SHARE,
    Dataset,
    LabeledImages,
    class_notes,
    count_classes,
    duplicates_note,
    named_splits,
    with_missing_splits,
)
from keras_pixelcnnpp.data.folders import load_folder
from keras_pixelcnnpp.data.images import RESIZES, resize_images, resized_note
from keras_pixelcnnpp.distributions.levels import to_images
from keras_pixelcnnpp.utils.checks import (
    checked_class_names,
    checked_vectors,
    code_for_uint8,
    plain,
    require_choice,
    require_integer,
)
from keras_pixelcnnpp.utils.errors import UserError, invalid_argument, one_line
from keras_pixelcnnpp.utils.files import array_headers

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

# Arrays of an `.npz` file, which has `images` and `labels` if it has no splits.
_IMAGES = ("images", *(f"x_{split}" for split in SPLIT_NAMES))
_VECTORS = ("conditions", *(f"conditions_{split}" for split in SPLIT_NAMES))
_LABELS = ("labels", *(f"y_{split}" for split in SPLIT_NAMES))
BYTES_FOR_NAMES = 200  # of the path and the hash of an image in memory
# Shares of values that are unusual at 255 (or 65535), and at 0, which backgrounds may have.
MANY_WHITE, MANY_BLACK = 0.1, 0.9


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
    conditions: Sequence[str] = (),
) -> Dataset:
    """Loads labeled or unlabeled images in splits, all of one shape.

    Args:
        source: One of
            `"digits"`, `"mnist"`, `"fashion_mnist"`, `"cifar10"`: see `load_built_in`;
            a folder of image files, with CSV files, a folder for each class or neither: see
            `load_folder`;
            an `.npz` file: see `load_npz`.
        image_size: Integer, or pair `(height, width)`, size to which images are resized. By default
            32 for folders of image files, and the original size for arrays and with `as_uint16`.
        channels: 1 (gray) or 3 (RGB). By default 3 for folders of image files, and the original
            number for arrays.
        seed: Integer, random seed of missing splits. Evaluate with the seed of the training,
            because other seeds give other splits.
        resize: As in `read_image`.
        white_level: As in `read_image`.
        skip_corrupted: Boolean, whether to skip image files that can't be read.
        as_uint16: Boolean, whether to keep 16 bits, for models of more than 256 levels. Image files
            must be 16-bit gray PNG or TIFF files, all of one size unless `image_size` is given, and
            arrays uint16. Only gray images are resized.
        make_splits: Boolean, whether to create missing splits. Data without splits are split into
            80 % `train`, 10 % `validation` and 10 % `test` of each class. If only `validation` is
            missing, it gets 10 % of the training images.
        unlabeled_others: Boolean, whether image files of a class that the training split lacks are
            unlabeled, for an unconditional model. By default, they are an error.
        conditions: Sequence of strings, the names of the components of the images' vectors, for a
            model of `Vectors`: columns of the CSV files of a folder, whose labels are not used
            then, or names for the arrays `conditions_train` and so on of an `.npz` file.

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
    size = 32 if image_size is None else plain(image_size)
    size = size if isinstance(size, tuple) else (size, size)
    for side in size:
        require_integer("image_size", side)
    if len(size) != 2:
        raise invalid_argument("image_size", image_size, "an integer, or a pair (height, width)")
    if channels not in (None, 1, 3):
        raise invalid_argument(
            "channels",
            channels,
            "1 (gray) or 3 (RGB), as which image files are read. Images of other channels can be "
            "arrays in an .npz file, without this argument",
        )
    require_choice("resize", resize, RESIZES)
    path = Path(source)
    if as_uint16 and (white_level is not None or str(source) in CLASS_NAMES):
        raise UserError(
            "Invalid value for argument `as_uint16`. Built-in data have 8 bits, and `white_level` "
            f"converts to 8 bits. Received: source={str(source)!r}, white_level={white_level}"
        )
    if conditions and str(source) in CLASS_NAMES:
        expected = "none for built-in data, which have no vectors"
        raise invalid_argument("conditions", conditions, expected)
    if str(source) in CLASS_NAMES:
        dataset = load_built_in(str(source))
    elif path.is_dir():
        if as_uint16:
            require_choice("channels", channels, (None, 1))
        channels = channels or (1 if as_uint16 else 3)
        shape = (None, None) if as_uint16 and image_size is None else size
        how = (resize, skip_corrupted, white_level, as_uint16, unlabeled_others, conditions)
        dataset = load_folder(path, (*shape, channels), *how)
    elif path.is_file() and path.suffix == ".npz":
        dataset = load_npz(path, as_uint16, conditions)
    else:
        raise UserError(
            f"No such folder or .npz file: {path} (built-in data: {', '.join(CLASS_NAMES)})"
        )

    notes, splits = dataset.notes, dataset.splits
    own = dataset.image_shape[:2]
    if image_size is not None:
        notes += resized_note([own], size) if resize != "crop" else ()
        own = size
    if (*own, channels or dataset.image_shape[2]) != dataset.image_shape:
        splits = {
            name: replace(
                split.with_hashes(), images=resize_images(split.images, own, channels, resize)
            )
            for name, split in splits.items()
        }
    notes = (*notes, *_dark_note(splits, path.is_dir()), *_saturation_notes(splits, white_level))
    if make_splits:
        try:
            splits, made = with_missing_splits(splits, seed)
        except UserError as error:
            raise UserError(f"{source}: {error}") from error
        notes = (*made, *notes)
    dataset = replace(dataset, splits=splits)
    return replace(dataset, notes=(*notes, *class_notes(dataset), *duplicates_note(splits)))


def _dark_note(splits: dict[str, LabeledImages], are_files: bool) -> tuple[str, ...]:
    brightest = max(split.images.max(initial=0) for split in splits.values())
    deep = any(split.images.dtype == "uint16" for split in splits.values())
    if deep or brightest > 64:
        return ()
    advice = (
        "For gray image files that use 12 of 16 bits, use white_level=4095, or train's "
        "--white-level 4095."
        if are_files
        else "If the values are levels, convert them to images with "
        f"keras_pixelcnnpp.data.to_images(levels, {brightest + 1}). If they are codes without an "
        "order, train a model with ordered_levels=False in Python."
    )
    return (f"All images are nearly black: the largest value is {brightest} of 255. {advice}",)


def _saturation_notes(splits: dict[str, LabeledImages], white_level: int | None) -> list[str]:
    """Returns messages if unusually many values are black or white, perhaps because of clipping."""
    arrays = [split.images for split in splits.values() if len(split)]
    total = sum(images.size for images in arrays)
    white = np.iinfo(arrays[0].dtype).max if arrays else 0
    notes = []
    for value, name, limit in ((0, "black", MANY_BLACK), (white, "white", MANY_WHITE)):
        share = sum(np.count_nonzero(images == value) for images in arrays) / max(total, 1)
        if share > limit:
            notes.append(f"{100 * share:.0f} % of the values are {value} ({name}).")
    if white_level and notes:
        notes[-1] += f" A larger white_level than {white_level} clips fewer values."
    return notes


def load_built_in(name: str) -> Dataset:
    """Loads a built-in data set by its name.

    | name | images | splits |
    |---|---|---|
    | `"digits"` | 1797, 8×8×1 | a third of each class is `test`, a tenth of the rest `validation` |
    | `"mnist"` | 70,000, 28×28×1 | the last 2,000 training images are `validation` |
    | `"fashion_mnist"` | 70,000, 28×28×1 | `train` and `test` |
    | `"cifar10"` | 60,000, 32×32×3 | `train` and `test` |

    `"digits"` comes from scikit-learn. Its 17 gray levels are scaled to 0 to 255, so a model with
    `num_levels=17` distinguishes exactly these levels. The others come from `keras.datasets`, which
    downloads them once.

    Returns:
        `Dataset` with ten classes and the splits of the table. `load_dataset` adds `validation`
        where it is missing.

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
    # Any exception: of the network, the disk or the archive.
    except Exception as error:
        raise UserError(
            f"{name} cannot be downloaded: {one_line(error)}. Without a network, use "
            "an .npz file with the arrays x_train, y_train, x_test and y_test as the data"
            + (f", and train with --preset {name}" if name != "cifar10" else "")
        ) from error
    arrays = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
    if name == "mnist":  # the split that the preset `mnist` was trained on
        held_out = len(x_train) // 30
        arrays["x_validation"], arrays["y_validation"] = x_train[-held_out:], y_train[-held_out:]
        arrays["x_train"], arrays["y_train"] = x_train[:-held_out], y_train[:-held_out]
    return _dataset_of_arrays(name, {**arrays, "class_names": np.array(CLASS_NAMES[name])})


def _load_digits() -> Dataset:
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


def load_npz(path: Path, as_uint16: bool = False, conditions: Sequence[str] = ()) -> Dataset:
    """Loads an `.npz` file with the arrays `x_train`, `y_train`, `x_validation`, … `x_test`.

    Images are uint8 `(N, height, width)` or `(N, height, width, channels)`. Labels are integers
    `(N,)` or `(N, 1)`, -1 for unlabeled images. A split without labels is unlabeled. `val` and
    `valid` are also names of `validation`. For data without splits, the arrays are `images` and
    `labels`. `class_names` is an optional array of strings.

    Instead of labels, images may have vectors for a model of `Vectors`: numbers `(N, size)` or
    `(N,)` in `conditions_train` and so on, or `conditions`. `conditions` are the names of their
    components, by default `h0`, `h1` and so on.

    With `as_uint16`, the images are uint16 instead of uint8.

    Returns:
        `Dataset` with the splits of the file, or with the split `"all"`.

    Raises:
        UserError: If the file is damaged, contains Python objects, unpacks to much more than its
            size, or an array is missing or has a wrong shape, dtype or value.
    """
    # The limit of Keras's archives: images are not compressed to a hundredth, unlike zip bombs.
    limit = max(256 << 20, 100 * path.stat().st_size)
    try:
        with zipfile.ZipFile(path) as archive:
            # zipfile does not unpack more than the declared sizes.
            unpacked = sum(entry.file_size for entry in archive.infolist())
            if unpacked > limit:
                raise ValueError(f"{path.stat().st_size} bytes would unpack to {unpacked}")
            headers = array_headers(archive)
            count = sum(math.prod(headers[name][0][:1]) for name in headers.keys() & _IMAGES)
            if unpacked + count * BYTES_FOR_NAMES > limit:
                raise ValueError(
                    f"{count:,} images and their names would take more than {limit >> 20} MiB"
                )
            arrays = {}
            for name in headers.keys() & {*_IMAGES, *_LABELS, *_VECTORS, "class_names"}:
                with archive.open(f"{name}.npy") as file:
                    arrays[name] = npy.read_array(file, allow_pickle=False)
        others = headers.keys() - arrays
        dtype = "uint16" if as_uint16 else "uint8"
        return _dataset_of_arrays(path.stem, arrays, dtype, others, conditions)
    except UserError as error:
        raise UserError(f"{path}: {one_line(error)}") from error
    # Any exception: a malicious archive fails in the reader for zip, headers or arrays.
    except Exception as error:
        raise UserError(f"{path} cannot be read as an .npz file: {one_line(error)}") from error


def _dataset_of_arrays(
    name: str,
    arrays: dict[str, np.ndarray],
    dtype: str = "uint8",
    others: Collection[str] = (),
    conditions: Sequence[str] = (),
) -> Dataset:
    """Creates a `Dataset` from arrays with the names of `load_npz`, of which `others` are unknown.

    `others` are only named in a note.
    """
    there = named_splits(name for name in SPLIT_NAMES if f"x_{name}" in arrays)
    pairs = {n: (f"x_{name}", f"y_{name}", f"conditions_{name}") for n, name in there.items()}
    if "images" in arrays and not pairs:
        pairs = {"all": ("images", "labels", "conditions")}
    used = {"class_names", *(name for pair in pairs.values() for name in pair)}
    unused = sorted(filter(str.isprintable, {*arrays, *others} - used))
    if not pairs:
        raise UserError(f"Expected an array x_train, or images. Received: {', '.join(unused)}")
    splits = {split: _split(arrays, split, *pair, dtype) for split, pair in pairs.items()}
    shapes = {split.images.shape[1:] for split in splits.values()}
    if len(shapes) > 1:
        raise UserError(f"The splits have images of different shapes: {sorted(shapes)}")
    num_classes = count_classes(
        {name: split.labels for name, split in splits.items()},
        lambda name, row: f"labels of {name}, row {row}",
    )
    class_names = arrays.get("class_names")
    if class_names is not None:
        if class_names.size > MAX_CLASSES:
            raise UserError(
                f"class_names must have at most {MAX_CLASSES:,} names. "
                f"Received: {class_names.size:,}"
            )
        if "train" not in splits and "all" not in splits:
            num_classes = max(num_classes, class_names.size)  # some may have no image
    notes = _channels_note(*shapes)
    if unused:
        note = (
            f"Arrays that are not used: {', '.join(unused)}. Names that are used: x_train, "
            "y_train, x_validation, y_validation, x_test, y_test, conditions_train and so on, and "
            "class_names."
        )
        notes = (*notes, note)
    class_names = checked_class_names(class_names, num_classes)
    return Dataset(name, class_names, splits, notes, _vector_names(splits, conditions))


def _vector_names(splits: dict[str, LabeledImages], given: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of the vectors' components; empty if no split has vectors."""
    sizes = {0 if one.vectors is None else one.vectors.shape[1] for one in splits.values()}
    if len(sizes) > 1:
        raise UserError(
            "Expected vectors of one size in all splits, or in none. "
            f"Received: {' and '.join(map(str, sorted(sizes)))} components"
        )
    size = sizes.pop()
    if not size and given:
        raise UserError(
            f"Expected an array conditions_train, or conditions, for {', '.join(given)}. "
            "Received: none"
        )
    names = given or tuple(f"h{index}" for index in range(size))
    return checked_class_names(names, size, "conditions")


def _channels_note(shape: tuple[int, ...]) -> tuple[str, ...]:
    """Returns a message for images whose channels may be the first axis."""
    height, width, channels = shape
    if height > 4 or channels <= 4 or width <= 4:
        return ()
    note = (
        f"The images are {height} pixels high and have {channels} channels. If their channels are "
        "the first axis, move them to the last: np.moveaxis(images, 1, -1)."
    )
    return (note,)


def _split(
    arrays: dict[str, np.ndarray],
    split: str,
    images_of: str,
    labels_of: str,
    vectors_of: str,
    dtype: str,
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
    if images.dtype != dtype:
        code = f"onvert them to uint8 with {code_for_uint8(images, images_of)}"
        deep = "Load them with as_uint16=True, for a model of more than 256 levels, or c"
        advice = f". {deep if images.dtype == 'uint16' else 'C'}{code}"
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
    vectors = arrays.get(vectors_of)
    if vectors is not None:
        if labels_of in arrays:
            raise UserError(f"Expected {labels_of} or {vectors_of}. Received: both")
        vectors = checked_vectors(vectors, count, vectors_of)
    paths = tuple(f"{split}/{row:06d}" for row in range(count))
    return LabeledImages(images, labels, paths, vectors=vectors)
