"""Work on many pictures, cut into blocks."""

from abc import ABC, abstractmethod
from pathlib import Path

from keras_pixelcnnpp.atomic import atomic_path, remove_leftovers, write_json
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.exported_model import ExportedModel
from keras_pixelcnnpp.json_files import read_json


class BlockJob(ABC):
    """Work whose result is a folder with a part, a file or a folder, for every block.

    A part depends on the inputs of the job and on the number of its block, not on who makes it or
    after which others, and appears whole or not at all. So the work may be done by one process or
    by several, and what was broken off goes on with the parts that are missing.

    Args:
        output: The folder for the parts, `job.json` and `summary.json`.
        inputs: All that the parts depend on, as JSON has it. A folder made from others is refused.
        num_blocks: The number of parts.
    """

    def __init__(self, output: str | Path, inputs: dict, num_blocks: int):
        self.output = Path(output)
        self.inputs = inputs
        self.num_blocks = num_blocks

    @abstractmethod
    def part_name(self, block: int) -> str:
        """The name of a part, in the folder `output`."""

    @abstractmethod
    def write(self, exported: ExportedModel, block: int, path: Path) -> None:
        """Computes a block and writes it to `path`, a file or a folder to be made."""

    @abstractmethod
    def is_whole(self, block: int) -> bool:
        """Whether the part, which exists, has all that it should have."""

    @abstractmethod
    def summary(self) -> dict:
        """What there is to say of all parts together, as JSON has it."""

    def part(self, block: int) -> Path:
        """Where the part of a block lies."""
        return self.output / self.part_name(block)

    def start(self) -> list[int]:
        """Takes the output folder, new or broken off, and returns the blocks still to be done.

        Raises:
            UserError: if the folder belongs to other work.
        """
        if self.output.exists() and not self.output.is_dir():
            raise UserError(f"{self.output} is not a folder")
        description = self.output / "job.json"
        if description.exists():
            self._compare(read_json(description))
        elif self.output.exists():
            remove_leftovers(self.output)
            if any(self.output.iterdir()):
                raise UserError(f"{self.output} has other files and no job.json: choose another")
        write_json(description, self.inputs)
        return [block for block in range(self.num_blocks) if not self._is_done(block)]

    def run(self, exported: ExportedModel, block: int) -> None:
        """Does one block. What an earlier run left of its part is replaced."""
        with atomic_path(self.part(block)) as temporary:
            self.write(exported, block, temporary)

    def finish(self) -> dict:
        """Writes `summary.json`, when all parts are there, and returns its content."""
        summary = self.summary()
        write_json(self.output / "summary.json", summary)
        return summary

    def _is_done(self, block: int) -> bool:
        return self.part(block).exists() and self.is_whole(block)

    def _compare(self, found: dict) -> None:
        names = dict.fromkeys([*self.inputs, *found])
        other = [name for name in names if found.get(name) != self.inputs.get(name)]
        if other:
            raise UserError(
                f"{self.output} was begun with other inputs ({', '.join(other)}): "
                "choose another folder"
            )
