"""What a training starts from: the data, said aloud and for `config.json`, and the preset."""

from pathlib import Path

from keras_pixelcnnpp.data.built_in import CLASS_NAMES
from keras_pixelcnnpp.data.dataset import Dataset, LabelledImages
from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.presets import load_preset_config, preset_names
from keras_pixelcnnpp.train.options import TrainingOptions

# Presets for the built-in data of the same name.
OF_THEIR_DATA = ("digits", "fashion_mnist")


def load_data(options: TrainingOptions, seed: int) -> tuple[Dataset, dict]:
    """Reads the data, says what it is, and returns it with the section `data` of `config.json`."""
    source = options.data
    dataset = load_dataset(
        source,
        image_size=options.image_size,
        num_levels=options.num_levels,
        seed=seed,
        skip_bad_files=options.skip_bad_files,
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
        "skip_bad_files": options.skip_bad_files,
        "fingerprint": dataset.fingerprint(),
        "class_names": dataset.class_names,
        "image_shape": dataset.image_shape,
        "num_levels": dataset.num_levels,
        "counts": dataset.counts(),
    }
    return dataset, config


def load_preset(name: str | None, data: str, architecture: str | None = None) -> dict:
    """The configuration of a preset; without a name, of the one that suits architecture and data.

    Raises:
        UserError: If the preset is of another architecture than the one that was asked for.
    """
    if name is None and architecture in preset_names():
        name = architecture
    preset = load_preset_config(name or (data if data in OF_THEIR_DATA else "report"))
    known = preset["architecture"]
    if architecture not in (None, known):
        raise UserError(
            f"Invalid value for option `architecture`. The preset {name} is of {known}. "
            f"Received: {architecture}"
        )
    return preset


def load_larger(
    options: TrainingOptions, dataset: Dataset, margin: int, seed: int
) -> LabelledImages | None:
    """The split `train` with pictures `margin` pixels higher and wider; `None` for no margin."""
    source = options.data
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
        skip_bad_files=options.skip_bad_files,
        splits=("train",),
    )
    return larger.split("train")
