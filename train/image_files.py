"""The command `data`: a data set as a folder of image files."""

from keras_pixelcnnpp.data.dataset import Dataset, LabeledImages
from keras_pixelcnnpp.data.images import check_channels, png_bytes
from keras_pixelcnnpp.train.commands import DataOptions
from keras_pixelcnnpp.train.data import load_training_data
from keras_pixelcnnpp.utils.errors import UserError, say
from keras_pixelcnnpp.utils.files import atomic_path, counted, safe_names


def write_images(options: DataOptions) -> None:
    """Writes the images of all splits. The new folder is written completely or not at all."""
    if options.output.exists():
        raise UserError(f"{options.output} exists already. Choose a new folder as --output")
    dataset = load_training_data(options)
    check_channels(dataset.image_shape)
    if any(split.vectors is not None for split in dataset.splits.values()):
        raise UserError(f"Expected images with or without labels. {options.data} has vectors")
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
