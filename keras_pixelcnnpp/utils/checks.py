"""Checks of arguments with consistent error messages."""

import inspect
import math
import warnings
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from keras_pixelcnnpp.utils.errors import UserError, invalid_argument

# Upper bounds of a network and of the values of an image, because files are untrusted.
MAX_FILTERS = 4096
MAX_BLOCKS = 100
MAX_VALUES = 1 << 24
MAX_LEVELS = 4096
MAX_MIXTURES = 1000
GUIDE = (
    "https://github.com/keras-pixelcnnpp/keras-pixelcnnpp/blob/main/docs/how-to/scientific_data.md"
)


def plain(value: Any) -> Any:
    """Converts NumPy numbers to Python numbers, for JSON, and sequences to tuples."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple | np.ndarray):
        return tuple(map(plain, value))
    return value


def argument_defaults(kind: type) -> dict[str, Any]:
    """Returns the constructor arguments of a class and its bases, in order, with their defaults.

    The default of a required argument is `inspect.Parameter.empty`.
    """
    found = {}
    for cls in kind.__mro__:
        if cls.__module__.partition(".")[0] == "keras":
            break
        if "__init__" not in vars(cls):
            continue
        parameters = list(inspect.signature(vars(cls)["__init__"]).parameters.values())[1:]
        variadic = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
        for one in parameters:
            if one.kind not in variadic:
                found.setdefault(one.name, one.default)
    return found


def argument_names(kind: type) -> Iterable[str]:
    """Returns the names of the constructor arguments of a class and its bases, in order."""
    return argument_defaults(kind).keys()


def require_integer(name: str, value: Any, low: int = 1, high: int | None = None) -> None:
    """Raises a `UserError` unless `value` is an integer from `low` to `high`."""
    is_integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_integer or value < low or (high is not None and value > high):
        expected = "a positive integer" if low == 1 else f"an integer of at least {low}"
        if high is not None:
            expected = f"an integer from {low} to {high}"
        raise invalid_argument(name, value, expected)


def require_number(name: str, value: Any, interval: str) -> None:
    """Raises a `UserError` unless `value` is a number in an interval such as `"[0, 1)"`."""
    low, high = map(float, interval[1:-1].split(","))
    is_number = isinstance(value, int | float | np.integer | np.floating)
    inside = is_number and not isinstance(value, bool) and low <= value <= high
    if (
        not inside
        or (value == low and interval[0] == "(")
        or (value == high and interval[-1] == ")")
    ):
        raise invalid_argument(name, value, f"a number in {interval}")


def require_temperature(value: Any) -> None:
    """Raises a `UserError` unless `value` is a temperature from 1e-6 to 1e6."""
    require_number("temperature", value, "[1e-6, 1e6]")


def require_choice(name: str, value: Any, choices: Collection) -> None:
    """Raises a `UserError` unless `value` is one of `choices`."""
    if value not in choices:
        raise invalid_argument(name, value, f"one of: {', '.join(map(str, choices))}")


def checked_image_shape(image_shape: Sequence[int]) -> tuple[int, int, int]:
    """Returns `image_shape` as a tuple, or raises a `UserError`."""
    shape = plain(tuple(image_shape)) if np.iterable(image_shape) else ()
    are_sizes = len(shape) == 3 and all(type(size) is int and size > 0 for size in shape)
    if not are_sizes or math.prod(shape) > MAX_VALUES:
        expected = "three positive integers (height, width, channels), with a product of at most "
        expected += f"{MAX_VALUES:,}"
        raise invalid_argument("image_shape", image_shape, expected)
    return shape


def checked_images(
    images: ArrayLike,
    image_shape: tuple[int, int, int],
    num_levels: int = 256,
    strict: bool = False,
    ordered: bool = True,
) -> np.ndarray:
    """Returns `images` as an array `(N, *image_shape)`, or raises a `UserError`.

    It is uint8 from 0 to 255, or uint16 below `num_levels` if these are more than 256. With
    `ordered=False`, the images are codes below `num_levels`.

    Grayscale images need no channel axis. If `num_levels` is less than 256, an array whose maximum
    is below `num_levels`, or below 17 as in scikit-learn's digits, seems to contain levels instead
    of values from 0 to 255. With `strict=True`, it raises an error, which a model with
    `allow_dark_images` avoids; otherwise a warning is issued, because a few images may all be that
    dark.
    """
    require_no_mask(images)
    array = np.asarray(images)
    require_finite(array)
    if (*array.shape[1:], 1) == tuple(image_shape):
        array = array[..., None]
    require_images(array, image_shape, num_levels, ordered)
    require_values(array, num_levels, strict, ordered)
    return array.astype(image_dtype(num_levels), copy=False)


def require_values(
    array: np.ndarray, num_levels: int = 256, strict: bool = False, ordered: bool = True
) -> None:
    """Raises a `UserError` unless an array of any shape has the values of images.

    The arguments are those of `checked_images`.
    """
    limit = num_image_values(num_levels, ordered)
    advice = f". {conversion(num_levels)}" if ordered else ""
    if array.dtype.kind not in "ui":
        raise UserError(
            f"Invalid images. Expected integers from 0 to {limit - 1}. "
            f"Received: dtype={array.dtype}{advice}"
        )
    _require_range("in `images`", array, limit, advice=advice)
    brightest = int(array.max()) if array.size else 0
    if ordered and 0 < brightest < max(num_levels, 17) and num_levels < 256:
        message = (
            f"Expected integers from 0 to 255. Received: integers from 0 to {brightest}, which "
            "look like levels. Convert them with keras_pixelcnnpp.data.to_images(levels, K), where "
            f"K, at least {brightest + 1}, is the number of levels"
        )
        if strict:
            raise UserError(
                f"Invalid images. {message}. If the images really are that dark, use 256 levels if "
                "the model has this option (num_levels=256, or train's --num-levels 256), or set "
                "model.allow_dark_images = True"
            )
        warnings.warn(message, stacklevel=1)  # Python shows the message of a place only once


def reading_of(shape: tuple[int, ...]) -> str:
    """Returns how an array of gray images is read that may be `(H, W, N)`, or an empty string."""
    if len(shape) != 3 or shape[1] == shape[2] or shape[0] < min(shape[1:]):
        return ""
    count, height, width = shape
    return (
        f"An array of shape {tuple(shape)} is read as {count:,} images, {height} pixels high and "
        f"{width} wide. If the last axis is that of the images, move it: np.moveaxis(x, -1, 0)."
    )


def with_channels(images: np.ndarray) -> np.ndarray:
    """Returns an array `(N, H, W)` as `(N, H, W, 1)`, and others unchanged.

    A warning says how the axes are read if they may be `(H, W, N)`.
    """
    if note := reading_of(images.shape):
        warnings.warn(note, stacklevel=1)
    return images[..., None] if images.ndim == 3 else images


def require_no_mask(values: Any, name: str = "images") -> None:
    """Raises a `UserError` for a masked array, or a sequence of them: hidden values would count."""
    if not any(map(np.ma.is_masked, values if isinstance(values, list | tuple) else [values])):
        return
    advice = ". Score rectangles without masked values" if name == "frames" else ""
    if name == "images":
        known = "~images.mask" + (".any(axis=-1)" if np.ndim(values) == 4 else "")
        advice = f". To score or complete known pixels, pass images.data and observed={known}"
    raise UserError(
        f"Invalid value for argument `{name}`. Expected no masked values. "
        f"Received: a masked array{advice}"
    )


def require_finite(values: np.ndarray, name: str = "images") -> None:
    """Raises a `UserError` for floats with NaN or infinity, which become arbitrary integers."""
    if values.dtype.kind != "f":
        return
    known = np.isfinite(values)
    advice = ""
    if name == "images":
        advice = (
            ". To leave these values out of a score, also pass observed=np.isfinite(images) to "
            "the model's bits_per_dim or log_prob. AnomalyDetector and TiledModel need whole images"
        )
    if not known.all():
        raise UserError(
            f"Invalid {name}. Expected finite numbers. Received: NaN or infinity in "
            f"{values.size - known.sum():,} of {values.size:,} values{_first(~known)}. Replace "
            f"them with np.where(np.isfinite({name}), {name}, 0){advice}"
        )


def num_image_values(num_levels: int, ordered: bool = True) -> int:
    """Returns the number of values that images may have: at least 256, except for codes."""
    return max(256, num_levels) if ordered else num_levels


def image_dtype(num_levels: int) -> str:
    """Returns the dtype of a model's images: uint16 for more than 256 levels."""
    return "uint8" if num_levels <= 256 else "uint16"


