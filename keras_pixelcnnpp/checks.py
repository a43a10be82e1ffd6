"""Checks of arguments, so that all classes word their errors alike."""

import inspect
import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from keras_pixelcnnpp.errors import UserError, invalid_argument


def plain(value: Any) -> Any:
    """NumPy's numbers as Python's, which JSON holds; sequences of them as tuples."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple | np.ndarray):
        return tuple(map(plain, value))
    return value


def argument_names(kind: type) -> Iterable[str]:
    """The names of the constructor arguments of a class and its base classes, in order."""
    names = {}
    for cls in kind.__mro__:
        if cls.__module__.partition(".")[0] == "keras":
            break
        if "__init__" not in vars(cls):
            continue
        parameters = list(inspect.signature(vars(cls)["__init__"]).parameters.values())[1:]
        variadic = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
        names.update((one.name, None) for one in parameters if one.kind not in variadic)
    return names.keys()


def arguments_of(model: Any) -> dict[str, Any]:
    """The values of a model's constructor arguments, by name, as far as it has such attributes."""
    names = argument_names(type(model))
    return {name: getattr(model, name) for name in names if hasattr(model, name)}


def require_integer(name: str, value: Any, low: int = 1, high: int | None = None) -> None:
    """Raises a `UserError` unless `value` is an integer from `low` to `high`.

    Where somebody else's configuration could keep a process busy for ever, `high` is finite.
    """
    is_integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_integer or value < low or (high is not None and value > high):
        expected = "a positive integer" if low == 1 else f"an integer of at least {low}"
        if high is not None:
            expected = f"an integer from {low} to {high}"
        raise invalid_argument(name, value, expected)


def require_number(name: str, value: Any, interval: str) -> None:
    """Raises a `UserError` unless `value` is a number of an interval such as `"[0, 1)"`."""
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
    """Raises a `UserError` unless `value` is a temperature that float32 can divide by."""
    require_number("temperature", value, "[1e-6, 1e6]")


def require_choice(name: str, value: Any, choices: Collection) -> None:
    """Raises a `UserError` unless `value` is one of `choices`."""
    if value not in choices:
        raise invalid_argument(name, value, f"one of: {', '.join(map(str, choices))}")


def checked_image_shape(image_shape: Sequence[int]) -> tuple[int, int, int]:
    """Returns `image_shape` as a tuple, or raises a `UserError`."""
    shape = plain(tuple(image_shape)) if np.iterable(image_shape) else ()
    if len(shape) != 3 or not all(type(size) is int and size > 0 for size in shape):
        expected = "three positive integers (height, width, channels)"
        raise invalid_argument("image_shape", image_shape, expected)
    return shape


def checked_images(
    images: ArrayLike, image_shape: tuple[int, int, int], num_levels: int = 256
) -> np.ndarray:
    """Returns `images` as a uint8 array `(N, *image_shape)`, or raises a `UserError`.

    Grayscale images may lack the axis of channels, as those of `keras.datasets` do.

    Images that are not black, but whose brightest value is below `num_levels` and 17, are refused
    unless `num_levels` is 256: they are levels, such as the 0 to 16 of scikit-learn's digits, and
    quantizing them would leave hardly anything.
    """
    array = np.asarray(images)
    if (*array.shape[1:], 1) == tuple(image_shape):
        array = array[..., None]
    require_images(array, image_shape)
    try:
        _require_range("in `images`", array, 256)
    except UserError as error:
        raise UserError(f"{error}. They become uint8 by {code_for_uint8(array)}") from None
    brightest = int(array.max()) if array.size else 0
    if 0 < brightest < min(num_levels, 17) and num_levels < 256:
        raise UserError(
            f"Invalid images. Expected integers from 0 to 255. Received: integers from 0 to "
            f"{brightest}, which look like levels. Spread them, as in "
            f"(images * (255 / {brightest})).round().astype('uint8')"
        )
    return array.astype("uint8", copy=False)


def code_for_uint8(images: np.ndarray, name: str = "images") -> str:
    """The code that makes an array of other numbers uint8 images: its white becomes 255."""
    low, high = float(images.min()), float(images.max())
    if low < 0:
        scaled = f"({name} - {low:g}) * (255 / {high - low:g})"
    else:
        # The largest value of 1, 8, 10, 12, 14 and 16 bits.
        white = next((n for n in (1, 255, 1023, 4095, 16383, 65535) if high <= n), high)
        scaled = f"{name} * (255 / {white:g})"
    return f"({scaled}).round().astype('uint8')"


def require_one_label(shape: tuple) -> None:
    """Raises a `UserError` unless labels of this shape are one for each image."""
    if len(shape) > 1 and tuple(shape[1:]) != (1,):
        raise UserError(
            "Invalid labels. Expected integers of shape (N,). One-hot labels? Give "
            f"`labels.argmax(axis=1)`. Received: shape={tuple(shape)}"
        )


