"""Picture files compressed by a model into one file, and that file back into pictures."""

import io
import os
import shlex
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from keras_pixelcnnpp.codec.container import (
    Compressed,
    compress_pictures,
    decompress_pictures,
    model_checksum,
    read_header,
)
from keras_pixelcnnpp.data.images import (
    as_image,
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
from keras_pixelcnnpp.savedmodel.jobs import digest_of, pictures_below
from keras_pixelcnnpp.savedmodel.parts import BlockJob, make_parts
from keras_pixelcnnpp.savedmodel.trained import TrainedModel

# Modes whose pixels come back as they are, in grey or RGB.
_PLAIN_MODES = ("1", "L", "P", "RGB")


class CompressionJob(BlockJob):
    """Pictures compressed by a model; a part is a file that can be decompressed by itself."""

    def __init__(
        self,
        trained: TrainedModel,
        files: list[Path],
        output: Path,
        resize: str | None = None,
        label: str | None = None,
        batch_size: int = 100,
        part_size: int | None = None,
    ):
        check_channels(np.zeros((1, *trained.image_shape)))
        self.files = [file for source in files for file in _pictures_of(source)]
        self.names = _names(self.files)
        self.resize = resize
        self.label = None if label is None else class_label(trained.class_names, label)
        self.batch_size = batch_size
        self.part_size = part_size or len(self.files)
        self.model_checksum = model_checksum(trained.model)
        inputs = {
            "job": "compressing",
            "model": self.model_checksum,
            "pictures": digest_of(self.files, self.names),
            "resize": resize,
            "label": self.label,
            "part_size": self.part_size,
            "batch_size": batch_size,
        }
        super().__init__(output, inputs, -(-len(self.files) // self.part_size))

    def part_name(self, block: int) -> str:
        return f"pictures-{block:05d}.pxc"

    def compress(self, model: AutoregressiveModel, block: int) -> tuple[np.ndarray, Compressed]:
        """The levels of a block's pictures, and what became of them."""
        files, names = self.files[self._slice(block)], self.names[self._slice(block)]
        pixels = np.stack([_read(file, model, self.resize) for file in files])
        levels = to_levels(pixels, model.num_levels)
        labels = None if self.label is None else np.full(len(files), self.label)
        with argument_errors():
            return levels, compress_pictures(model, levels, labels, names, self.batch_size)

    def write(self, model: AutoregressiveModel, block: int, path: Path) -> None:
        path.write_bytes(self.compress(model, block)[1].data)

    def is_whole(self, block: int) -> bool:
        try:
            header = read_header(self.part(block).read_bytes())
        except (OSError, UserError):
            return False
        there = header.get("model"), header["names"]
        return there == (self.model_checksum, self.names[self._slice(block)])

    def summary(self) -> dict:
        """Counts of pictures and of those stored as PNG; bytes before, of the parts, coded."""
        parts = [self.part(block).read_bytes() for block in range(self.num_blocks)]
        headers = [read_header(part) for part in parts]
        return {
            "pictures": len(self.files),
            "stored": sum(len(header["stored"]) for header in headers),
            "bytes_coded": sum(sum(header["streams"]) for header in headers),
            "bytes": sum(map(len, parts)),
            "bytes_before": sum(file.stat().st_size for file in self.files),
        }

    def _slice(self, block):
        return slice(block * self.part_size, (block + 1) * self.part_size)


def compress_files(
    source: str,
    files: list[Path],
    output: Path,
    resize: str | None,
    label: str | None,
    batch_size: int,
    part_size: int | None = None,
) -> None:
    """Writes the pictures of some files into one, or into parts, and prints what that saved.

    Args:
        source: The model: see `TrainedModel.find`.
        files: PNG or JPEG files, and folders of them.
        output: The file to write; with `part_size`, a folder.
        resize: `"crop"` or `"squeeze"`; `None` refuses pictures that would not come back as they
            are.
        label: The class of all pictures, by name or number, or `None` for each one's best.
        batch_size: Integer from 1 to 1024.
        part_size: Integer, pictures in a part, or `None` for a single file.

    Raises:
        UserError: If there is no such model, or a picture can't be read or doesn't fit it.
    """
    trained = TrainedModel.find(source)
    job = CompressionJob(trained, files, output, resize, label, batch_size, part_size)
    dimensions = len(job.files) * int(np.prod(trained.image_shape))
    if part_size is None:
        levels, compressed = job.compress(trained.model, 0)
        write_bytes(output, compressed.data)
        promised = promised_bits(trained.model, levels, compressed.labels)
        rows = sizes(compressed, promised, to_pixels(levels, trained.num_levels))
        stored, where = compressed.num_stored, f"{output}"
    else:
        summary = make_parts(job, trained.model)
        rows = [
            ("coded", summary["bytes_coded"]),
            ("the parts, with names and checksums", summary["bytes"]),
            ("the files as they were", summary["bytes_before"]),
        ]
        stored, where = summary["stored"], f"{job.num_blocks} parts in {output}"
    _print_table(rows, dimensions)
    if stored:
        print(f"{stored} pictures did not come back equal and are stored as PNG.")
    print(
        f"Wrote {len(job.files)} pictures to {where}. Back: pixelcnnpp savedmodel decompress "
        f"{shlex.join([str(output), '--model', str(source)])} --output FOLDER"
    )


def decompress_file(file: Path, source: str, output: Path) -> None:
    """Writes the pictures that `compress_files` put into a file, as PNG files of their names.

    Args:
        file: The file, or the folder of parts; all of them must be there.
        source: The model: see `TrainedModel.find`.
        output: The folder of the pictures.

    Raises:
        UserError: If the file is damaged or of another model, backend or machine, or a name in it
            leads out of the folder. Nothing of that file is written then.
    """
    parts = _parts(file)
    model = TrainedModel.find(source).model
    check_channels(np.zeros((1, *model.image_shape)))
    count = 0
    for part in parts:
        try:
            decompressed = decompress_pictures(model, part.read_bytes())
        except UserError as error:
            raise UserError(f"{part}: {error}") from error
        images = to_pixels(decompressed.images, model.num_levels)
        names = decompressed.names or [f"{index:05d}.png" for index in range(len(images))]
        paths = [_path_inside(output, name) for name in names]
        for path, pixels in zip(paths, images, strict=True):
            write_bytes(path, png_bytes(pixels))
        count += len(images)
    print(f"Wrote {count} pictures to {output}")


def _parts(file: Path) -> list[Path]:
    """The files that a job wrote, all of them, or the one file."""
    if file.is_file():
        return [file]
    if not file.is_dir():
        raise UserError(f"{file}: no such file")
    parts = sorted(file.glob("pictures-*.pxc"))
    # Written when all parts are there.
    if not parts or not (file / "summary.json").is_file():
        raise UserError(
            f"{file} holds no compressed pictures, or not all parts of them: compressing that was "
            "broken off goes on with the same command"
        )
    return parts


def _pictures_of(source: Path) -> list[Path]:
    if source.is_dir():
        return [source / path for path in pictures_below(source)]
    if not source.is_file():
        raise UserError(f"{source}: no such file")
    return [source]


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
    total = 0
    for picture in pixels:
        buffer = io.BytesIO()
        as_image(picture).save(buffer, kind, **options)
        total += buffer.tell()
    return total
