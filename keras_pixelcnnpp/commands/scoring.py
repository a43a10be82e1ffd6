"""The commands `classify` and `score`."""

import hashlib
import io
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import typer

from keras_pixelcnnpp.commands.given import NOTHING, Given, given_by, pairs_in
from keras_pixelcnnpp.commands.options import ClassifyOptions, ScoreOptions
from keras_pixelcnnpp.commands.processes import map_blocks
from keras_pixelcnnpp.commands.trained_model import (
    TrainedModel,
    files_below,
    print_notes,
)
from keras_pixelcnnpp.data.folders import file_inside
from keras_pixelcnnpp.data.identity import trained_on_text
from keras_pixelcnnpp.data.images import SUFFIXES, Changes
from keras_pixelcnnpp.distributions.bits import bits_unit
from keras_pixelcnnpp.models.grid_posterior import vectors_of
from keras_pixelcnnpp.tiled.model import TiledModel
from keras_pixelcnnpp.utils.backend import graphs_as_traced
from keras_pixelcnnpp.utils.errors import UserError, say
from keras_pixelcnnpp.utils.files import (
    class_numbers,
    counted,
    read_cells,
    read_json,
    sha256,
    write_cells,
    write_csv,
    write_json,
    write_predictions,
)

# File names need not be UTF-8.
_TEXT: dict[str, Any] = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}


def classify_files(options: ClassifyOptions) -> None:
    """Classifies image files, and prints a line for each, and the accuracy if folders give labels.

    For files that cannot be read, an error is printed, and the command ends with status 2.
    """
    trained = TrainedModel.named(options)
    trained.model.conditions.require_classes()
    given = given_by(options, trained)
    model, files = trained.model, dict(_labeled_files(options.images, trained))
    images = trained.read_files(files)
    names, labels = [*map(str, images)], np.array([files[file][0] for file in images])
    pixels, changes = np.stack([*images.values()]), Changes()
    paths = [files[file][1] for file in images]
    others = given.with_maps(given.maps_of(trained, paths, changes=changes))
    print_notes(changes)
    with graphs_as_traced():
        result = trained.classify(pixels, others=others)
    trained_on = trained.trained_on(pixels, images)
    known = labels >= 0
    columns = (result["class_id"], result["probabilities"], result["bits_per_dim"])
    unit = bits_unit(model.num_levels)
    for name, label, probabilities, bits in zip(names, *columns, strict=True):
        found = f"{model.class_names[label]}, {probabilities[label]:.1%}"
        say(f"{name}: {found}, {bits:.3f} {unit}")
    if options.csv is not None:
        of_model = result["probabilities"], model.class_names, result["bits_per_dim"], trained_on
        write_predictions(options.csv, names, labels, *of_model)
        say(f"Wrote {options.csv}")
    if trained_on is not None and trained_on.any():
        print(f"{trained_on_text(trained_on)}.")
    if known.any():
        accuracy = np.mean((result["class_id"] == labels)[known])
        print(f"Accuracy: {accuracy:.1%} of {counted(known.sum())} in folders named after classes")
    if len(images) < len(files):
        raise typer.Exit(2)


def _labeled_files(
    given: list[Path], trained: TrainedModel
) -> Iterator[tuple[Path, tuple[int, str]]]:
    """Yields each image file with its label and its path relative to a given folder.

    The label is that of its innermost class folder, or -1.
    """
    numbers = class_numbers(trained.class_names)
    for path in given:
        if not path.is_dir():
            yield path, (-1, path.name)
            continue
        for name in files_below(path, trained.suffixes):
            parents = [part for part in PurePosixPath(name).parts[:-1] if part in numbers]
            yield path / name, (numbers[parents[-1]] if parents else -1, name)


def score_files(options: ScoreOptions) -> None:
    """Scores all image files below a folder, and prints their mean bits/dim.

    If there are files that cannot be read, the command ends with an error and status 2.
    """
    trained, output = TrainedModel.named(options), options.output
    data, maps = pairs_in(options.data, trained)
    given = given_by(options, trained, maps)
    how = options.resume and not options.overwrite, options.workers
    bits = score_folder(trained, data, output, *how, tiled=options.tiled, others=given)
    good = np.isfinite(bits)
    say(f"Wrote {output}: scored {good.sum()} of {counted(len(bits))}")
    if good.any():
        print(f"Mean: {bits[good].mean():.3f} {bits_unit(trained.model.num_levels)}")
    if not good.all():
        bad = f"{(~good).sum()} of {counted(len(bits))}"
        raise UserError(f"{bad} cannot be read: see the column `error` of {output}")


