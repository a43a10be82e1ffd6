"""What is done in parts: all pictures below a folder scored, or many drawn."""

import csv
import hashlib
import io
import os
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np

from keras_pixelcnnpp.data.folders import file_inside, visible_files
from keras_pixelcnnpp.data.images import SUFFIXES, read_image, to_levels
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.export.saved_model import ExportedModel, sample_batch
from keras_pixelcnnpp.sampling.class_samples import picture_names
from keras_pixelcnnpp.savedmodel.parts import BlockJob

# File names need not be UTF-8.
_TEXT = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}


class ScoringJob(BlockJob):
    """Class, probabilities and bits per dimension of every PNG and JPEG file below a folder.

    A part is a CSV file: `path,predicted,class,bits_per_dim,p_0,p_1,…,error`, sorted by path. A
    picture that can't be read has the class -1, empty values and the reason in `error`.
    """

    def __init__(
        self,
        data: str | Path,
        output: str | Path,
        exported: ExportedModel,
        part_size: int = 512,
        batch_size: int = 64,
    ):
        self.data = Path(data)
        self.paths = pictures_below(self.data)
        self.class_names = exported.class_names
        probabilities = (f"p_{label}" for label in range(len(self.class_names)))
        self.columns = ["path", "predicted", "class", "bits_per_dim", *probabilities, "error"]
        self.part_size = part_size
        self.batch_size = batch_size
        inputs = {
            "job": "scoring",
            "model": exported.fingerprint(),
            "pictures": digest_of([self.data / path for path in self.paths], self.paths),
            "part_size": part_size,
            "batch_size": batch_size,
        }
        super().__init__(output, inputs, -(-len(self.paths) // part_size))

    def part_name(self, block: int) -> str:
        return f"scores-{block:05d}.csv"

    def write(self, exported: ExportedModel, block: int, path: Path) -> None:
        with path.open("w", **_TEXT) as file:
            writer = csv.writer(file)
            writer.writerow(self.columns)
            writer.writerows(self._score(exported, self._block_paths(block)))

    def is_whole(self, block: int) -> bool:
        try:
            rows = self._rows(block)
        except (OSError, ValueError, csv.Error):
            return False
        # A row that is too short has None for the values that it lacks.
        whole = all(list(row) == self.columns and None not in row.values() for row in rows)
        return whole and [row["path"] for row in rows] == self._block_paths(block)

    def summary(self) -> dict:
        """Counts of pictures, of unreadable ones and of each class; mean bits per dimension."""
        predicted, bits = Counter(), []
        for row in chain.from_iterable(map(self._rows, range(self.num_blocks))):
            predicted[int(row["predicted"])] += 1
            if not row["error"]:
                bits.append(float(row["bits_per_dim"]))
        return {
            "pictures": len(self.paths),
            "unreadable": predicted[-1],
            "classes": {name: predicted[label] for label, name in enumerate(self.class_names)},
            "bits_per_dim": float(np.mean(bits)) if bits else None,
        }

    def _block_paths(self, block: int) -> list[str]:
        return self.paths[block * self.part_size : (block + 1) * self.part_size]

    def _rows(self, block: int) -> list[dict[str, str]]:
        with self.part(block).open(**_TEXT) as file:
            text = file.read()
        if not text.endswith("\n"):
            raise ValueError("The last row is broken off")
        return list(csv.DictReader(io.StringIO(text, newline="")))

    def _score(self, exported: ExportedModel, paths: list[str]) -> list[list]:
        pictures, errors = {}, {}
        for path in paths:
            try:
                pictures[path] = self._read(path, exported)
            except UserError as error:
                errors[path] = str(error)
        scores = self._classify(exported, pictures) if pictures else {}
        empty = [-1, *[""] * (len(self.columns) - 3)]
        return [[path, *scores.get(path, empty), errors.get(path, "")] for path in paths]

    def _read(self, path: str, exported: ExportedModel) -> np.ndarray:
        file = file_inside(self.data, path)
        try:
            return read_image(file, exported.image_shape, exported.resize)
        except UserError as error:
            # The same wherever the folder lies.
            raise UserError(str(error).removeprefix(f"{file}: ")) from error

    def _classify(self, exported: ExportedModel, pictures: dict[str, np.ndarray]) -> dict:
        levels = to_levels(np.stack(list(pictures.values())), exported.num_levels)
        result = exported.call_in_batches("classify", self.batch_size, images=levels)
        columns = (result["class_id"], result["bits_per_dim"], result["probabilities"])
        return {
            path: [int(label), self.class_names[label], f"{bits:.6g}", *(f"{p:.6g}" for p in row)]
            for path, label, bits, row in zip(pictures, *columns, strict=True)
        }


def pictures_below(folder: Path) -> list[str]:
    """The paths of all PNG and JPEG files below a folder, sorted; at least one."""
    if not folder.is_dir():
        raise UserError(f"No such folder: {folder}")
    paths = sorted(
        file.relative_to(folder).as_posix()
        for file in visible_files(folder)
        if file.suffix.lower() in SUFFIXES
    )
    if not paths:
        raise UserError(f"{folder} holds no PNG or JPEG file")
    return paths


def digest_of(files: list[Path], names: list[str]) -> str:
    """A digest of names, and of their files' sizes and times of change."""
    digest = hashlib.sha256()
    for file, name in zip(files, names, strict=True):
        # As rsync does: reading all pictures again each time would take too long.
        facts = file.stat()
        digest.update(repr((os.fsencode(name), facts.st_size, facts.st_mtime_ns)).encode())
    return digest.hexdigest()


# The end of every PNG file: a chunk of length 0, its name and its checksum.
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"


class SamplingJob(BlockJob):
    """The pictures that `sample_exported` draws; a part is a folder with those of one batch.

    Their names are those that `ClassSamples.write` would give them, all parts together.
    """

    def __init__(
        self,
        labels: np.ndarray,
        output: str | Path,
        exported: ExportedModel,
        seed: int = 0,
        temperature: float = 1.0,
        batch_size: int = 100,
    ):
        self.labels = np.asarray(labels, "int32")
        self.names = picture_names(self.labels, exported.class_names)
        self.class_names = exported.class_names
        self.seed = seed
        self.temperature = temperature
        self.batch_size = batch_size
        inputs = {
            "job": "sampling",
            "model": exported.fingerprint(),
            "labels": hashlib.sha256(self.labels.astype("<i4").tobytes()).hexdigest(),
            "seed": seed,
            "temperature": temperature,
            "batch_size": batch_size,
        }
        super().__init__(output, inputs, -(-len(self.labels) // batch_size))

    def part_name(self, block: int) -> str:
        return f"part-{block:05d}"

    def write(self, exported: ExportedModel, block: int, path: Path) -> None:
        start = block * self.batch_size
        samples = sample_batch(
            exported, self.labels, start, self.seed, self.temperature, self.batch_size
        )
        samples.write(path, self._block_names(block))

    def is_whole(self, block: int) -> bool:
        files = {file.name: file for file in self.part(block).glob("*")}
        return set(files) == set(self._block_names(block)) and all(
            file.is_file() and file.read_bytes().endswith(_PNG_END) for file in files.values()
        )

    def summary(self) -> dict:
        """Counts of pictures, and of those of each class."""
        counts = Counter(self.labels.tolist())
        classes = {name: counts[label] for label, name in enumerate(self.class_names)}
        return {"pictures": len(self.labels), "classes": classes}

    def _block_names(self, block: int) -> list[str]:
        return self.names[block * self.batch_size : (block + 1) * self.batch_size]
