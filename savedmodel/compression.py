"""Picture files compressed by a model into one file, and that file back into pictures."""

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from keras_pixelcnnpp.codec.container import Compressed, compress_pictures, decompress_pictures
from keras_pixelcnnpp.data.images import (
    check_channels,
    fit_image,
    open_image,
    png_bytes,
    to_levels,
    to_pixels,
)
from keras_pixelcnnpp.errors import UserError, argument_errors
from keras_pixelcnnpp.files import write_bytes
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.sampling.class_samples import class_label
from keras_pixelcnnpp.savedmodel.trained import TrainedModel

# Modes whose pixels come back as they are, in grey or RGB.
_PLAIN_MODES = ("1", "L", "P", "RGB")


def compress_files(
    source: str,
    files: list[Path],
    output: Path,
    resize: str | None,
    label: str | None,
    batch_size: int,
) -> None:
    """Writes the pictures of some files into one, and prints what that saved.

    Args:
        source: The model: see `TrainedModel.find`.
        files: PNG or JPEG files.
        output: The file to write.
        resize: `"crop"` or `"squeeze"`; `None` refuses pictures that would not come back as they
            are.
        label: The class of all pictures, by name or number, or `None` for each one's best.
        batch_size: Integer from 1 to 1024.

    Raises:
        UserError: If there is no such model, or a picture can't be read or doesn't fit it.
    """
    names = _names(files)
    trained = TrainedModel.find(source)
    model = trained.model
    check_channels(np.zeros((1, *model.image_shape)))
    labels = None if label is None else np.full(len(files), class_label(trained.class_names, label))
    pixels = np.stack([_read(file, model, resize) for file in files])
    levels = to_levels(pixels, model.num_levels)
    with argument_errors():
        compressed = compress_pictures(model, levels, labels, names, batch_size)
    write_bytes(output, compressed.data)
    promised = promised_bits(model, levels, compressed.labels)
    _print_table(sizes(compressed, promised, to_pixels(levels, model.num_levels)), levels.size)
    if compressed.num_stored:
        print(f"{compressed.num_stored} pictures did not come back equal and are stored as PNG.")
    print(
        f"Wrote {len(files)} pictures to {output}. Back: pixelcnnpp savedmodel decompress "
        f"{output} --model {source} --output FOLDER"
    )


def decompress_file(file: Path, source: str, output: Path) -> None:
    """Writes the pictures that `compress_files` put into a file, as PNG files of their names.

    Raises:
        UserError: If the file is damaged or of another model, backend or machine, or a name in it
            leads out of the folder. Nothing is written then.
    """
    if not file.is_file():
        raise UserError(f"{file}: no such file")
    model = TrainedModel.find(source).model
    check_channels(np.zeros((1, *model.image_shape)))
    try:
        decompressed = decompress_pictures(model, file.read_bytes())
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    count = len(decompressed.images)
    names = decompressed.names or [f"{index:05d}.png" for index in range(count)]
    paths = [_path_inside(output, name) for name in names]
    for path, pixels in zip(paths, to_pixels(decompressed.images, model.num_levels), strict=True):
        write_bytes(path, png_bytes(pixels))
    print(f"Wrote {count} pictures to {output}")


def promised_bits(model: AutoregressiveModel, levels: np.ndarray, labels: np.ndarray) -> float:
    """What a perfect coder would need for pictures and labels, any label being as likely.

    Args:
        model: The model.
        levels: uint8 `(N, height, width, channels)`.
        labels: Int `(N,)`.

    Returns:
        Bits: the sum of `-log2 p(x | y)` and of the labels' `log2(num_labels)`.
    """
    nats = -model.log_prob(levels, labels, verbose="auto").astype("float64").sum()
    return float(nats / np.log(2) + len(levels) * np.log2(max(model.num_labels, 1)))


def _names(files: list[Path]) -> list[str]:
    """Each file's path below the folder that holds all of them, as that of a PNG file."""
    parent = os.path.commonpath([file.absolute().parent for file in files])
    names = [file.absolute().relative_to(parent).as_posix() for file in files]
    names = [name if name.lower().endswith(".png") else f"{name}.png" for name in names]
    known = {}
    for file, name in zip(files, names, strict=True):
        # Some disks take `a` for `A`.
        if known.setdefault(name.casefold(), file) is not file:
            raise UserError(f"{known[name.casefold()]} and {file} would come back as one file")
    return names


def _read(file: Path, model: AutoregressiveModel, resize: str | None) -> np.ndarray:
    """The pixels of a file, uint8 of the model's shape; refuses what would lose some."""
    height, width, channels = model.image_shape
    image = open_image(file, channels)
    pixels = fit_image(image, (height, width), resize or "crop")
    if resize is not None:
        return pixels
    change = None
    if image.size != (width, height):
        change = f"{image.height}×{image.width} pixels to {height}×{width}"
    elif not _is_plain(file) or not np.array_equal(
        np.broadcast_to(pixels, (height, width, 3)), np.asarray(open_image(file, 3))
    ):
        change = f"its colours to {'grey' if channels == 1 else 'RGB'}"
    elif not np.array_equal(
        to_pixels(to_levels(pixels, model.num_levels), model.num_levels), pixels
    ):
        change = f"its pixels to {model.num_levels} levels"
    if change:
        raise UserError(
            f"{file} would not come back as it is: the model changes {change}. Let it, with "
            "--resize crop or --resize squeeze"
        )
    return pixels


def _is_plain(file):
    with Image.open(file) as image:
        return image.mode in _PLAIN_MODES and not image.has_transparency_data


def _path_inside(folder: Path, name: str) -> Path:
    """Where a name from a file that anybody may have written leads to."""
    try:
        path = (folder / name).resolve()
        inside = path.is_relative_to(folder.resolve()) and path != folder.resolve()
    # Links in a circle, a null byte, a text that no disk can name.
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{name!r:.200} is not a usable file name") from error
    if not inside:
        raise UserError(f"{name!r:.200} leads out of the folder")
    return path


def sizes(compressed: Compressed, promised: float, pixels: np.ndarray) -> list[tuple[str, float]]:
    """What pictures came to, in bytes, beside what was promised and other lossless formats.

    Args:
        compressed: By the codec.
        promised: What `promised_bits` says.
        pixels: uint8 `[count, height, width, channels]`, 0 to 255.
    """
    return [
        ("promised, −log2 p", promised / 8),
        ("coded", compressed.num_coded_bytes),
        ("the file, with names and checksums", len(compressed.data)),
        ("as WebP files", bytes_as(pixels, "WEBP", lossless=True, quality=100, method=6)),
        ("as PNG files", bytes_as(pixels, "PNG", optimize=True)),
    ]


def _print_table(rows: list[tuple[str, float]], dimensions: int) -> None:
    table = Table()
    table.add_column("")
    table.add_column("bytes", justify="right")
    table.add_column("bits/dim", justify="right")
    for name, size in rows:
        table.add_row(name, f"{size:,.0f}", f"{8 * size / dimensions:.3f}")
    Console().print(table)


def bytes_as(pixels: np.ndarray, kind: str, **options) -> int:
    """The length of pictures in a lossless format, all together."""
    buffer, total = io.BytesIO(), 0
    for picture in pixels:
        buffer.seek(0)
        buffer.truncate()
        Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture).save(
            buffer, kind, **options
        )
        total += buffer.tell()
    return total
