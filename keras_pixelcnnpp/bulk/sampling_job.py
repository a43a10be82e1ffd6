"""Drawing many pictures with an exported model."""

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np

from keras_pixelcnnpp.bulk.block_job import BlockJob
from keras_pixelcnnpp.exported_model import ExportedModel
from keras_pixelcnnpp.generation.class_samples import picture_names
from keras_pixelcnnpp.generation.exported_sampling import sample_batch

# The end of every PNG file: a chunk of length 0, its name and its checksum.
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"


class SamplingJob(BlockJob):
    """The pictures that `sample_exported` draws, batch by batch.

    Each part is a folder of PNG files, `part-00000` and so on, named as `ClassSamples.write` names
    them, all parts together.

    Args:
        labels: int `[count]`, the class of each picture.
        output: The folder for the parts.
        exported: The exported model, which is not kept.
        seed, temperature, batch_size: As for `sample_exported`. A part is a batch.

    Example:

    ```python
    exported = ExportedModel("runs/digits/savedmodel")
    job = SamplingJob(np.repeat(np.arange(10), 10_000), "samples", exported, seed=1)
    for block in write_parts(job, job.start(), exported):
        print(f"part {block} is written")
    job.finish()
    ```
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
