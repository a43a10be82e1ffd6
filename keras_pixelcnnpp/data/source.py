"""What `--data` names: a built-in data set, an `.npz` file or a folder of image files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from keras_pixelcnnpp.data.dataset import Dataset
from keras_pixelcnnpp.data.images import RESIZES
from keras_pixelcnnpp.utils.checks import MAX_LEVELS, plain, require_choice, require_integer
from keras_pixelcnnpp.utils.errors import invalid_argument


@dataclass(frozen=True)
class LoadOptions:
    """The arguments of `load_dataset` that say how the images of a source are read.

    Raises:
        UserError: If an argument is invalid.
    """

    image_size: int | tuple[int, int] | None = None
    channels: int | None = None
    resize: str = "center_crop"
    skip_corrupted: bool = False
    white_level: int | None = None
    as_uint16: bool = False
    unlabeled_others: bool = False
    vectors: Sequence[str] = ()
    num_codes: int | None = None

    def __post_init__(self) -> None:
        if self.num_codes is not None:
            require_integer("num_codes", self.num_codes, low=2, high=MAX_LEVELS)
        for side in self.size or ():
            require_integer("image_size", side)
        if self.size is not None and len(self.size) != 2:
            expected = "an integer, or a pair (height, width)"
            raise invalid_argument("image_size", self.image_size, expected)
        if self.channels not in (None, 1, 3):
            raise invalid_argument(
                "channels",
                self.channels,
                "1 (gray) or 3 (RGB), as which image files are read. Images of other channels can "
                "be arrays in an .npz file, without this argument",
            )
        require_choice("resize", self.resize, RESIZES)
        if self.as_uint16 and self.white_level is not None:
            expected = "none with `as_uint16`, because it converts to 8 bits"
            raise invalid_argument("white_level", self.white_level, expected)

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the images, `None` for those of the source."""
        size = plain(self.image_size)
        return size if size is None or isinstance(size, tuple) else (size, size)


class DataSource:
    """What `--data` names. A subclass is one form of it, and is an entry of `SOURCES`.

    Args:
        text: A name or a path, which the subclass takes.

    Attributes:
        form: What the subclass takes, in error messages; empty for names.
        has_files: Boolean, whether the images are files below `path`, of any size.
        may_be_codes: Boolean, whether the values may be codes without an order.
        may_be_mirrored: Boolean, whether mirror images are images of the same kind.
        preset: Name of the preset with which `train` trains on the images by default.
        path: `Path` of the file or folder, `None` for a name.
        location: The value of `--data` for the same source in any working directory.
        name: Name of the data in reports and in names of files.
    """

    form: ClassVar[str] = ""
    has_files: ClassVar[bool] = False
    may_be_codes: ClassVar[bool] = False
    may_be_mirrored = True
    preset = "photographs"

    def __init__(self, text: str):
        self.path: Path | None = Path(text)
        self.location = str(self.path.resolve())
        self.name = self.path.stem

    @classmethod
    def takes(cls, text: str) -> bool:
        """Returns whether `text` names a source of this form."""
        raise NotImplementedError

    def load(self, how: LoadOptions) -> Dataset:
        """Loads the images in the splits of the source, or in the split `"all"`.

        They may have another size and other channels than `how` says; `load_dataset` resizes them.
        """
        raise NotImplementedError
