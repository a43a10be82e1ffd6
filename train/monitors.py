"""Measures a model on held-out pictures after every epoch."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

from keras_pixelcnnpp.data.dataset import Dataset, LabelledImages
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.evaluate.features import BaselineFeatures
from keras_pixelcnnpp.evaluate.fidelity import RealPictures
from keras_pixelcnnpp.evaluate.metrics.pictures import frechet_distance
from keras_pixelcnnpp.files import write_json
from keras_pixelcnnpp.optimizers import averaged_weights, has_averages
from keras_pixelcnnpp.run import RunFolder, read_history
from keras_pixelcnnpp.sampling.class_samples import ClassSamples


class ValidationMonitor(keras.callbacks.Callback):
    """Adds `val_accuracy`, `val_bits_per_dim` and the like to the logs of an epoch.

    It measures with the averaged weights, which are the ones that are kept in the end, and as
    `pixelcnnpp evaluate` does: dropout off, all classes as candidates. Callbacks that use what it
    logs (TensorBoard, the progress bar) must come after it.

    Where there are averaged weights, the raw ones are measured too, every few epochs and after the
    last one, as `val_raw_bits_per_dim` and so on: it costs as much again.

    Args:
        measure: A function of a `LabelledImages` that returns a dictionary of numbers and the
            predicted classes (int `[count]`, or `None` from a model that does not classify).
        validation: The pictures to measure on.
        training: A few training pictures. Their accuracy is logged as `accuracy` where the
            training loop itself knows none, as with one candidate label per picture.
        raw_every: Every how many epochs the raw weights are measured.

    Attributes:
        labels, predicted: The last classification of `validation`, for a confusion matrix.
    """

    def __init__(
        self,
        measure: Callable[[LabelledImages], tuple[dict[str, float], np.ndarray | None]],
        validation: LabelledImages,
        training: LabelledImages | None = None,
        raw_every: int = 5,
    ):
        super().__init__()
        self.measure = measure
        self.validation = validation
        self.training = training
        self.raw_every = raw_every
        self.labels = validation.labels
        self.predicted = None

    def on_epoch_end(self, epoch, logs=None):
        """Called by Keras."""
        logs = {} if logs is None else logs
        with averaged_weights(self.model):
            measured, self.predicted = self.measure(self.validation)
            logs.update({f"val_{name}": value for name, value in measured.items()})
            if "accuracy" in measured and "accuracy" not in logs and self.training is not None:
                logs["accuracy"] = self.measure(self.training)[0]["accuracy"]
        is_last = epoch + 1 == self.params.get("epochs")
        if has_averages(self.model) and (is_last or (epoch + 1) % self.raw_every == 0):
            measured, _ = self.measure(self.validation)
            logs.update({f"val_raw_{name}": value for name, value in measured.items()})


class HistoryFile(keras.callbacks.Callback):
    """Writes the logs of every epoch to a JSON file, for reports and for whoever wants to plot.

    The file is a list with one object per finished epoch: `epoch` (counted from 1), `seconds`
    (measuring included; of an epoch that was resumed half-way, of the rest), and what the
    callbacks before this one and the training loop logged, such as `val_bits_per_dim`. A number
    that is not finite becomes `null`. The file is replaced as a whole, and a resumed run goes on
    with it: what it holds of epochs that are trained again is dropped.

    `keras.callbacks.CSVLogger` is not used: a killed run may leave half a line, and a resumed one
    an epoch twice.

    Args:
        path: Where to.

    Example:

    ```python
    model.fit(..., callbacks=[HistoryFile("runs/digits/logs/pixelcnnpp/history.json")])
    read_history("runs/digits/logs/pixelcnnpp/history.json")[-1]["val_bits_per_dim"]
    ```
    """

    def __init__(self, path: str | Path):
        super().__init__()
        self.path = Path(path)
        self._start = None

    def on_epoch_begin(self, epoch, logs=None):
        """Called by Keras."""
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Called by Keras."""
        earlier = [row for row in read_history(self.path) if row["epoch"] <= epoch]
        seconds = round(time.perf_counter() - self._start, 3)
        row = {"epoch": epoch + 1, "seconds": seconds}
        row.update({name: _number(value) for name, value in (logs or {}).items()})
        write_json(self.path, [*earlier, row])


def _number(value) -> float | None:
    value = float(value)
    return value if math.isfinite(value) else None


class EpochTimer(keras.callbacks.Callback):
    """Measures each epoch's training, without the callbacks that come after it.

    Attributes:
        seconds: List of floats, one per epoch done since it was made.
    """

    def __init__(self):
        super().__init__()
        self.seconds = []
        self._start = None

    def on_epoch_begin(self, epoch, logs=None):
        """Called by Keras."""
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Called by Keras."""
        self.seconds.append(time.perf_counter() - self._start)


class FrechetMonitor(keras.callbacks.Callback):
    """Adds `val_frechet_distance` to the logs of every few epochs.

    The pictures are drawn with the averaged weights, and from the same random numbers every time.
    Callbacks that use what it logs (TensorBoard, the history file) must come after it.

    Args:
        distance: A function of `ClassSamples` that returns the distance, or `None`, such as
            `generation.Comparison.distance`.
        class_names: The name of each class.
        every: Integer, the number of epochs from one measurement to the next.
        per_class: Integer, the number of pictures of each class.

    Example:

    ```python
    monitor = FrechetMonitor(comparison.distance, dataset.class_names, every=10, per_class=25)
    model.fit(..., callbacks=[monitor, HistoryFile(path)])
    ```
    """

    def __init__(
        self,
        distance: Callable[[ClassSamples], float | None],
        class_names: Sequence[str],
        every: int,
        per_class: int,
    ):
        super().__init__()
        self.distance = distance
        self.class_names = class_names
        self.every = every
        self.per_class = per_class

    def on_epoch_end(self, epoch, logs=None):
        """Called by Keras."""
        if (epoch + 1) % self.every:
            return
        with averaged_weights(self.model):
            samples = ClassSamples.draw(self.model, self.class_names, self.per_class, verbose=0)
        distance = self.distance(samples)
        if logs is not None and distance is not None:
            logs["val_frechet_distance"] = distance


PER_CLASS = 25


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
