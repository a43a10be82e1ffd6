"""A trained model from a preset, a run or a file, and the files that commands give it."""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_pixelcnnpp.commands.options import ModelOptions
from keras_pixelcnnpp.conditions import Maps
from keras_pixelcnnpp.data.dataset import LabeledImages
from keras_pixelcnnpp.data.folders import visible_files
from keras_pixelcnnpp.data.images import (
    SUFFIXES,
    Changes,
    check_channels,
    fit_image,
    open_image,
    png_bytes,
)
from keras_pixelcnnpp.distributions.bits import bits_per_dim
from keras_pixelcnnpp.layers.posterior import log_marginal
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.presets import Preset
from keras_pixelcnnpp.recipes.recipe import READING, how_to_read
from keras_pixelcnnpp.tiled.model import TiledModel
from keras_pixelcnnpp.training.run import RunFolder
from keras_pixelcnnpp.utils.checks import image_dtype
from keras_pixelcnnpp.utils.errors import UserError, say
from keras_pixelcnnpp.utils.files import npy_bytes, read_array, sha256
from keras_pixelcnnpp.utils.hashes import HASH_LENGTH


class TrainedModel(NamedTuple):
    """A trained model, its source, and the arguments of `read_image` for its image files.

    A file has one image. Images of up to 256 levels are in image files of 8 bits, those of more
    levels in gray image files of 16 bits, whose values are the levels, and codes in `.npy` files.
    """

    model: AutoregressiveModel
    source: str
    reading: dict

    @classmethod
    def named(cls, options: ModelOptions) -> "TrainedModel":
        """Loads the model that a command's options name; `UserError` if it does not exist."""
        if options.run is not None:
            RunFolder(options.run).require_model("pixelcnnpp")
        # The path of the preset, since the working directory may have a file of the same name.
        preset = None if options.preset is None else Preset(options.preset).path
        return cls.find(preset or options.run or options.model)

    @classmethod
    def find(cls, source: str | Path) -> "TrainedModel":
        """Loads a run's model, a preset or a `.keras` file; `UserError` if it does not exist."""
        path, facts = Path(source), {}
        # Images are read as in the training of the run.
        run = _run_of(path)
        if run.exists():
            facts = run.read_config()["data"]
            model = load_trained_model(run.require_model("pixelcnnpp"))
        elif path.suffix == ".keras":
            model = load_trained_model(path)
        else:
            model, facts = AutoregressiveModel.from_preset(source), Preset(source).training
        return cls(model, str(source), {name: facts[name] for name in READING if name in facts})

    def read(
        self, file: Path | bytes, tiled: bool = False, changes: Changes | None = None
    ) -> np.ndarray:
        """Reads a file as in training, uint8 or uint16 `(height, width, channels)`.

        `tiled` keeps its size, which must be at least that of the model. What reading changes is
        added to `changes`.
        """
        height, width, channels = self.model.image_shape
        self.require_files()
        name = "image" if isinstance(file, bytes) else str(file)
        if self.has_codes and isinstance(file, Path):  # the app, which has bytes, takes no codes
            return self._read_codes(file, tiled)
        how = self.values_read["as_uint16"]
        image = open_image(file, channels, self.reading.get("white_level"), how)
        resize = self.reading.get("resize", "center_crop")
        try:
            if tiled:
                height, width = image.height, image.width
                TiledModel(self.model).blocks((height, width))
            pixels = fit_image(image, (height, width), resize)
            if pixels.max() >= self.model.num_values:
                raise UserError(
                    f"expected levels from 0 to {self.model.num_values - 1:,}. "
                    f"Received: values up to {pixels.max():,}"
                )
        except UserError as error:  # too small
            raise UserError(f"{name}: {error}") from error
        if changes is not None:
            changes.add(name, image, pixels, resize)
        return pixels

    def read_map(
        self, file: Path, size: tuple[int, int] | None = None, changes: Changes | None = None
    ) -> np.ndarray:
        """Reads a map, or an array of maps: an `.npy` file, or an image file as in training.

        Image files are resized to the model's maps, or to those of frames of a height and width.
        What reading changes is added to `changes`.
        """
        if file.suffix.lower() not in SUFFIXES or self.has_codes:
            return read_array(file)
        part = next(part for part in self.model.conditions if isinstance(part, Maps))
        if size is not None:
            part = part.of_frame(size, self.model.image_shape)
        height, width, channels = part.shape
        how = self.values_read["as_uint16"]
        image = open_image(file, channels, self.reading.get("white_level"), how)
        resize = self.reading.get("resize", "center_crop")
        pixels = fit_image(image, (height, width), resize)
        if changes is not None:
            changes.add(str(file), image, pixels, resize)
        return pixels

    def _read_codes(self, file: Path, tiled: bool) -> np.ndarray:
        """Reads an array `(height, width)` or `(height, width, channels)` of codes."""
        codes = read_array(file)
        try:
            size = codes.shape[:2] if tiled and codes.ndim > 1 else None
            if size is not None:
                TiledModel(self.model).blocks(size)
            return self.model.checked_images(codes[None], size)[0]
        except UserError as error:
            raise UserError(f"{file}: {error}") from error

    @property
    def has_codes(self) -> bool:
        """Whether the model is one of codes, which have no order and no picture."""
        return not self.model.ordered_levels

    @property
    def values_read(self) -> dict:
        """The arguments of `load_dataset` that say which values the images have."""
        return how_to_read(self.model.num_levels, self.has_codes)

    @property
    def suffixes(self) -> tuple[str, ...]:
        """The extensions of files that can have the model's images."""
        return (".npy",) if self.has_codes else SUFFIXES

    @property
    def suffix(self) -> str:
        """The extension of files that commands write."""
        return ".npy" if self.has_codes else ".png"

    def require_files(self) -> None:
        """Raises a `UserError` unless a file can have an image of the model."""
        if not self.has_codes:
            check_channels(self.model.image_shape, image_dtype(self.model.num_levels))

    def file_bytes(self, pixels: np.ndarray) -> bytes:
        """Returns the content of a file with an image `(height, width, channels)`."""
        return npy_bytes(pixels) if self.has_codes else png_bytes(pixels)

    def files_in(self, path: Path) -> list[Path]:
        """Returns all files below a folder that can have images, or a given file itself."""
        if not path.is_dir():
            return [path]
        return [path / name for name in files_below(path, self.suffixes)]

    def read_files(self, files: Iterable[Path]) -> dict[Path, np.ndarray]:
        """Returns the images in files by path, and prints what reading them has changed."""
        changes = Changes()
        images = read_files(files, lambda file: self.read(file, changes=changes))
        print_notes(changes)
        return images

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the model's classes; empty for a model without classes."""
        return self.model.class_names

    def trained_on(self, images: np.ndarray, files: Iterable[Path]) -> np.ndarray | None:
        """Returns which images were trained on, boolean `(N,)`; `None` for a model without a run.

        `images` are as `read` returns them, `(N, height, width, channels)`, from `files`.
        """
        run = _run_of(Path(self.source))
        if not run.exists():
            return None
        hashes = tuple(sha256(file)[:HASH_LENGTH] for file in files)
        given = LabeledImages(images, np.full(len(images), -1), ("",) * len(images), hashes)
        return run.trained_on(given)

    def checksum(self) -> str:
        """Returns the SHA-256 of the model's configuration and weights, in hexadecimal."""
        config = json.dumps(self.model.get_config(), sort_keys=True, default=str)
        digest = hashlib.sha256(config.encode())
        for weight in self.model.get_weights():
            digest.update(f"{weight.shape}{weight.dtype}".encode() + weight.tobytes())
        return digest.hexdigest()

    def classify(
        self,
        images: np.ndarray,
        verbose: int | str = "auto",
        tiled: bool = False,
        others: dict[str, np.ndarray] | None = None,
    ) -> dict:
        """Classifies images as `SavedModelClassifier.classify` does, without log-likelihoods.

        A model without classes gives all images the class -1. `tiled` accepts images of any size.
        `others` has the vector or the map of all images, or of each, by the names of the parts.
        """
        scorer = TiledModel(self.model) if tiled else self.model
        if not self.class_names:
            return {
                "class_id": np.full(len(images), -1),
                "probabilities": np.zeros((len(images), 0)),
                "bits_per_dim": scorer.bits_per_dim(images, others or None),
            }
        scores = scorer.class_log_likelihoods(images, verbose=verbose, condition=others or None)
        probabilities = self.model.posterior.probabilities(scores)
        return {
            "class_id": probabilities.argmax(axis=1),
            "probabilities": probabilities,
            "bits_per_dim": bits_per_dim(log_marginal(scores), images.shape[1:]),
        }


