"""What a training starts from: the data, said aloud and for `config.json`, and the preset."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_pixelcnnpp.data.built_in import CLASS_NAMES
from keras_pixelcnnpp.data.dataset import Dataset, LabelledImages
from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.presets import load_preset_config
from keras_pixelcnnpp.train.options import ModelOptions, TrainingOptions

# Presets for the built-in data of the same name.
OF_THEIR_DATA = ("digits", "fashion_mnist")


def load_data(options: TrainingOptions, seed: int) -> tuple[Dataset, dict]:
    """Reads the data, says what it is, and returns it with the section `data` of `config.json`."""
    source = options.data
    dataset = load_dataset(
        source, image_size=options.image_size, num_levels=options.num_levels, seed=seed
    )
    for note in dataset.notes:
        print(note)
    counts = ", ".join(f"{len(split)} {name}" for name, split in dataset.splits.items())
    shape = "×".join(str(size) for size in dataset.image_shape)
    print(f"{dataset.name}: {counts} pictures of {shape}, {dataset.num_classes} classes")
    config = {
        # Absolute, so that the evaluation finds it from another working directory.
        "source": source if source in CLASS_NAMES else str(Path(source).resolve()),
        "seed": seed,
        "fingerprint": dataset.fingerprint(),
        "class_names": dataset.class_names,
        "image_shape": dataset.image_shape,
        "num_levels": dataset.num_levels,
        "counts": dataset.counts(),
    }
    return dataset, config


def load_training_data(options: ModelOptions) -> tuple[Dataset, dict]:
    """As `load_data`, with the labels of the split `train` that the options leave."""
    dataset, config = load_data(options, options.seed)
    if options.labels_per_class is None:
        return dataset, config
    train = dataset.split("train")
    labels = train.labels_kept(options.labels_per_class, options.limit, options.seed)
    splits = {**dataset.splits, "train": replace(train, labels=labels)}
    dataset = replace(dataset, splits=splits)
    print(f"Of the split train, {np.sum(labels >= 0)} pictures keep their label")
    # Beside the fingerprint of the data as they lie there, by which an evaluation knows them.
    given = {"labels_per_class": options.labels_per_class}
    digest = hashlib.sha256(labels.astype("<i4").tobytes()).hexdigest()
    counts = {"counts": dataset.counts(), "labels_fingerprint": digest}
    return dataset, {**config, **given, **counts}


def load_preset(name: str | None, data: str) -> dict:
    """The configuration of a preset; without a name, of the one that suits the data."""
    return load_preset_config(name or (data if data in OF_THEIR_DATA else "report"))


def load_larger(source: str, dataset: Dataset, margin: int, seed: int) -> LabelledImages | None:
    """The split `train` with pictures `margin` pixels higher and wider; `None` for no margin."""
    if not margin:
        return None
    if not Path(source).is_dir():
        raise UserError(
            "Invalid value for option `crop_margin`. Only picture files can be read at a larger "
            f"size, from a folder. Received: crop_margin={margin}, data={source}"
        )
    height, width, channels = dataset.image_shape
    larger = load_dataset(
        source,
        image_size=(height + margin, width + margin),
        channels=channels,
        num_levels=dataset.num_levels,
        seed=seed,
        splits=("train",),
    )
    # Without the labels that were hidden.
    return replace(larger.split("train"), labels=dataset.split("train").labels)
