"""Eight ways to spoil pictures, mildly to badly, with Pillow, SciPy and NumPy alone.

After Hendrycks and Dietterich 2019, *Benchmarking Neural Network Robustness to Common Corruptions
and Perturbations*, https://arxiv.org/abs/1903.12261, whose own code needs ImageMagick and sizes of
32 or 224; numbers are not comparable with theirs. Each way takes pixels, uint8 `[count, height,
width, channels]`, how much, and a `numpy.random.Generator`, and returns values that may be
fractions or lie outside 0…255.
"""

import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from keras_pixelcnnpp.checks import require_choice
from keras_pixelcnnpp.data.images import as_image, check_channels, to_levels, to_pixels

SEVERITIES = (1, 2, 3, 4, 5)


class Corruption(NamedTuple):
    """A way to spoil pictures, how much at each severity, and in what unit that is."""

    spoil: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
    strengths: tuple[float, ...]
    unit: str


def corrupt(
    images: np.ndarray, num_levels: int, name: str, severity: int, seed: int = 0
) -> np.ndarray:
    """Spoils pictures.

    Args:
        images: uint8 levels `[count, height, width, channels]`, of 1 or 3 channels.
        num_levels: The number of levels of a sub-pixel.
        name: One of `CORRUPTIONS`.
        severity: One of `SEVERITIES`, the mildest first.
        seed: Same seed, same pictures; where something lies is the same at each severity.

    Returns:
        uint8 levels of the same shape.

    Raises:
        ValueError: If there is no such way or severity.
        UserError: If the pictures have another number of channels.

    Example:

    ```python
    spoilt = corrupt(digits.images, 17, "blur", severity=3)
    ```
    """
    require_choice("name", name, CORRUPTIONS)
    if severity not in SEVERITIES:
        raise ValueError(
            "Invalid value for argument `severity`. Expected an integer from 1 to 5. "
            f"Received: severity={severity!r}"
        )
    check_channels(images)
    way = CORRUPTIONS[name]
    strength = way.strengths[severity - 1]
    spoilt = way.spoil(to_pixels(images, num_levels), strength, np.random.default_rng(seed))
    return to_levels(np.rint(np.clip(spoilt, 0, 255)).astype(np.uint8), num_levels)


def _gaussian_noise(pixels, deviation, rng):
    return pixels + deviation * rng.normal(size=pixels.shape)


def _blur(pixels, sigma, rng):
    return gaussian_filter(pixels.astype(np.float64), (0, sigma, sigma, 0), mode="nearest")


def _contrast(pixels, share, rng):
    mean = pixels.mean(axis=(1, 2), keepdims=True)
    return mean + share * (pixels - mean)


def _brightness(pixels, added, rng):
    return pixels.astype(np.float64) + added


def _jpeg(pixels, quality, rng):
    return np.stack([_through_jpeg(picture, quality) for picture in pixels])


def _through_jpeg(picture, quality):
    buffer = io.BytesIO()
    as_image(picture).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as image:
        return np.asarray(image).reshape(picture.shape)


def _pixelation(pixels, share, rng):
    height, width = pixels.shape[1:3]
    small = max(1, round(share * width)), max(1, round(share * height))
    coarse = [as_image(picture).resize(small, Image.Resampling.BOX) for picture in pixels]
    enlarged = [image.resize((width, height), Image.Resampling.NEAREST) for image in coarse]
    return np.stack([np.asarray(image) for image in enlarged]).reshape(pixels.shape)


def _occlusion(pixels, share, rng):
    spoilt = pixels.copy()
    height, width = pixels.shape[1:3]
    rows, columns = max(1, round(share * height)), max(1, round(share * width))
    for picture, (down, right) in zip(spoilt, rng.random((len(pixels), 2)), strict=True):
        top, left = int(down * (height - rows + 1)), int(right * (width - columns + 1))
        picture[top : top + rows, left : left + columns] = 128
    return spoilt


def _translation(pixels, share, rng):
    # The border is repeated in place of what comes in from beyond it.
    height, width = pixels.shape[1:3]
    down, right = (max(1, round(share * side)) for side in (height, width))
    signs = rng.choice([-1, 1], (len(pixels), 2))
    return np.stack(
        [
            picture[
                np.clip(np.arange(height) - down * sign, 0, height - 1)[:, None],
                np.clip(np.arange(width) - right * other, 0, width - 1),
            ]
            for picture, (sign, other) in zip(pixels, signs, strict=True)
        ]
    )


CORRUPTIONS = {
    "gaussian noise": Corruption(_gaussian_noise, (10, 20, 30, 45, 65), "standard deviation"),
    "blur": Corruption(_blur, (0.4, 0.6, 0.8, 1.1, 1.5), "pixels, standard deviation"),
    "contrast": Corruption(_contrast, (0.75, 0.5, 0.4, 0.3, 0.15), "share that is left"),
    "brightness": Corruption(_brightness, (25, 50, 75, 100, 125), "added to pixels of 0 to 255"),
    "JPEG": Corruption(_jpeg, (80, 50, 25, 15, 7), "quality"),
    "pixelation": Corruption(_pixelation, (0.75, 0.6, 0.5, 0.4, 0.25), "share of the resolution"),
    "occlusion": Corruption(_occlusion, (0.2, 0.3, 0.4, 0.5, 0.6), "side of the grey square"),
    "translation": Corruption(_translation, (0.06, 0.12, 0.19, 0.25, 0.31), "share of the side"),
}
