"""What a training starts from: the data, said aloud and for `config.json`, and the preset."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_pixelcnnpp.data.dataset import Dataset, LabeledImages
from keras_pixelcnnpp.data.load import CLASS_NAMES, load_dataset
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.presets import Preset, preset_names
from keras_pixelcnnpp.train.options import Options

FLIPS = 2**20  # names a stream of random numbers


def load_training_data(options: Options) -> tuple[Dataset, dict]:
    """Reads the data, says what it is, and returns it with the section `data` of `config.json`.

    Labels of the split `train` are hidden or made wrong as the options have it.
    """
    source = options.data
    dataset = load_dataset(
        source,
        image_size=options.image_size,
        seed=options.seed,
        resize=options.resize,
        skip_corrupted=options.skip_corrupted,
    )
    for note in dataset.notes:
        print(note)
    counts = ", ".join(f"{len(split)} {name}" for name, split in dataset.splits.items())
    shape = "×".join(str(size) for size in dataset.image_shape)
    print(f"{dataset.name}: {counts} images of {shape}, {dataset.num_classes} classes")
    config = {
        # Absolute, so that the evaluation finds it from another working directory.
        "source": source if source in CLASS_NAMES else str(Path(source).resolve()),
        "seed": options.seed,
        "resize": options.resize,
        "skip_corrupted": options.skip_corrupted,
        "fingerprint": dataset.fingerprint(),
        "class_names": dataset.class_names,
        "image_shape": dataset.image_shape,
        "counts": dataset.counts(),
    }
    if not (options.labels_per_class or options.label_noise):
        return dataset, config
    # Beside the fingerprint of the data as they lie there, by which an evaluation knows them.
    config["labels_per_class"] = options.labels_per_class
    config["label_noise"] = options.label_noise
    if options.labels_per_class:
        config["labels_among"] = options.max_examples
    train = dataset.split("train")
    labels = training_labels(train, config)
    dataset = replace(dataset, splits={**dataset.splits, "train": replace(train, labels=labels)})
    wrong = np.sum((labels != train.labels) & (labels >= 0))
    print(f"Of the split train, {np.sum(labels >= 0)} images have a label, {wrong} a wrong one")
    digest = hashlib.sha256(labels.astype("<i4").tobytes()).hexdigest()
    return dataset, {**config, "counts": dataset.counts(), "labels_fingerprint": digest}


def training_labels(train: LabeledImages, data_config: dict) -> np.ndarray:
    """The labels that a run was trained with, by the section `data` of its `config.json`.

    Those of the split `train` as loaded, but for what `--labels-per-class` hid and `--label-noise`
    made wrong: int32 `(N,)`.
    """
    labels, seed = train.labels, data_config["seed"]
    if per_class := data_config.get("labels_per_class"):
        labels = train.labels_kept(per_class, data_config.get("labels_among"), seed)
    if share := data_config.get("label_noise"):
        labels = _flipped(labels, share, len(data_config["class_names"]), seed)
    return labels


def _flipped(labels, share, num_classes, seed):
    """Labels of which so large a share of the known ones is another class, at random."""
    if num_classes < 2:
        raise UserError(
            "Invalid value for option `label_noise`. There is no wrong label where there are fewer "
            f"than 2 classes. Received: label_noise={share}, with {num_classes} classes"
        )
    rng = np.random.default_rng([seed, FLIPS])
    known = np.flatnonzero(labels >= 0)
    chosen = rng.permutation(known)[: round(share * len(known))]
    labels = labels.copy()
    labels[chosen] = (labels[chosen] + rng.integers(1, num_classes, len(chosen))) % num_classes
    return labels


def load_preset(name: str | None, data: str, architecture: str | None = None) -> dict:
    """The recipe of a preset: its `"architecture"`, arguments of the `"model"`, and `"training"`.

    Without a name, of the one that suits architecture and data; images without a preset of their
    own are taken for photographs.

    Raises:
        UserError: If the preset is of another architecture than the one that was asked for.
    """
    if name is None and architecture in preset_names():
        name = architecture
    elif name is None:
        name = data if data in ("digits", "fashion_mnist", "mnist") else "cpen455"
    preset = Preset(name)
    known = getattr(preset.model_class, "architecture", None)
    if architecture not in (None, known):
        raise UserError(
            f"Invalid value for option `architecture`. The preset {name} is of {known}. "
            f"Received: {architecture}"
        )
    return {"architecture": known, "model": preset.arguments, "training": preset.training}


def is_folder(source: str) -> bool:
    """Whether `--data` names image files in a folder, not something built in or arrays."""
    return source not in CLASS_NAMES and Path(source).is_dir()


def load_larger(options: Options, dataset: Dataset, margin: int) -> LabeledImages | None:
    """The split `train` with images `margin` pixels higher and wider; `None` for no margin."""
    if not margin:
        return None
    if not is_folder(options.data):
        raise UserError(
            "Invalid value for option `crop_margin`. Only image files can be read at a larger "
            f"size, from a folder. Received: crop_margin={margin}, data={options.data}"
        )
    height, width, channels = dataset.image_shape
    larger = load_dataset(
        options.data,
        image_size=(height + margin, width + margin),
        channels=channels,
        seed=options.seed,
        resize=options.resize,
        skip_corrupted=options.skip_corrupted,
    )
    # Without the labels that were hidden.
    return replace(larger.split("train"), labels=dataset.split("train").labels)
