"""The data that belongs to a run, for the commands that come after training."""

from keras_pixelcnnpp.datasets.dataset import Dataset
from keras_pixelcnnpp.datasets.load import load_dataset
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.run_config import require_data

_NEEDED = ("source", "fingerprint", "seed", "class_names", "image_shape", "num_levels")


def load_run_data(config: dict, source: str | None = None) -> Dataset:
    """Loads the data of a run, or other data in the form that its models take.

    Args:
        config: The content of the run's `config.json`.
        source: Other data than the run was trained on; `None` for the same.

    Raises:
        UserError: if the classes or the shape of other data don't fit the run's models.
    """
    known = require_data(config, *_NEEDED)
    height, width, channels = known["image_shape"]
    dataset = load_dataset(
        source or known["source"],
        image_size=(height, width),
        channels=channels if channels in (1, 3) else None,
        num_levels=known["num_levels"],
        seed=known["seed"],
    )
    if dataset.image_shape != (height, width, channels):
        raise UserError(
            f"{dataset.name} has pictures of {dataset.image_shape}; the run was trained on "
            f"{(height, width, channels)}."
        )
    if dataset.num_classes != len(known["class_names"]):
        raise UserError(
            f"{dataset.name} has {dataset.num_classes} classes; the run was trained on "
            f"{len(known['class_names'])}."
        )
    if source is None and dataset.fingerprint() != known["fingerprint"]:
        print(f"Note: {known['source']} has changed since the run was trained on it.")
    return dataset
