"""What is measured while a model trains: held-out pictures, distances, seconds; and kept."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

from keras_pixelcnnpp.classifiers import BaselineClassifier, PixelCNNClassifier
from keras_pixelcnnpp.data.dataset import Dataset, LabelledImages
from keras_pixelcnnpp.distributions.logistic_mixture import bits_per_dim
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.evaluate.classification import part_rows
from keras_pixelcnnpp.evaluate.generation import baseline_features
from keras_pixelcnnpp.evaluate.metrics.classifiers import mean_log_loss
from keras_pixelcnnpp.evaluate.metrics.pictures import frechet_distance
from keras_pixelcnnpp.files import write_json
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.optimizers import averaged_weights, has_averages
from keras_pixelcnnpp.run import RunFolder, read_history
from keras_pixelcnnpp.sampling.class_samples import ClassSamples


def measure(
    model: keras.Model, pictures: LabelledImages, batch_size: int = 256, verbose: int = 0
) -> tuple[dict[str, float], np.ndarray | None]:
    """Numbers of a PixelCNN++ or a baseline CNN, for `ValidationMonitor`, and what it predicts.

    The second is p(y | first rows), float `[count, parts, classes]`, the last part being the whole
    picture; the CNN knows that alone. As `pixelcnnpp evaluate` does: dropout off, all classes as
    candidates. With `verbose` 1, a bar shows more than one batch.
    """
    verbose = int(verbose and len(pictures) > batch_size)
    if verbose:
        # First the end of the line that the bar of the epoch stands in.
        print(f"\nMeasuring on {len(pictures)} pictures")
    if not model.num_classes:
        bits = model.bits_per_dim(pictures.images, batch_size=batch_size, verbose=verbose)
        return {"bits_per_dim": float(np.mean(bits))}, None
    measured = {}
    if isinstance(model, BaselineCNN):
        classifier = BaselineClassifier(model, batch_size, verbose)
        probabilities = classifier.predict_proba(pictures.images)[:, None]
    else:
        classifier = PixelCNNClassifier(model, batch_size, verbose)
        # The pass over the picture gives its parts as well.
        rows = part_rows(model.image_shape[0])
        scores, probabilities = classifier.class_scores(pictures.images, rows)
        of_label = np.take_along_axis(scores[:, -1], pictures.labels[:, None].astype(int), axis=1)
        measured["bits_per_dim"] = float(np.mean(bits_per_dim(of_label, model.image_shape)))
    whole = probabilities[:, -1]
    measured["accuracy"] = float(np.mean(whole.argmax(axis=1) == pictures.labels))
    measured["cross_entropy"] = mean_log_loss(pictures.labels, whole)
    return measured, probabilities


def validation_limit(chosen: int | None, training_pictures: int, num_classes: int) -> int | None:
    """How many validation pictures to measure on: the user's choice, `None` for all, or a default.

    `num_classes` is how often a picture is scored.
    """
    if chosen is not None:
        return chosen or None
    # No more work than the epoch itself: in training, the backward pass takes twice the forward's.
    return max(3 * training_pictures // max(num_classes, 1), num_classes, 1)


class ValidationMonitor(keras.callbacks.Callback):
    """Adds `val_accuracy`, `val_bits_per_dim` and the like to the logs of an epoch.

    It measures with the averaged weights, which are the ones that are kept in the end. The raw ones
    are measured too, every few epochs and after the last, as `val_raw_…`: it costs as much again.
    Callbacks that use what it logs must come after it, as must those that use `probabilities`, what
    `measure` said last of the pictures whose classes are `labels`. With a `limit` it measures on so
    many pictures, chosen at random once.
    """

    def __init__(
        self,
        measure: Callable[[LabelledImages], tuple[dict[str, float], np.ndarray | None]],
        validation: LabelledImages,
        training: LabelledImages | None = None,
        raw_every: int = 5,
        limit: int | None = None,
    ):
        super().__init__()
        self.measure = measure
        self.total = len(validation)
        self.validation = validation = validation.some(limit)
        # A few pictures, for the accuracy where the training loop itself knows none, as with one
        # candidate label per picture.
        self.training = training
        self.raw_every = raw_every
        self.labels = validation.labels
        self.probabilities = None

    def describe(self, has_averages: bool, has_classes: bool) -> str:
        """What the names in the logs mean, in lines for the user."""
        count = len(self.labels)
        of = "all" if count == self.total else f"{count} (--validation-limit) of"
        averaged = ", with the averaged weights" if has_averages else ""
        lines = [f"After each epoch, val_…: {of} {self.total} validation pictures{averaged}."]
        if has_averages:
            lines.append(f"Every {self.raw_every} epochs, val_raw_…: with the weights as they are.")
        if has_classes:
            how = "with dropout"
            if self.training is not None:
                how += (
                    ", among the candidates of the step; with one candidate, "
                    f"{len(self.training)} of them, measured as val_accuracy"
                )
            lines.append(f"accuracy: training pictures, {how}.")
        return "\n".join(lines)

    def on_epoch_end(self, epoch, logs=None):
        """Called by Keras."""
        logs = {} if logs is None else logs
        with averaged_weights(self.model):
            measured, self.probabilities = self.measure(self.validation)
            logs.update({f"val_{name}": value for name, value in measured.items()})
            if "accuracy" in measured and "accuracy" not in logs and self.training is not None:
                logs["accuracy"] = self.measure(self.training)[0]["accuracy"]
        is_last = epoch + 1 == self.params.get("epochs")
        if has_averages(self.model) and (is_last or (epoch + 1) % self.raw_every == 0):
            measured, _ = self.measure(self.validation)
            logs.update({f"val_raw_{name}": value for name, value in measured.items()})


class HistoryFile(keras.callbacks.Callback):
    """Writes the logs of every epoch to a JSON file: one object each, with `epoch` and `seconds`.

    A number that is not finite becomes `null`. A resumed run goes on with the file: what it holds
    of epochs that are trained again is dropped.
    """

    # keras.callbacks.CSVLogger: a killed run may leave half a line, and a resumed one an epoch
    # twice. This file is replaced as a whole.

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


class TimeEstimate(keras.callbacks.Callback):
    """Says once, after the first steps of a `fit`, how long its epochs are going to take."""

    # The first steps trace and compile.
    SKIPPED, TIMED = 2, 8

    def __init__(self):
        super().__init__()
        self._epoch = self._start = None
        self._seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        """Called by Keras."""
        self._epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        """Called by Keras."""
        self._start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        """Called by Keras."""
        if len(self._seconds) == self.SKIPPED + self.TIMED or not self.params["verbose"]:
            return
        self._seconds.append(time.perf_counter() - self._start)
        if len(self._seconds) < self.SKIPPED + self.TIMED:
            return
        epochs, steps = self.params["epochs"], self.params["steps"]
        each = float(np.median(self._seconds[self.SKIPPED :]))
        left = in_words(each * ((epochs - self._epoch) * steps - batch - 1))
        # First the end of the line that Keras's progress bar has begun.
        begun = "\n" if self.params["verbose"] == 1 else ""
        print(
            f"{begun}About {left} to the end of epoch {epochs}, at {each:.3g} s a step; "
            "measuring comes on top.",
            flush=True,
        )


def in_words(seconds: float) -> str:
    """A time to wait, such as `"45 s"`, `"12 min"` or `"3 h 5 min"`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


