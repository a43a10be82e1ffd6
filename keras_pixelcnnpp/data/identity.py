"""What identifies images: the hash of an image file, and the hash of the values of its pixels.

The hash of a file does not depend on the version of a decoder. The hash of the values is the same
for a file, a copy of it in another lossless format, and an array.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from keras_pixelcnnpp.utils.hashes import array_hashes


class ListedImage(NamedTuple):
    """An image in the list of a data set, which is a row of a run's `split.csv`.

    Args:
        split: Name of its split.
        path: Its path, or its name in an array.
        class_name: Name of its class, empty for an unlabeled image.
        sha256: The beginning of the SHA-256 of its file, or of its values in an array.
        pixels: The beginning of the SHA-256 of its values, uint8 or uint16, as a model gets them.
        condition: Its vector or map, as `Conditions.texts` writes it, empty for none.
    """

    split: str
    path: str
    class_name: str
    sha256: str
    pixels: str = ""
    condition: str = ""


# The images of a data set, in the order of their splits.
Listing = list[ListedImage]


def are_among(
    listing: Iterable[ListedImage],
    images: np.ndarray,
    files: Sequence[str] = (),
    conditions: Sequence[str] = (),
) -> np.ndarray:
    """Returns which images are in a listing, boolean `(N,)`, by their values or their files.

    Args:
        listing: The known images.
        images: Images `(N, height, width, channels)` in the form that a model gets.
        files: Hashes of their files, if they are known.
        conditions: What `Conditions.texts` returns for them. If both the images and the listing
            have vectors or maps, the same image with another one is another image.
    """
    listing = [*listing]
    compared = any(conditions) and any(row.condition for row in listing)
    texts = conditions if compared else [""] * len(images)
    known = {
        (digest, row.condition if compared else "")
        for row in listing
        for digest in (row.sha256, row.pixels)
        if digest
    }
    found = np.zeros(len(images), bool)
    for hashes in filter(None, (array_hashes(images), files)):
        found |= np.array([pair in known for pair in zip(hashes, texts, strict=True)])
    return found


def changes_text(before: Listing, now: Listing) -> str:
    """Returns an example of an image that is missing now, and of a new one, at the end of an error.

    The text is empty if no image is known to have changed.
    """
    missing, new = _only_in(before, now), _only_in(now, before)
    both = [path for path in missing if path in new]
    if both:
        return f": the content or the class of {both[0]} is another"
    found = {"is missing": missing, "is new": new}
    examples = [f"{next(iter(paths))} {what}" for what, paths in found.items() if paths]
    return f": {', '.join(examples)}" if examples else ""


def _only_in(listing: Listing, other: Listing) -> dict[str, None]:
    """Returns the paths of the images that only one of two listings has, in their order."""
    left, paths = Counter((image.class_name, image.condition, image.sha256) for image in other), {}
    for image in listing:
        key = image.class_name, image.condition, image.sha256
        if not left[key]:
            paths[image.path] = None
        left[key] -= left[key] > 0
    return paths


def trained_on_text(known: np.ndarray) -> str:
    """Returns a sentence on how many of the images a model was trained on."""
    return f"Warning: {known.sum():,} of {len(known):,} images were trained on"
