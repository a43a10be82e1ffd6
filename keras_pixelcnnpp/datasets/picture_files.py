"""Picture files below a folder that is not trusted."""

from pathlib import PurePosixPath

import numpy as np

from keras_pixelcnnpp.datasets.images import read_image
from keras_pixelcnnpp.datasets.labelled_images import LabelledImages
from keras_pixelcnnpp.errors import UserError


def file_inside(folder, path):
    """Returns the file that `path`, relative to `folder`, leads to.

    Args:
        folder: `pathlib.Path` of the data.
        path: String with forward slashes, from a file that anybody may have written.

    Returns:
        The resolved `pathlib.Path`.

    Raises:
        UserError: If the path is absolute, has `..`, or leads out of the folder by a link; or if
            there is no such file.
    """
    relative = PurePosixPath(path)
    if relative.is_absolute() or ".." in relative.parts:
        raise UserError(f"{path!r} must be a path below the folder, without '..'")
    try:
        file = (folder / relative).resolve()
        # First, so that the answer doesn't tell which files exist elsewhere.
        if not file.is_relative_to(folder.resolve()):
            raise UserError(f"{path!r} leads out of the folder")
        if not file.is_file():
            raise UserError(f"{path!r}: no such file")
    # Links in a circle; names that are too long or hold a null byte.
    except (OSError, RuntimeError) as error:
        raise UserError(f"{path!r} is not a usable path: {error}") from error
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path!r} is not a usable path: {error}") from error
    return file


def read_pictures(files, labels, paths, image_shape, places):
    """Reads all pictures of a split.

    Args:
        files: Sequence of `pathlib.Path`.
        labels: Sequence of integers, -1 for unlabeled.
        paths: Sequence of strings, what to call each file in reports.
        image_shape: Triple of integers `(height, width, channels)`.
        places: Sequence of strings, where a bad file is listed.

    Returns:
        `LabelledImages` with 256 levels.

    Raises:
        UserError: If a file can't be read; the message names its place.
    """
    images = np.empty((len(files), *image_shape), dtype="uint8")
    for row, (file, place) in enumerate(zip(files, places, strict=True)):
        try:
            images[row] = read_image(file, image_shape)
        except UserError as error:
            raise UserError(f"{place}: {error}") from error
    return LabelledImages(images, np.asarray(labels, dtype="int32"), tuple(paths))
