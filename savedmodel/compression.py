"""Image files compressed by a model into one file, and that file back into images."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from keras_pixelcnnpp.codec.container import compress_images, decompress_images
from keras_pixelcnnpp.data.images import check_channels, open_image, png_bytes, read_image
from keras_pixelcnnpp.distributions.bits import bits_unit
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.files import counted, write_bytes
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.savedmodel.large_sets import images_below
from keras_pixelcnnpp.savedmodel.trained import TrainedModel

# Modes whose pixels come back as they are, in gray or RGB.
_PLAIN_MODES = ("1", "L", "P", "RGB")


def compress_files(given: dict, sources: list[Path], output: Path, resize: str | None) -> None:
    """Writes the images of some files, and of all below folders, into one.

    `given` names the model, as arguments of `TrainedModel.named`. Without `resize`, images that
    would not come back as they are are refused.
    """
    model = TrainedModel.named(**given).model
    check_channels(model.image_shape)
    files = [
        file
        for path in sources
        for file in (map(path.joinpath, images_below(path)) if path.is_dir() else [path])
    ]
    images = np.stack([_read(file, model, resize) for file in files])
    compressed = compress_images(model, images, None, _names(files))
    write_bytes(output, compressed.data)
    size = len(compressed.data)
    bits = f"{8 * size / images.size:.3f} {bits_unit(model.num_levels)}"
    ((option, value),) = given.items()
    words = shlex.join(["pixelcnnpp", "decompress", str(output), f"--{option}", str(value)])
    print(
        f"Wrote {counted(len(files))} to {output}: {counted(size, 'byte')}, {bits}. "
        f"Back: {words} --output FOLDER"
    )


def _names(files: list[Path]) -> list[str]:
    """Each file's path below the folder that holds all of them, as that of a PNG file."""
    # Without `..`, which would lead out of the folder they come back to; a link keeps its name.
    paths = [file.parent.resolve() / file.name for file in files]
    parent = os.path.commonpath([path.parent for path in paths])
    names = [path.relative_to(parent).as_posix() for path in paths]
    names = [name if name.lower().endswith(".png") else f"{name}.png" for name in names]
    known = {}
    for file, name in zip(files, names, strict=True):
        # Some disks take `a` for `A`.
        if known.setdefault(name.casefold(), file) is not file:
            raise UserError(f"{known[name.casefold()]} and {file} would come back as one file")
    return names


def _read(file: Path, model: AutoregressiveModel, resize: str | None) -> np.ndarray:
    """A file's image, uint8 of the model's shape; refuses one of other size or color."""
    found = read_image(file, model.image_shape, resize or "center_crop")
    if resize is not None:
        return found
    with Image.open(file) as image:
        is_plain = image.mode in _PLAIN_MODES and not image.has_transparency_data
        # 16 bits of a color, or several frames, are not in the mode.
        is_plain &= ";16" not in str(image.tile) and getattr(image, "n_frames", 1) == 1
    original = np.asarray(open_image(file, 3))
    if not (is_plain and np.array_equal(np.broadcast_to(found, (*found.shape[:2], 3)), original)):
        height, width, channels = model.image_shape
        raise UserError(
            f"{file} would not come back as it is. Expected {height}×{width} pixels, "
            f"{'gray' if channels == 1 else 'RGB'}. To let it be changed, add --resize center_crop "
            "or --resize stretch"
        )
    return found


def decompress_file(given: dict, file: Path, output: Path) -> None:
    """Writes the images that `compress_files` put into a file, as PNG files of their names.

    `given` names the model, as arguments of `TrainedModel.named`. Nothing is written if the file is
    damaged or of another model, or a name in it is none that `compress_files` gives. Files of the
    same names are replaced.
    """
    model = TrainedModel.named(**given).model
    try:
        images, _, names = decompress_images(model, file.read_bytes())
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    paths = _paths_inside(output, names or [f"{index:05d}.png" for index in range(len(images))])
    for path, pixels in zip(paths, images, strict=True):
        write_bytes(path, png_bytes(pixels))
    print(f"Wrote {counted(len(images))} to {output}")


def _paths_inside(folder: Path, names: Sequence[str]) -> list[Path]:
    """Where names from a file that anybody may have written lead to."""
    paths = [folder / name for name in names]
    for name, path in zip(names, paths, strict=True):
        parts = PurePosixPath(name).parts
        good = "/".join(parts) == name and ".." not in parts and name.lower().endswith(".png")
        try:
            # Of a link in the folder, or another system's kind of path, too.
            good = good and path.resolve().is_relative_to(folder.resolve())
        # Links in a circle, a null byte, a text that no disk can name.
        except (OSError, RuntimeError, ValueError):
            good = False
        if not good:
            raise UserError(f"{name!r:.200} is no name that `compress` gives to a file")
    if len({name.casefold() for name in names}) < len(names):
        raise UserError("Two of the images have the same name")
    return paths
