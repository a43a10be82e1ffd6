"""Conversion between image values from 0 to 255 and the levels that a model distinguishes.

With more than 256 levels, the images are uint16 and contain the levels themselves.
"""

import numpy as np
from keras import ops

from keras_pixelcnnpp.utils.backend import Tensor
from keras_pixelcnnpp.utils.checks import (
    image_dtype,
    require_finite,
    require_integer,
    require_values,
)
from keras_pixelcnnpp.utils.errors import UserError


def to_levels(images: np.ndarray | Tensor, num_levels: int) -> np.ndarray | Tensor:
    """Rounds images to the nearest of `num_levels` levels: `round(x (num_levels - 1) / 255)`.

    Args:
        images: Integer array or tensor, values from 0 to 255.
        num_levels: Integer from 2 on.

    Returns:
        uint8 array or tensor of the same shape, values from 0 to `num_levels - 1`. With 256
        levels or more, `images` are returned unchanged.

    Raises:
        ValueError: If an array has other values than images, or seems to contain levels already.

    Example:

    >>> to_levels(np.uint8([0, 7, 8, 255]), 17)
    array([ 0,  0,  1, 16], dtype=uint8)
    """
    if isinstance(images, np.ndarray):
        require_finite(images)
        require_values(images, num_levels, strict=True)
    return levels_of(images, num_levels)


def levels_of(images: np.ndarray | Tensor, num_levels: int) -> np.ndarray | Tensor:
    """Returns the result of `to_levels` for images that were checked, which may be dark."""
    if num_levels >= 256:
        return images
    steps = num_levels - 1
    return cast((cast(images, "int32") * (2 * steps) + 255) // 510, "uint8")


def to_images(levels: np.ndarray | Tensor, num_levels: int) -> np.ndarray | Tensor:
    """Converts levels to images, `round(255 level / (num_levels - 1))`.

    It is a right inverse of `to_levels`: `to_levels(to_images(levels))` are the same levels.

    Models take images, also if they distinguish few levels: convert data that consist of levels,
    such as counts or binned values.

    Args:
        levels: Array or tensor of integers or whole floats from 0 to `num_levels - 1`.
        num_levels: Integer from 2 on.

    Returns:
        uint8 array or tensor of the same shape, values from 0 to 255; uint16 levels where there are
        more than 256 (int32 under torch, for a tensor).

    Raises:
        ValueError: If an array has fractions or NaN, or values out of range.

    Example:

    >>> to_images(np.array([0, 1, 16]), 17)
    array([  0,  16, 255], dtype=uint8)
    """
    require_integer("num_levels", num_levels, low=2)
    if isinstance(levels, np.ndarray) and levels.size:
        require_finite(levels, "levels")
        inside = 0 <= levels.min() <= levels.max() < num_levels
        is_whole = levels.dtype.kind != "f" or (levels == np.floor(levels)).all()
        if not (inside and is_whole):
            raise UserError(
                f"Invalid levels. Expected integers or whole floats from 0 to {num_levels - 1}. "
                f"Received: {'' if is_whole else 'fractions, '}values from {levels.min()} to "
                f"{levels.max()}"
            )
    if num_levels >= 256:
        return cast(levels, image_dtype(num_levels))
    steps = num_levels - 1
    return cast((cast(levels, "int32") * 510 + steps) // (2 * steps), "uint8")


def quantize(images: np.ndarray | Tensor, num_levels: int) -> np.ndarray | Tensor:
    """Rounds images to the values from 0 to 255 that a model with `num_levels` distinguishes."""
    return to_images(levels_of(images, num_levels), num_levels)


def cast(values: np.ndarray | Tensor, dtype: str) -> np.ndarray | Tensor:
    """Casts an array to an array, and a tensor to a tensor."""
    # `ops.cast` would convert arrays to tensors.
    is_array = isinstance(values, np.ndarray)
    return values.astype(dtype, copy=False) if is_array else ops.cast(values, dtype)


def scale_to_unit(levels: Tensor, num_levels: int, dtype: str = "float32") -> Tensor:
    """Scales levels from 0 to `num_levels - 1` linearly to [-1, 1]."""
    return ops.cast(levels, dtype) * (2.0 / (num_levels - 1)) - 1.0


def round_to_level(values: Tensor, num_levels: int) -> Tensor:
    """Converts values, scaled to [-1, 1], to the nearest level, as floats."""
    levels = ops.round((values + 1.0) * ((num_levels - 1) / 2.0))
    return ops.clip(levels, 0.0, num_levels - 1.0)
