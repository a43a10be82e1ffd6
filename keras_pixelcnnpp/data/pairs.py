"""Loads folders of image files with a map for each."""

from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from keras_pixelcnnpp.conditions import Maps
from keras_pixelcnnpp.data.dataset import SPLIT_NAMES, Dataset, LabeledImages
from keras_pixelcnnpp.data.folders import Folder, Listed, list_class_folders, read_listed
from keras_pixelcnnpp.data.source import LoadOptions
from keras_pixelcnnpp.utils.checks import checked_class_names
from keras_pixelcnnpp.utils.errors import UserError

FOLDERS = ("images", "maps")


class Pairs(Folder):
    """A folder with the folders `images` and `maps`, for a model of `Maps`.

    An image and its map have the same path in them, such as `images/a/1.jpg` and `maps/a/1.png`;
    the extension may differ. For splits, there are `train/images`, `train/maps`, and so on. If all
    images are in two or more folders of `images`, these are their classes, for a model of
    labels and maps.

    Images and maps keep their sizes. All images must have one size, and all maps another one, or
    the same. With `image_size` of `load_dataset`, both are resized to it. Maps have the channels of
    the images.
    """

    form = ""
    has_files = False  # random crops would not move with the maps

    @classmethod
    def takes(cls, text: str) -> bool:
        folder = Path(text)
        if not folder.is_dir():
            return False
        splits = [path for path in folder.iterdir() if path.name.lower() in SPLIT_NAMES]
        return any(all((place / name).is_dir() for name in FOLDERS) for place in (folder, *splits))

    def load(self, how: LoadOptions) -> Dataset:
        class_names, listed, notes = list_class_folders(self.path, how.unlabeled_others)
        if class_names != FOLDERS:
            raise UserError(
                f"{self.path}: expected only the folders images and maps. "
                f"Received: {', '.join(class_names)}"
            )
        parts = [
            {split: _of_label(rows, label) for split, rows in listed.items()} for label in (0, 1)
        ]
        for split, images in parts[0].items():
            _require_equal_names(self.path, images, parts[1][split])
        class_names, parts[0] = _with_classes(parts[0])
        (images, of_images), (maps, of_maps) = (
            read_listed(self.path, rows, how, own_size=True) for rows in parts
        )
        splits = {name: _paired(images[name], maps[name]) for name in images}
        notes = (*dict.fromkeys([*of_images, *of_maps]), *notes)
        return Dataset(self.name, class_names, splits, notes)


def _of_label(rows: list[Listed], label: int) -> list[Listed]:
    return [row._replace(label=-1) for row in rows if row.label == label]


def _with_classes(
    images: dict[str, list[Listed]],
) -> tuple[tuple[str, ...], dict[str, list[Listed]]]:
    """Returns class names, and the images with labels, if all are in folders of classes."""
    every = [row for rows in images.values() for row in rows]
    folders = {_name(row.path).rpartition("/")[0].partition("/")[0] for row in every}
    if "" in folders or len(folders) < 2:
        return (), images
    first = images.get("train", images.get("all", every))
    names = sorted({_name(row.path).partition("/")[0] for row in first})
    numbers = {name: label for label, name in enumerate(names)}
    if unknown := sorted(folders - {*names}):
        raise UserError(f"The training split has no class {unknown[0]!r:.80}")
    labeled = {
        split: [row._replace(label=numbers[_name(row.path).partition("/")[0]]) for row in rows]
        for split, rows in images.items()
    }
    return checked_class_names(names, len(names)), labeled


def _name(path: str) -> str:
    """Returns what an image and its map have in common: `a/1` for `train/images/a/1.jpg`."""
    parts = PurePosixPath(path).with_suffix("").parts
    first = next(index for index, part in enumerate(parts) if part in FOLDERS)
    return "/".join(parts[first + 1 :])


def _require_equal_names(folder: Path, images: list[Listed], maps: list[Listed]) -> None:
    for rows, others, missing in ((images, maps, "map"), (maps, images, "image")):
        names = {_name(row.path) for row in others}
        for row in rows:
            if _name(row.path) not in names:
                raise UserError(f"{folder / row.path} has no {missing} of the same name")


def _paired(images: LabeledImages, maps: LabeledImages) -> LabeledImages:
    """Returns the images with their maps; without those of which a file was skipped."""
    rows = {_name(path): row for row, path in enumerate(maps.paths)}
    kept = np.array([_name(path) in rows for path in images.paths], bool)
    images = images.take(kept)
    order = [rows[_name(path)] for path in images.paths]
    return replace(images, given={Maps.name: maps.images[np.array(order, int)]})