def conversion(num_levels: int = 256, name: str = "images") -> str:
    """Returns advice on numbers that are no image values; it is the same for all data of a source.

    An advice from one array would give other arrays another scale.
    """
    white, dtype = num_image_values(num_levels) - 1, image_dtype(num_levels)
    levels = f" Levels need only {name}.astype('{dtype}')." if white > 255 else ""
    return (
        f"Convert all data with np.interp({name}, (LOW, HIGH), (0, {white})).round()"
        f".astype('{dtype}'), where LOW and HIGH are the lowest and the highest value that the "
        f"source can have, such as 0 and 1, or 0 and 4095.{levels} See {GUIDE}"
    )


def require_one_label(shape: tuple) -> None:
    """Raises a `UserError` unless a shape has one label for each image."""
    if len(shape) > 1 and tuple(shape[1:]) != (1,):
        raise UserError(
            "Invalid labels. Expected integers of shape (N,). Convert one-hot labels by "
            f"`labels.argmax(axis=1)`. Received: shape={tuple(shape)}"
        )


def require_images(
    images: Any, image_shape: tuple[int, int, int], num_levels: int = 256, ordered: bool = True
) -> None:
    """Raises a `UserError` unless an array or a tensor has the shape and dtype of images.

    Unknown sizes of a tensor are accepted. Models of more than 256 levels take no uint8.
    """
    # TensorFlow may know nothing about the shapes of a stream.
    shape = () if getattr(images.shape, "rank", 0) is None else tuple(images.shape)
    dtype = getattr(images.dtype, "name", str(images.dtype))
    height, width, channels = image_shape

    def agrees(*expected: int) -> bool:
        sizes = zip(shape[1:], expected, strict=True)
        return len(shape) == 4 and all(size in (None, other) for size, other in sizes)

    fits = agrees(height, width, channels)
    white = num_image_values(num_levels, ordered) - 1
    shallow = white > 255 and dtype.endswith("uint8")
    if not fits or shallow or "int" not in dtype:
        expected = ", ".join(map(str, ("N", *image_shape)))
        received = f"dtype={dtype}" if fits else f"shape={shape}, dtype={dtype}"
        if shallow:
            received += ", which has 256 values only"
        elif "int" not in dtype and ordered:
            received += f". {conversion(num_levels)}"
        elif not fits and agrees(channels, height, width):
            received += ". Move the channels to the last axis with np.moveaxis(images, 1, -1)."
        elif len(shape) == 2 and shape[1] == math.prod(image_shape):
            received += ". Rows of features can be reshaped to image_shape with "
            received += f"images.reshape(-1, {', '.join(map(str, image_shape))})."
        elif is_larger(shape, image_shape):
            received += f". Resize larger images to {height}×{width}, as data.read_image does; or "
            received += "keep their size with a TiledModel, and train on RandomCrops of them."
        raise UserError(
            f"Invalid {'images' if ordered else 'codes'}. Expected integers 0–{white} of shape "
            f"({expected}). Received: {received}"
        )


