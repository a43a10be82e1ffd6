"""`compress` and `decompress`: lossless compression of image files with a model."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import typer

from keras_pixelcnnpp.codec.container import compress_images, decompress_images, num_header_bytes
from keras_pixelcnnpp.commands.helpers import paths_read, require_no_input
from keras_pixelcnnpp.commands.options import CompressOptions, DecompressOptions
from keras_pixelcnnpp.commands.trained_model import TrainedModel, read_files
from keras_pixelcnnpp.data.images import fit_image, open_image, opened
from keras_pixelcnnpp.distributions.bits import bits_unit
from keras_pixelcnnpp.tiled.model import TiledModel
from keras_pixelcnnpp.utils.errors import UserError, say
from keras_pixelcnnpp.utils.files import counted, relative_path, write_bytes

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def compress_files(options: CompressOptions) -> None:
    """Compresses image files, and those below folders, into one file.

    For files that cannot be read, an error is printed, and the command ends with status 2.
    """
    output = options.output
    trained = TrainedModel.named(options)
    files = [file for path in options.images for file in trained.files_in(path)]
    model, tiled = trained.model, options.tiled
    trained.require_files()
    names = _names(files, trained.suffix)
    read = read_files(files, lambda file: trained.read(file, tiled))
    for file, pixels in {} if trained.has_codes else read.items():
        _require_lossless(file, pixels, tiled)
    if len({pixels.shape for pixels in read.values()}) > 1:
        sizes = sorted({f"{pixels.shape[0]}×{pixels.shape[1]}" for pixels in read.values()})
        raise UserError(f"Expected images of one size in a file. Received: {', '.join(sizes)}")
    images, stored = np.stack([*read.values()]), [names[file] for file in read]
    if tiled:
        data = TiledModel(model).compress(images, names=stored, verify=options.verify)
    else:
        data = compress_images(model, images, None, stored, verify=options.verify)
    write_bytes(output, data)
    size, of_header = len(data), num_header_bytes(data)
    header = f"of which {of_header:,} are the header"
    bits = f"{8 * (size - of_header) / images.size:.3f} {bits_unit(model.num_levels)} without it"
    say(f"Wrote {counted(len(images))} to {output}: {counted(size, 'byte')}, {header}; {bits}")
    changed = np.any(model.to_images(model.to_levels(images)) != images, axis=(1, 2, 3)).sum()
    if changed:
        levels = f"the {model.num_levels} levels of the model"
        print(f"{counted(changed)} rounded to {levels}, so the originals cannot be restored.")
    if len(images) < len(files):
        raise typer.Exit(2)


def _names(files: list[Path], suffix: str) -> dict[Path, str]:
    """Returns the name of each file when it is decompressed, relative to the common folder."""
    # Resolved folders have no `..`, which would lead out of the output folder. Links keep names.
    paths = [file.parent.resolve() / file.name for file in files]
    parent = os.path.commonpath([path.parent for path in paths])
    names = [str(relative_path(path.relative_to(parent).as_posix())) for path in paths]
    names = [name if name.lower().endswith(suffix) else f"{name}{suffix}" for name in names]
    known = {}
    for file, name in zip(files, names, strict=True):
        # Some file systems ignore case.
        if known.setdefault(name.casefold(), file) is not file:
            raise UserError(f"{known[name.casefold()]} and {file} would become the same file")
        if CONTROL.search(name):
            raise UserError(f"Rename the file {name!r:.200}, whose name has control characters")
    return dict(zip(files, names, strict=True))


def _require_lossless(file: Path, pixels: np.ndarray, tiled: bool) -> None:
    """Raises a `UserError` unless `pixels`, read from a file, are all that the file contains."""
    height, width, channels = pixels.shape
    deep = pixels.dtype == np.uint16
    with opened(file) as image:
        is_plain = not (image.has_transparency_data or getattr(image, "is_animated", False))
        # The mode does not show 16-bit colors. `open_image` reads only gray images as 16 bits.
        has_8_bits = image.mode in ("1", "L", "P", "RGB") and ";16" not in str(
            getattr(image, "tile", "")
        )
        is_plain &= deep or has_8_bits
    read = open_image(file, 1 if deep else 3, as_uint16=deep)
    original = fit_image(read, (read.height, read.width))
    same = np.broadcast_to(pixels, (height, width, original.shape[-1]))
    if not (is_plain and np.array_equal(same, original)):
        advice = "Convert the file first" + ("" if tiled else "; for larger images, add --tiled")
        kind = f"{16 if deep else 8}-bit {'gray' if channels == 1 else 'RGB'}"
        raise UserError(
            f"{file} cannot be compressed without loss. Expected {height}×{width} pixels, {kind}. "
            f"{advice}"
        )


def decompress_file(options: DecompressOptions) -> None:
    """Decompresses a file of `compress_files` into image files, and replaces existing files.

    Nothing is written if the file is damaged, has invalid names, or needs another model.
    """
    trained, output = TrainedModel.named(options), options.output
    suffix = trained.suffix
    try:
        data = options.file.read_bytes()
        images, _, names = decompress_images(trained.model, data, tiled=options.tiled)
    except UserError as error:
        raise UserError(f"{options.file}: {error}") from error
    names = names or [f"{index:05d}{suffix}" for index in range(len(images))]
    paths = _paths_inside(output, names, suffix)
    options.require_new(paths)
    require_no_input(paths, paths_read(options))
    for path, pixels in zip(paths, images, strict=True):
        write_bytes(path, trained.file_bytes(pixels))
    say(f"Wrote {counted(len(images))} to {output}")


def _paths_inside(folder: Path, names: Sequence[str], suffix: str) -> list[Path]:
    """Returns the paths of files in a folder, after checking their names, which are untrusted."""
    paths = [folder / name for name in names]
    for name, path in zip(names, paths, strict=True):
        try:
            good = str(relative_path(name)) == name and name.lower().endswith(suffix)
            good = good and not CONTROL.search(name)
            # Links in the folder may lead out of it, too.
            good = good and path.resolve().is_relative_to(folder.resolve())
        # Circular links, null bytes and names that the file system rejects.
        except (OSError, RuntimeError, ValueError):
            good = False
        if not good:
            raise UserError(
                f"Invalid file name. Expected the relative path of a {suffix} file, as `compress` "
                f"stores it. Received: {name!r:.200}"
            )
    if len({name.casefold() for name in names}) < len(names):
        raise UserError("Two of the compressed images have the same file name")
    return paths
