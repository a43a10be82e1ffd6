"""Fréchet distances of what a model in training generates."""

import keras

from keras_pixelcnnpp.callbacks import FrechetMonitor
from keras_pixelcnnpp.datasets.dataset import Dataset
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.generation import BaselineFeatures, ClassSamples, RealPictures
from keras_pixelcnnpp.metrics import frechet_distance
from keras_pixelcnnpp.run_folder import RunFolder

PER_CLASS = 25
"""As `pixelcnnpp evaluate generation` draws by default: the last numbers of both are the same."""


def frechet_monitor(run: RunFolder, dataset: Dataset, every: int) -> FrechetMonitor:
    """The callback that measures the Fréchet classifier distance to the split `validation`.

    Args:
        run: The run folder; its baseline CNN gives the features.
        dataset: The data.
        every: Epochs from one measurement to the next.

    Raises:
        UserError: if the run has no baseline CNN, or there are not two pictures to compare with.
    """
    baseline = keras.models.load_model(run.require_model("baseline"), compile=False)
    features = BaselineFeatures(baseline)
    real = RealPictures.of(dataset, "validation").reference
    if len(real) < 2:
        raise UserError("A Fréchet distance needs two pictures in the split validation at least.")

    def seen(images):
        return features(images)[features.dimensions]

    reference = seen(real.images)

    def distance(samples: ClassSamples) -> float:
        return frechet_distance(reference, seen(samples.levels))

    return FrechetMonitor(distance, dataset.class_names, every, PER_CLASS)