def print_notes(changes: Changes, advice: str = "") -> None:
    """Prints what reading images has changed, and an `advice` if some have another size."""
    notes = changes.notes()
    first = next(filter(notes.get, Changes.OF_SIZE), None)
    for kind, note in notes.items():
        say(f"{note} {advice}".strip() if kind == first else note)


def _run_of(path: Path) -> RunFolder:
    return RunFolder(path.parent if path.name == "model.keras" else path)


def files_below(folder: Path, suffixes: tuple[str, ...] = SUFFIXES) -> list[str]:
    """Returns the relative paths of all files with some extensions below a folder; at least one."""
    if not folder.is_dir():
        raise UserError(f"The folder {folder} does not exist")
    files = [file for file in visible_files(folder) if file.suffix.lower() in suffixes]
    if not files:
        kind = "image files" if suffixes == SUFFIXES else "files of codes"
        raise UserError(f"{folder} has no {kind}. Expected files {', '.join(suffixes)}")
    return sorted(file.relative_to(folder).as_posix() for file in files)


def read_files(files: Iterable[Path], read: Callable[[Path], np.ndarray]) -> dict[Path, np.ndarray]:
    """Returns the images in files by path, and prints an error for each that cannot be read."""
    images, errors = {}, []
    for file in files:
        try:
            images[file] = read(file)
        except UserError as error:
            errors.append(error)
    if not images:
        raise errors[0]
    for error in errors:
        say(f"pixelcnnpp: error: {error}", error=True)
    return images