def is_larger(shape: tuple, image_shape: tuple[int, int, int]) -> bool:
    """Returns whether images `(N, H, W, channels)` are larger than those of a model."""
    return (
        len(shape) == 4
        and shape[3] == image_shape[2]
        and all(own is not None and own >= n for own, n in zip(shape[1:], image_shape, strict=True))
        and shape[1:] != image_shape
    )


def checked_class_names(
    class_names: Sequence[str] | np.ndarray | None, num_classes: int, argument: str = "class_names"
) -> tuple[str, ...]:
    """Returns `num_classes` names as a tuple; `None` gives `Class0`, `Class1` and so on."""
    if class_names is None:
        return tuple(f"Class{label}" for label in range(num_classes))
    names = plain(class_names)
    is_valid = isinstance(names, tuple) and all(isinstance(name, str) for name in names)
    if not is_valid or len(names) != num_classes:
        raise invalid_argument(argument, class_names, f"{num_classes} strings")
    for name in names:
        if not name.isprintable():
            raise UserError(f"Class names must be printable. Received: {name!a}")
    if len(set(names)) < len(names):
        raise UserError(f"Class names must be unique. Received: {', '.join(names)}")
    return names


def class_label(class_names: Sequence[str], name: str) -> int:
    """Returns the label of a class, given its name, or its number as a string.

    If a name is a number, such as "7" for class 0, only names are accepted.
    """
    if name in class_names:
        return class_names.index(name)
    if not class_names:
        raise UserError(f"Unknown class {name!r}: this model has no class names")
    expected = ", ".join(class_names)
    if all(not known.isdecimal() or int(known) == i for i, known in enumerate(class_names)):
        if name.isdecimal() and int(name) < len(class_names):
            return int(name)
        expected += f" (or 0 to {len(class_names) - 1})"
    raise UserError(f"Unknown class {name!r}. Expected one of: {expected}")