def score_folder(
    trained: TrainedModel,
    data: Path,
    output: Path,
    resume: bool = False,
    workers: int = 1,
    block_size: int = 256,
    tiled: bool = False,
    others: Given = NOTHING,
) -> np.ndarray:
    """Scores every image file below a folder, and writes a CSV file block by block.

    Its rows are `path,predicted,predicted_name,bits_per_dim,p_0,p_1,…,error`, sorted by path. An
    image that cannot be read has the class -1 and an error message. A model without classes gives
    all images the class -1. `others` has the vector and the maps, for a model that needs them; the
    vector is written after log p(x | h) in nats. With `resume`, an incomplete
    file is completed if the model and the images are those in the JSON file next to it; otherwise,
    both files are replaced. `tiled` scores images at their own size, one at a time.

    Returns:
        Bits per dimension, float `(N,)`, NaN for images that cannot be read.
    """
    paths = files_below(data, trained.suffixes)
    numbers = [f"p_{label}" for label in range(len(trained.class_names))]
    names = vectors_of(trained.model.conditions).names if others.vector else ()
    given_vector = ["log_prob", *names] if others else []
    first = ["path", "predicted", "predicted_name", "bits_per_dim"]
    rows = [[*first, *given_vector, *numbers, "error"]]
    record = Path(f"{output}{ScoreOptions.record}")
    given = {"model": trained.checksum(), **trained.reading, "tiled": tiled}
    given["images"] = _checksum(data, paths)
    given |= {name: value.tolist() for name, value in others.values.items()}
    if others.maps is not None:
        files = files_below(others.maps, (*SUFFIXES, ".npy"))
        given["maps"] = _checksum(others.maps, files)
        others = replace(others, maps=others.maps.absolute())
    block_size = 1 if tiled else block_size
    if resume and (output.exists() or record.exists()):
        if not record.exists() or read_json(record) != given:
            raise UserError(
                f"{output} has scores of another model or of other images. Choose another file"
            )
        rows = (_complete_rows(output) if output.exists() else []) or rows
    starts = range(len(rows) - 1, len(paths), block_size)
    blocks = [paths[start : start + block_size] for start in starts]
    # Absolute, because the workers of a cluster have other working directories.
    results = map_blocks(partial(_score, data.absolute(), tiled, others), blocks, trained, workers)
    bits, changes = _bits_of(rows[1:]), Changes()
    try:
        write_json(record, given)
        write_csv(output, rows)
        with output.open("a", **_TEXT) as file:
            for scored, changed in results:
                changes.update(changed)
                write_cells(file, scored)
                file.flush()
                bits += _bits_of(scored)
    except OSError as error:  # such as a full disk
        raise UserError(f"{output}: {error.strerror}. Continue with --resume") from error
    print_notes(changes, _advice_on_sizes(trained, changes))
    return np.array(bits)


def _advice_on_sizes(trained: TrainedModel, changes: Changes) -> str:
    """Returns the advice to add --tiled, if the model and all images can be processed with it."""
    with suppress(UserError):
        TiledModel(trained.model)
        return "" if changes.any_smaller else "Add --tiled to score them at their own size."
    return ""


def _checksum(data: Path, paths: list[str]) -> str:
    """Returns the SHA-256 of the names and contents of files below a folder, in hexadecimal."""
    digest = hashlib.sha256()
    for path in paths:
        content = ""
        with suppress(OSError):  # an unreadable file becomes an error in its row
            content = sha256(data / path)
        digest.update(repr((path, content)).encode())
    return digest.hexdigest()


def _bits_of(rows: list[list]) -> list[float]:
    return [float(row[3] or "nan") for row in rows]


def _complete_rows(file: Path) -> list[list]:
    """Returns the complete rows of a CSV file that an interrupted command wrote."""
    with file.open(**_TEXT) as opened:
        text = opened.read()
    rows = read_cells(io.StringIO(text, newline=""))
    is_whole = text.endswith("\n") and len(rows[-1]) == len(rows[0])
    return rows if is_whole else rows[:-1]


def _score(
    data: Path,
    tiled: bool,
    others: Given,
    trained: TrainedModel,
    paths: list[str],
) -> tuple[list[list], Changes]:
    """Returns a row of the CSV file for each path, a single one if `tiled`, and how it was read."""
    names, images, maps, rows, changes = trained.class_names, {}, [], {}, Changes()
    for path in paths:
        try:
            pixels = trained.read(file_inside(data, path), tiled, changes)
            size = pixels.shape[:2] if tiled else None
            maps += others.maps_of(trained, [path], size, changes)
            images[path] = pixels
        except UserError as error:
            of_vector = 1 + len(others.vector) if others else 0
            rows[path] = [path, -1, *[""] * (len(names) + 2 + of_vector), error]
    if images:
        given = others.with_maps(maps)
        result = trained.classify(np.stack(list(images.values())), 0, tiled, given)
        columns = (result["class_id"], result["bits_per_dim"], result["probabilities"])
        for path, label, bits, row in zip(images, *columns, strict=True):
            numbers = [float(value) for value in (bits, *row)]
            if others:
                nats = float(-bits * np.log(2) * images[path].size)
                numbers = [numbers[0], nats, *others.vector, *numbers[1:]]
            name = names[label] if label >= 0 else ""
            rows[path] = [path, int(label), name, *numbers, ""]
    return [rows[path] for path in paths], changes
