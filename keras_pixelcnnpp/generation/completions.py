"""Real pictures, half of which a model draws anew."""

import numpy as np

from keras_pixelcnnpp.datasets.images import to_pixels
from keras_pixelcnnpp.generation.gallery import Gallery
from keras_pixelcnnpp.generation.real_pictures import RealPictures

MOST_ROWS = 10
UNKNOWN = 200  # the grey of what the model doesn't see


def complete_pictures(model, real: RealPictures, count: int, **arguments) -> Gallery | None:
    """Keeps the upper half of real pictures and lets a model draw the lower one several times.

    Args:
        model: A trained `PixelCNNPlusPlus`.
        real: Where the pictures come from: the reference split, one picture of each class.
        count: Positive integer, completions of each picture.
        **arguments: Of `PixelCNNPlusPlus.complete`, such as `seed`.

    Returns:
        A row for each class with the picture, what the model sees of it, and its completions; for
        an unconditional model, rows of the first pictures. `None` if the model needs labels and
        the reference has none.
    """
    rows = _rows(model, real)
    if not len(rows):
        return None
    pictures = real.reference.take(rows)
    half = model.image_shape[0] // 2
    repeated = np.repeat(pictures.images, count, axis=0)
    labels = np.repeat(pictures.labels, count) if model.num_classes else None
    drawn = model.complete(repeated, half, labels, **arguments)
    drawn = drawn.reshape(len(rows), count, *model.image_shape)

    original = to_pixels(pictures.images, model.num_levels)[:, np.newaxis]
    given = original.copy()
    given[:, :, half:] = UNKNOWN
    pixels = [original, given, to_pixels(drawn, model.num_levels)]
    names = [real.class_names[label] if label >= 0 else "" for label in pictures.labels]
    return Gallery(
        np.concatenate(pixels, axis=1),
        tuple(names),
        ("real", "given", "completions", *[""] * (count - 1)),
    )


def _rows(model, real: RealPictures) -> np.ndarray:
    if not model.num_classes:
        return np.arange(min(len(real.reference), MOST_ROWS))
    known, first = np.unique(real.reference.labels, return_index=True)
    return first[known >= 0][:MOST_ROWS]