def checked_codes(codes: np.ndarray, num_codes: int, name: str) -> np.ndarray:
    """Returns codes in data, an array of any shape, in the dtype that a model of them takes.

    Raises:
        UserError: If they are not integers from 0 to `num_codes - 1`.
    """
    if codes.dtype.kind not in "ui" or codes.min() < 0 or codes.max() >= num_codes:
        raise UserError(
            f"{name} must be codes, integers from 0 to {num_codes - 1}. "
            f"Received: {codes.dtype}, values from {codes.min()} to {codes.max()}"
        )
    return codes.astype(image_dtype(num_codes))


def checked_labels(
    labels: ArrayLike, count: int, limit: int, class_names: Sequence[str] = (), lowest: int = 0
) -> np.ndarray:
    """Returns `labels` as an int32 array `(count,)`. A single label is repeated.

    Labels are integers from `lowest` to `limit - 1`, or class names.
    """
    require_no_mask(labels, "labels")
    array = np.asarray(labels)
    if array.dtype.kind in "UO":
        given = np.array(labels, dtype=object)  # keeps the types of mixed names and integers
        found = [class_label(class_names, x) if isinstance(x, str) else x for x in given.flat]
        array = np.reshape(found, array.shape)
    if array.shape == (0,):
        array = array.astype("int32")  # NumPy converts an empty list to floats
    if array.ndim == 0 and array.dtype.kind in "ui":
        array = np.full(count, array)
    if array.shape != (count,) or array.dtype.kind not in "ui":
        received = f"labels with shape={array.shape} and dtype={array.dtype}"
        marginal = "; -1 stands for p(x), the mean over the classes" if lowest < 0 else ""
        raise UserError(
            f"Invalid labels. Expected {count} integers{marginal}. "
            f"Received: {'none' if labels is None else received}"
        )
    is_from_1 = array.size and array.min() > 0 and array.max() == limit
    advice = ". Labels count from 0: subtract 1 from labels that count from 1" * bool(is_from_1)
    _require_range("of labels", array, limit, lowest, advice)
    return array.astype("int32")


def _require_range(
    where: str, array: np.ndarray, limit: int, lowest: int = 0, advice: str = ""
) -> None:
    if array.size and (array.min() < lowest or array.max() >= limit):
        wrong = (array < lowest) | (array >= limit)
        raise UserError(
            f"Invalid values {where}. Expected integers from {lowest} to {limit - 1}. "
            f"Received: values from {array.min()} to {array.max()}{_first(wrong)}{advice}"
        )


def _first(wrong: np.ndarray) -> str:
    """Returns words that say which row of an array is the first with a wrong value."""
    return f", first at index {wrong.any(axis=tuple(range(1, wrong.ndim))).argmax()}"


def checked_rows(observed: ArrayLike, height: int) -> np.ndarray:
    """Returns `observed`, an integer from 0 to `height` or a sequence of them, as an array."""
    array = np.asarray(observed)
    if array.ndim > 1 or array.dtype.kind not in "ui" or np.any((array < 0) | (array > height)):
        expected = f"an integer from 0 to {height}, a sequence of them, or a boolean mask"
        raise invalid_argument("observed", observed, expected)
    return array


def checked_observed(observed: Any, count: int, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Returns a boolean mask `(count, height, width)` of the known pixels.

    If a pixel has known and unknown channels, the result is `(count, height, width, channels)`.
    `AutoregressiveModel` documents the forms of `observed`; others raise a `UserError`.
    """
    height, width, _ = image_shape
    require_no_mask(observed, "observed")
    array = np.asarray(observed)
    if array.ndim > 1 and array.dtype.kind in "uif" and np.isin(array, (0, 1)).all():
        array = array.astype(bool)
    if array.ndim == 0 and array.dtype.kind in "ui" and 0 <= array <= height:
        array = np.arange(height * width).reshape(height, width) < int(array) * width
    if array.dtype == bool and array.shape == (count, *image_shape):
        by_pixel: Any = array.all(axis=-1)
        return by_pixel if (by_pixel == array.any(axis=-1)).all() else array
    if array.dtype != bool or array.shape not in ((height, width), (count, height, width)):
        raise UserError(
            f"Invalid value for argument `observed`. Expected an integer from 0 to {height}, "
            f"or a boolean mask of shape {(height, width)}, {(count, height, width)} or "
            f"{(count, *image_shape)}. "
            f"Received: dtype={array.dtype}, shape={array.shape}"
            + (f", value={array}" if array.ndim == 0 else "")
        )
    return np.broadcast_to(array, (count, height, width))


def is_prefix(known: np.ndarray) -> bool:
    """Returns whether all known pixels of each mask precede the unknown ones in raster order."""
    flat = known.reshape(len(known), math.prod(known.shape[1:]))
    return not (flat[:, 1:] & ~flat[:, :-1]).any()
