"""Loads the data and the preset that a training starts from."""

from pathlib import Path
from typing import Any

from PIL import Image

from keras_pixelcnnpp.data.dataset import Dataset
from keras_pixelcnnpp.data.load import CLASS_NAMES, load_dataset
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.presets import Preset, preset_names
from keras_pixelcnnpp.train.options import Options


def load_training_data(options: Options) -> tuple[Dataset, dict]:
    """Loads the data, prints a summary, and returns it with the section `data` of `config.json`."""
    source = options.data
    dataset = _load(options, options.image_size, options.channels)
    for note in dataset.notes:
        print(note)
    counts = ", ".join(f"{len(split)} {name}" for name, split in dataset.splits.items())
    shape = "×".join(str(size) for size in dataset.image_shape)
    classes = "1 class" if dataset.num_classes == 1 else f"{dataset.num_classes} classes"
    print(f"{dataset.name}: {counts} images of {shape}, {classes}")
    if dataset.num_classes < 2:
        print("Warning: there are fewer than two classes, so the model only learns p(x).")
    config = {
        # Absolute, so that `evaluate` finds the data from another working directory.
        "source": source if source in CLASS_NAMES else str(Path(source).resolve()),
        "channels": options.channels,
        **_how(options),
        "fingerprint": dataset.fingerprint(),
        "class_names": dataset.class_names,
        "image_shape": dataset.image_shape,
        "counts": dataset.counts(),
    }
    return dataset, config


def load_preset(name: str | None, data: str, network: str | None = None) -> dict:
    """Returns a preset's name, network, model arguments and training options, as a dictionary.

    Without a name, the preset of the network or else of the data is used. Data without a preset of
    its own uses the preset `photographs`.
    """
    if name is None and network in preset_names():
        name = network
    elif name is None:
        name = data if data in ("digits", "fashion_mnist", "mnist") else "photographs"
    preset = Preset(name)
    known = getattr(preset.model_class, "network_name", None)
    if network not in (None, known):
        raise UserError(
            f"Invalid value for option `--network`. The network of preset {name} is {known}. "
            f"Received: {network}"
        )
    recipe = {"network": known, "model": preset.arguments, "training": preset.training}
    return {"name": name, **recipe}


def is_folder(source: str | None) -> bool:
    """Returns whether `--data` is a folder of image files, not a built-in data set or a file."""
    return source not in CLASS_NAMES and Path(source).is_dir()


def load_larger(options: Options, dataset: Dataset, training: dict) -> Dataset | None:
    """Loads the data with images `crop_margin` pixels higher and wider.

    Returns `None` if the margin is 0, and sets it to 0 if image files are too small for it.
    """
    margin = training["crop_margin"]
    if not margin:
        return None
    if not is_folder(options.data):
        raise UserError(
            "Invalid value for option `crop_margin`. It needs a folder of image files, which can "
            f"be read at a larger size. Received: crop_margin={margin}, data={options.data}"
        )
    height, width, channels = dataset.image_shape
    size = height + margin, width + margin
    if small := _smaller_file(Path(options.data), dataset.split("train").paths, size):
        reason = f"{small} is smaller than {size[0]}×{size[1]} pixels, and would be blurred"
        if options.crop_margin:
            raise UserError(f"Invalid value for option `crop_margin`. {reason}. Received: {margin}")
        print(f"Note: images are not cropped at random, because {reason}.")
        training["crop_margin"] = 0
        return None
    return _load(options, size, channels)


def _smaller_file(folder: Path, paths: tuple[str, ...], size: tuple[int, int]) -> str | None:
    for path in paths:
        with Image.open(folder / path) as image:  # reads only the header
            if min(image.size) < min(size) or max(image.size) < max(size):
                return path
    return None


def _load(
    options: Options, image_size: int | tuple[int, int] | None, channels: int | None
) -> Dataset:
    if options.data is None:
        raise UserError("Missing option --data. Expected a data set, a file or a folder")
    return load_dataset(options.data, image_size=image_size, channels=channels, **_how(options))


def _how(options: Options) -> dict[str, Any]:
    return {
        "seed": options.seed or 0,
        "resize": options.resize or "center_crop",
        "skip_corrupted": bool(options.skip_corrupted),
        "white_level": options.white_level,
    }