def require_images(images: Any, image_shape: tuple[int, int, int]) -> None:
    """Raises a `UserError` unless an array or a tensor has the shape and dtype of images.

    Sizes that a tensor doesn't know yet fit.
    """
    shape, dtype = tuple(images.shape), getattr(images.dtype, "name", str(images.dtype))
    fits = len(shape) == 4 and all(
        size in (None, expected) for size, expected in zip(shape[1:], image_shape, strict=True)
    )
    if not fits or "int" not in dtype:
        expected = ", ".join(map(str, ("N", *image_shape)))
        received = f"dtype={dtype}" if fits else f"shape={shape}, dtype={dtype}"
        if "float" in dtype:
            received += ". Images in [0, 1] become (255 * images).round().astype('uint8'); divide "
            received += "others by their maximum first."
        elif len(shape) == 2 and shape[1] == math.prod(image_shape):
            received += ". Images of that many features could be reshaped to image_shape: give "
            received += f"images.reshape(-1, {', '.join(map(str, image_shape))})."
        raise UserError(
            f"Invalid images. Expected integers 0–255 of shape ({expected}). Received: {received}"
        )


def checked_class_names(
    class_names: Sequence[str] | np.ndarray | None, num_classes: int
) -> tuple[str, ...]:
    """Returns `num_classes` names as a tuple: `Class0` and so on where `class_names` is `None`."""
    if class_names is None:
        return tuple(f"Class{label}" for label in range(num_classes))
    names = plain(class_names)
    is_valid = isinstance(names, tuple) and all(isinstance(name, str) for name in names)
    if not is_valid or len(names) != num_classes:
        raise invalid_argument("class_names", class_names, f"{num_classes} strings")
    for name in names:
        # A terminal or JSON can't show it.
        if not name.isprintable():
            raise UserError(f"The names of classes must be printable. Received: {name!a}")
    if len(set(names)) < len(names):
        raise UserError(f"No two classes may have the same name. Received: {', '.join(names)}")
    return names


def class_label(class_names: Sequence[str], name: str) -> int:
    """The label of a class, given its name or, as a text, its number; or raises a `UserError`."""
    if name in class_names:
        return class_names.index(name)
    if name.isdecimal() and int(name) < len(class_names):
        return int(name)
    if not class_names:
        raise UserError(f"No class {name!r}: this model knows no names of classes")
    raise UserError(
        f"No class {name!r}. Expected one of: {', '.join(class_names)} "
        f"(or 0 to {len(class_names) - 1})"
    )


def checked_labels(
    labels: ArrayLike, count: int, limit: int, class_names: Sequence[str] = (), lowest: int = 0
) -> np.ndarray:
    """Returns `labels`, or one label for all, as an int32 array `(count,)`.

    Labels are integers from `lowest` to `limit - 1`, or names of classes.
    """
    array = np.asarray(labels)
    if array.dtype.kind in "UO":
        given = np.array(labels, dtype=object)  # of names and integers, each as it is
        found = [class_label(class_names, x) if isinstance(x, str) else x for x in given.flat]
        array = np.reshape(found, array.shape)
    if array.shape == (0,):
        array = array.astype("int32")  # an empty list has no kind
    if array.ndim == 0 and array.dtype.kind in "ui":
        array = np.full(count, array)
    if array.shape != (count,) or array.dtype.kind not in "ui":
        received = f"labels with shape={array.shape} and dtype={array.dtype}"
        raise UserError(
            f"Invalid value for argument `labels`. Expected {count} integers. "
            f"Received: {'none' if labels is None else received}"
        )
    _require_range("for argument `labels`", array, limit, lowest)
    return array.astype("int32")


def _require_range(where: str, array: np.ndarray, limit: int, lowest: int = 0) -> None:
    if array.size and (array.min() < lowest or array.max() >= limit):
        raise UserError(
            f"Invalid values {where}. Expected integers from {lowest} to {limit - 1}. "
            f"Received: values from {array.min()} to {array.max()}"
        )


def checked_rows(observed: ArrayLike, height: int) -> np.ndarray:
    """Returns `observed`, an integer from 0 to `height` or a sequence of them, as an array."""
    array = np.asarray(observed)
    if array.ndim > 1 or array.dtype.kind not in "ui" or np.any((array < 0) | (array > height)):
        expected = f"an integer from 0 to {height}, or a sequence of them"
        raise invalid_argument("observed", observed, expected)
    return array


def checked_observed(observed: Any, count: int, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Returns which pixels are known: booleans `(count, height, width)`.

    Args:
        observed: Number of first rows, or a boolean mask `(height, width)` or `(count, height,
            width)`.
        count: Number of images.
        image_shape: `(height, width, channels)`.

    Raises:
        ValueError: If `observed` is nothing of that.
    """
    height, width, _ = image_shape
    array = np.asarray(observed)
    if array.ndim == 0 and array.dtype.kind in "ui" and 0 <= array <= height:
        array = np.arange(height * width).reshape(height, width) < int(array) * width
    if array.dtype != bool or array.shape not in ((height, width), (count, height, width)):
        raise UserError(
            f"Invalid value for argument `observed`. Expected an integer from 0 to {height}, "
            f"or a boolean mask of shape {(height, width)} or {(count, height, width)}. "
            f"Received: dtype={array.dtype}, shape={array.shape}"
            + (f", value={array}" if array.ndim == 0 else "")
        )
    return np.broadcast_to(array, (count, height, width))


def is_prefix(known: np.ndarray) -> bool:
    """Whether in each mask `(count, height, width)` all known pixels precede the unknown ones."""
    flat = known.reshape(len(known), -1)
    return not (flat[:, 1:] & ~flat[:, :-1]).any()
