"""Loads the data and the preset that a training starts from, and writes data as image files."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_pixelcnnpp.data.dataset import Dataset, LabeledImages
from keras_pixelcnnpp.data.folders import file_inside
from keras_pixelcnnpp.data.images import (
    check_channels,
    fit_image,
    open_image,
    opened,
    png_bytes,
)
from keras_pixelcnnpp.data.load import load_dataset, source_of
from keras_pixelcnnpp.data.source import DataSource
from keras_pixelcnnpp.models.archive import NETWORKS
from keras_pixelcnnpp.presets import Preset
from keras_pixelcnnpp.recipes.recipe import PixelCNNRecipe, Reading, Recipe
from keras_pixelcnnpp.train.commands import DataOptions
from keras_pixelcnnpp.utils.errors import UserError, say
from keras_pixelcnnpp.utils.files import atomic_path, counted, safe_names


def load_training_data(recipe: Reading) -> Dataset:
    """Loads the data of a recipe, or for `data`, and prints messages and a summary."""
    how = {"image_size": recipe.image_size, "channels": recipe.channels, **recipe.loading()}
    dataset = load_dataset(recipe.data, **how)
    for note in dataset.notes:
        say(note)
    counts = ", ".join(f"{len(split)} {name}" for name, split in dataset.splits.items())
    shape = "×".join(str(size) for size in dataset.image_shape)
    classes = "1 class" if dataset.num_classes == 1 else f"{dataset.num_classes} classes"
    conditions = dataset.conditions
    if conditions.needs_values:
        classes = conditions.description
    say(f"{dataset.name}: {counts} images of {shape}, {classes}")
    if conditions.num_rows < 2:
        print("Warning: there are fewer than two classes, so the model only learns p(x).")
    return dataset


def data_section(recipe: Recipe, dataset: Dataset) -> dict:
    """Returns the section `data` of `config.json`, which `recipe_of_run` reads."""
    how = recipe.loading()
    return {
        "source": source_of(recipe.data).location,
        "channels": recipe.channels,
        **{name: how[name] for name in ("resize", "skip_corrupted", "white_level")},
        "split_seed": how["seed"],
        "fingerprint": dataset.fingerprint(),
        "class_names": list(dataset.class_names),
        "vector_names": list(dataset.vector_names),
        "vectors": recipe.vectors,
        "image_shape": list(dataset.image_shape),
        "counts": dataset.counts(),
        "notes": list(dataset.notes),
    }


def load_preset(
    name: str | None, source: DataSource, network: str | None = None
) -> tuple[str, PixelCNNRecipe]:
    """Returns a recipe, and the preset, the network, or the data to which it belongs."""
    if name is None and network is not None and (own := NETWORKS[network].recipe) is not None:
        return f"network {network}", PixelCNNRecipe(network=network, **own)
    name = name or source.preset
    recipe = Preset(name).recipe()
    if network not in (None, recipe.network):
        raise UserError(
            f"Invalid value for option `--network`. The network of preset {name} is "
            f"{recipe.network}. Received: {network}"
        )
    return f"preset {name}", recipe


def load_larger(given: Recipe, recipe: Recipe, dataset: Dataset) -> tuple[Dataset, Recipe]:
    """Adds training images that are `crop_margin` pixels larger, or for random crops whole.

    If image files are too small for a margin that is not among the user's options `given`, the
    returned recipe has the margin 0.
    """
    if recipe.random_crops:
        for name in ("resize", "crop_margin"):
            if value := getattr(given, name):
                raise UserError(
                    f"Invalid value for option `{name}`. Expected none with --random-crops. "
                    f"Received: {value}"
                )
        return _with_larger(dataset, _whole_images(recipe, dataset)), replace(recipe, crop_margin=0)
    margin = recipe.crop_margin
    if not margin:
        return dataset, recipe
    source = source_of(recipe.data)
    if not source.has_files:
        raise UserError(
            "Invalid value for option `crop_margin`. It needs a folder of image files, which can "
            f"be read at a larger size. Received: crop_margin={margin}, data={recipe.data}"
        )
    height, width, channels = dataset.image_shape
    size = height + margin, width + margin
    if small := _smaller_file(source.path, dataset.split("train").paths, size):
        reason = f"{small} is smaller than {size[0]}×{size[1]} pixels, and would be blurred"
        if given.crop_margin:
            raise UserError(f"Invalid value for option `crop_margin`. {reason}. Received: {margin}")
        say(f"Note: images are not cropped at random, because {reason}.")
        return dataset, replace(recipe, crop_margin=0)
    how = {"image_size": size, "channels": channels, **recipe.loading()}
    larger = load_dataset(recipe.data, **how).split("train").images
    return _with_larger(dataset, larger), recipe


def _with_larger(dataset: Dataset, images: np.ndarray) -> Dataset:
    train = replace(dataset.split("train"), larger=images)
    return replace(dataset, splits={**dataset.splits, "train": train})


def _whole_images(recipe: Recipe, dataset: Dataset) -> np.ndarray:
    """Loads the training images, of which `dataset` has the centers, at their own sizes."""
    source = source_of(recipe.data)
    if not source.has_files:
        how = {"channels": recipe.channels, **recipe.loading()}
        return load_dataset(recipe.data, **how).split("train").images
    train, channels = dataset.split("train"), dataset.image_shape[2]
    images = np.empty(len(train), object)
    for row, path in enumerate(train.paths):
        file = file_inside(source.path, path)
        deep = recipe.values_read()["as_uint16"]
        image = open_image(file, channels, recipe.white_level, deep)
        images[row] = fit_image(image, (image.height, image.width))
    return images


def _smaller_file(folder: Path, paths: tuple[str, ...], size: tuple[int, int]) -> str | None:
    for path in paths:
        with opened(folder / path) as image:
            if min(image.size) < min(size) or max(image.size) < max(size):
                return path
    return None


def write_images(options: DataOptions) -> None:
    """Writes the images of all splits. The new folder is written completely or not at all."""
    if options.output.exists():
        raise UserError(f"{options.output} exists already. Choose a new folder as --output")
    dataset = load_training_data(options)
    check_channels(dataset.image_shape)
    if dataset.conditions.needs_values:
        raise UserError(
            "Expected images with or without labels. "
            f"{options.data} has {dataset.conditions.description}"
        )
    with atomic_path(options.output) as folder:
        written = 0
        for name, split in dataset.splits.items():
            first = split.take(slice(options.count))
            names = _names(dataset, first)
            for row, image in enumerate(first.images):
                path = folder / name / names[row] / f"{row:05}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(png_bytes(image))
            written += len(first)
    say(f"Wrote {counted(written)} of {', '.join(dataset.splits)} to {options.output}")


def _names(dataset: Dataset, images: LabeledImages) -> list[str]:
    """Returns the name of the class folder of each image, which is "." for unlabeled images."""
    names = [*safe_names(dataset.class_names), "."]
    return [names[label] for label in images.labels]
