"""Callbacks that evaluate on held-out images, write the history, and log for TensorBoard."""

import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import keras
import numpy as np
from tensorboardX import SummaryWriter, summary

from keras_pixelcnnpp.data.batches import ImageBatches
from keras_pixelcnnpp.data.dataset import LabeledImages
from keras_pixelcnnpp.data.images import image_grid
from keras_pixelcnnpp.distributions.bits import bits_per_dim
from keras_pixelcnnpp.distributions.levels import quantize
from keras_pixelcnnpp.evaluate.metrics.classifiers import mean_log_loss
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.sampling.class_samples import ClassSamples
from keras_pixelcnnpp.training.optimizers import averaged_weights
from keras_pixelcnnpp.training.run import read_history
from keras_pixelcnnpp.utils.files import write_json


def max_validation_examples(
    chosen: int | None, training_images: int, num_classes: int
) -> int | None:
    """Returns how many validation images to evaluate after each epoch, or `None` for all.

    The model scores each image `num_classes` times. `chosen` is the user's choice, 0 for all.
    """
    if chosen is not None:
        return chosen or None
    # No more work than the epoch itself, in which a backward pass costs two forward passes.
    return max(3 * training_images // max(num_classes, 1), num_classes, 1)


def with_averaged_weights(
    callbacks: Sequence[keras.callbacks.Callback],
) -> list[keras.callbacks.Callback]:
    """Wraps callbacks so that the model has its averaged weights at the end of each epoch.

    The callbacks thus evaluate and save the weights that the trained model will have.
    """
    block = ExitStack()
    first = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: block.enter_context(averaged_weights(first.model))
    )
    last = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: block.close())
    return [first, *callbacks, last]


class ValidationMonitor(keras.callbacks.Callback):
    """Adds `val_accuracy`, `val_bits_per_dim` and `val_cross_entropy` to the logs of an epoch.

    It computes them as `pixelcnnpp evaluate` does: without dropout, with all classes as candidates.
    Callbacks that use these logs must come after it. It scores at most `max_examples` validation
    images.
    """

    def __init__(
        self, validation: LabeledImages, max_examples: int | None = None, batch_size: int = 256
    ):
        super().__init__()
        self.total = len(validation)
        self.validation = validation.some(max_examples)
        self.batch_size = batch_size

    def __str__(self) -> str:
        count = len(self.validation)
        of = "all" if count == self.total else f"{count} (--max-validation-examples) of"
        return f"After each epoch, val_…: {of} {self.total} validation images, averaged weights."

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if logs is not None:
            logs.update({f"val_{name}": value for name, value in self._measure().items()})

    def _measure(self) -> dict[str, float]:
        model, images, labels = self.model, self.validation.images, self.validation.labels
        conditions = getattr(model, "conditions", None)  # `None` for the baseline CNN
        if conditions is not None and not conditions.num_classes:
            values = conditions.from_data(self.validation)
            bits = model.bits_per_dim(images, values, self.batch_size, verbose=0)
            return {"bits_per_dim": float(np.mean(bits))}
        measured = {}
        if isinstance(model, BaselineCNN):
            probabilities = model.class_probabilities(images, self.batch_size)
        else:
            condition = conditions.from_data(self.validation)
            scores = model.class_log_likelihoods(
                images, self.batch_size, verbose=0, condition=condition
            )
            probabilities = model.posterior.probabilities(scores)
            of_label = np.take_along_axis(scores, labels[:, None].astype(int), axis=1)
            measured["bits_per_dim"] = float(np.mean(bits_per_dim(of_label, model.image_shape)))
        measured["accuracy"] = float(np.mean(probabilities.argmax(axis=1) == labels))
        measured["cross_entropy"] = mean_log_loss(labels, probabilities)
        return measured


class HistoryFile(keras.callbacks.Callback):
    """Writes the logs of every epoch to a JSON file, one object per epoch.

    Each object also has `epoch` and `seconds`. Numbers that are not finite become `null`. A resumed
    run continues the file, and replaces the epochs that are trained again.
    """

    # With keras.callbacks.CSVLogger, a killed run may leave an incomplete line, and a resumed run
    # may write an epoch twice. This file is always replaced as a whole.

    def __init__(self, path: str | Path):
        super().__init__()
        self.path = Path(path)
        self._start = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        earlier = [row for row in read_history(self.path) if row["epoch"] <= epoch]
        seconds = round(time.perf_counter() - self._start, 3)
        row = {"epoch": epoch + 1, "seconds": seconds}
        for name, value in (logs or {}).items():
            row[name] = float(value) if math.isfinite(value) else None
        write_json(self.path, [*earlier, row])


class TensorBoardLog(keras.callbacks.Callback):
    """Writes curves, hyperparameters, training images and samples for TensorBoard.

    Folders and tags are those of `keras.callbacks.TensorBoard`, which needs TensorFlow. The scalars
    in the folder `validation` become the metrics of the hyperparameters. The training images are
    the first ones of `batches`, cropped, flipped and rounded to the levels of the model. Every
    `sample_every` epochs, it samples images of each class with the same random numbers.
    """

    PER_CLASS = 9
    TRAINING_IMAGES = 36

    def __init__(
        self,
        log_dir: Path,
        monitor: ValidationMonitor,
        hyperparameters: dict,
        batches: ImageBatches,
        sample_every: int = 0,
    ):
        super().__init__()
        self.monitor = monitor
        self.batches = batches
        self.sample_every = sample_every
        parts = ("train", "validation")
        self._writers = {part: SummaryWriter(str(log_dir / part)) for part in parts}
        values = {
            name: ",".join(map(str, value)) if isinstance(value, list | tuple) else value
            for name, value in hyperparameters.items()
        }
        # Only the values of a session without a group name: otherwise TensorBoard would merge runs
        # with the same values into one row with their mean.
        _, session, _ = summary.hparams(values, {})
        self._writers["validation"].file_writer.add_summary(session)

    def __del__(self) -> None:
        for writer in self._writers.values():
            writer.close()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        if epoch == 0 and self._has_pictures:
            images, *_ = self.batches[0]
            shown = quantize(images[: self.TRAINING_IMAGES], self.model.num_levels)
            grid = image_grid(shown)
            self._writers["train"].add_image("images/training", grid, 0, dataformats="HWC")

    @property
    def _has_pictures(self) -> bool:
        """Whether the images are gray or RGB; others are left out, and so are codes."""
        return self.model.image_shape[-1] in (1, 3) and self.model.ordered_levels

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        for name, value in {**(logs or {}), "learning_rate": rate}.items():
            part = "validation" if name.startswith("val_") else "train"
            if math.isfinite(value):
                tag = f"epoch_{name.removeprefix('val_')}"
                self._writers[part].add_scalar(tag, float(value), epoch)
        has_samples = self.sample_every and self._has_pictures
        if has_samples and (epoch + 1) % self.sample_every == 0:
            for name, grid in self._samples().items():
                images = self._writers["validation"]
                images.add_image(f"samples/{name}", grid, epoch, dataformats="HWC")
        for writer in self._writers.values():
            writer.flush()  # a killed process would lose what a background thread has not written

    def _samples(self) -> dict[str, np.ndarray]:
        """Returns a grid of samples of each class, or given values of the validation images."""
        conditions = self.model.conditions
        if not conditions.needs_values:
            return ClassSamples.sample(self.model, self.PER_CLASS, seed=0, verbose=0).grids()
        first = self.monitor.validation.take(slice(self.PER_CLASS))
        images = self.model.sample(conditions.from_data(first), seed=0, verbose=0)
        return {conditions.one_value: image_grid(images)}