class Drawing(keras.callbacks.Callback):
    """Draws pictures of every class, every few epochs, for a subclass to look at.

    They are drawn with the averaged weights, and from the same random numbers every time, so that
    one sees how the same pictures change.
    """

    def __init__(self, class_names: Sequence[str], every: int, per_class: int):
        super().__init__()
        self.class_names = class_names
        self.every = every
        self.per_class = per_class

    def on_epoch_end(self, epoch, logs=None):
        """Called by Keras."""
        if (epoch + 1) % self.every == 0:
            with averaged_weights(self.model):
                drawn = ClassSamples.draw(
                    self.model, self.class_names, self.per_class, seed=0, verbose=0
                )
            self.look_at(drawn, epoch, {} if logs is None else logs)

    def look_at(self, samples: ClassSamples, epoch: int, logs: dict) -> None:
        """What is done with them."""
        raise NotImplementedError


class FrechetMonitor(Drawing):
    """Adds `val_frechet_distance` to the logs of every few epochs."""

    def __init__(
        self,
        distance: Callable[[ClassSamples], float],
        class_names: Sequence[str],
        every: int,
        per_class: int,
    ):
        super().__init__(class_names, every, per_class)
        self.distance = distance

    def look_at(self, samples, epoch, logs):
        """Measures them."""
        logs["val_frechet_distance"] = self.distance(samples)


PER_CLASS = 25


def frechet_monitor(run: RunFolder, dataset: Dataset, every: int) -> FrechetMonitor:
    """Measures the distance to the split `validation`, by the features of the run's baseline."""
    baseline = load_trained_model(run.require_model("baseline"), BaselineCNN)
    real = dataset.split("validation")
    if len(real) < 2:
        raise UserError("A Fréchet distance needs two pictures in the split validation at least.")

    reference = baseline_features(baseline, real.images)

    def distance(samples: ClassSamples) -> float:
        return frechet_distance(reference, baseline_features(baseline, samples.levels))

    return FrechetMonitor(distance, dataset.class_names, every, PER_CLASS)
