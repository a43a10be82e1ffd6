"""Pictures of a model's size and levels that it was not made for."""

import numpy as np

from keras_pixelcnnpp.datasets.digits import load_digits
from keras_pixelcnnpp.datasets.images import resize_images, to_levels, to_pixels
from keras_pixelcnnpp.errors import UserError


def foreign_inputs(
    images: np.ndarray, num_levels: int, source: str = "", seed: int = 0
) -> dict[str, np.ndarray]:
    """Makes sets of foreign pictures, as many in each as there are familiar ones.

    Two kinds: other pictures (cut-outs of photographs, handwritten digits, noise, one colour), and
    the familiar pictures themselves, spoilt: pixels or rows shuffled, turned upside down, inverted.
    Everything comes with scikit-learn's installation.

    Args:
        images: uint8 `[count, height, width, channels]`, the familiar pictures: levels; 1 or 3
            channels.
        num_levels: The number of levels.
        source: What the familiar pictures are; `"digits"` are not foreign to `"digits"`.
        seed: Of everything that is random.

    Returns:
        uint8 levels `[count, height, width, channels]` by name.

    Raises:
        UserError: if the pictures have neither 1 nor 3 channels.

    Example:

    ```python
    digits = load_dataset("digits").split("test").images
    foreign_inputs(digits, 17, "digits").keys()      # photographs, uniform noise, …
    ```
    """
    if images.shape[-1] not in (1, 3):
        raise UserError(
            f"Foreign pictures can be made for 1 or 3 channels only. These have {images.shape[-1]}."
        )
    rng = np.random.default_rng(seed)
    shape = images.shape
    sets = {"photographs": to_levels(_photographs(shape, rng), num_levels)}
    if source != "digits":
        sets["digits"] = to_levels(_digits(shape, rng), num_levels)
    return {
        **sets,
        "uniform noise": rng.integers(0, num_levels, shape, dtype=np.uint8),
        "one colour": _one_colour(shape, num_levels, rng),
        "pixels shuffled": _shuffled(images.reshape(len(images), -1, shape[-1]), rng).reshape(
            shape
        ),
        "rows shuffled": _shuffled(images, rng),
        "upside down": images[:, ::-1],
        "inverted": (num_levels - 1 - images).astype(np.uint8),
    }


def _photographs(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Random cut-outs of scikit-learn's two sample photographs, in pixels 0…255."""
    from sklearn.datasets import load_sample_images

    photographs = load_sample_images().images
    count, height, width, channels = shape
    cut_outs = []
    for index in range(count):
        photograph = photographs[index % len(photographs)]
        whole = photograph.shape[:2]
        # From a detail to as much as fits in.
        scale = rng.uniform(0.25, 1) * min(whole[0] / height, whole[1] / width)
        rows, columns = max(1, int(height * scale)), max(1, int(width * scale))
        top = rng.integers(0, whole[0] - rows + 1)
        left = rng.integers(0, whole[1] - columns + 1)
        cut_out = photograph[None, top : top + rows, left : left + columns]
        cut_outs.append(resize_images(cut_out, (height, width), channels)[0])
    return np.stack(cut_outs)


def _digits(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """scikit-learn's handwritten digits, in pixels 0…255."""
    digits = load_digits().split("train").images
    chosen = digits[rng.choice(len(digits), shape[0], replace=shape[0] > len(digits))]
    return resize_images(to_pixels(chosen, 17), shape[1:3], shape[3])


def _one_colour(shape: tuple[int, ...], num_levels: int, rng: np.random.Generator) -> np.ndarray:
    count, _, _, channels = shape
    colours = rng.integers(0, num_levels, (count, 1, 1, channels), dtype=np.uint8)
    return np.broadcast_to(colours, shape).copy()


def _shuffled(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each picture's first axis in an order of its own."""
    places = np.tile(np.arange(images.shape[1]), (len(images), 1))
    return images[np.arange(len(images))[:, None], rng.permuted(places, axis=1)]
