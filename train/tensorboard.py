"""TensorBoard for a training run: scalars, pictures, and what tells it from other runs."""

import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import keras
import numpy as np
from keras import ops
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event

from keras_pixelcnnpp.data.dataset import Dataset, LabelledImages
from keras_pixelcnnpp.data.images import picture_grid, png_pixels, to_pixels
from keras_pixelcnnpp.evaluate.classification import part_rows, partial_report
from keras_pixelcnnpp.evaluate.classification_figures import (
    confusion_matrix_png,
    partial_png,
    reliability_png,
)
from keras_pixelcnnpp.optimizers import variable_value
from keras_pixelcnnpp.run import RunFolder, model_titles
from keras_pixelcnnpp.train.monitors import Drawing, ValidationMonitor
from keras_pixelcnnpp.train.options import WATCHING

GRID_PICTURES = 64


def tensorboard_callbacks(
    run: RunFolder,
    section: str,
    dataset: Dataset,
    pictures: LabelledImages,
    monitor: ValidationMonitor,
    sample_every: int = 0,
    histogram_every: int = 0,
    figures_every: int = 0,
) -> list[keras.callbacks.Callback]:
    """The callbacks that write scalars, pictures and histograms; writes the configuration.

    They use what `monitor` measures. `..._every` are in epochs, 0: never.
    """
    log_dir, config = run.logs(section), run.read_config()
    shown = SummaryWriter(log_dir / "pictures")
    pixels = to_pixels(pictures.images[:GRID_PICTURES], dataset.num_levels)
    shown.image("training_pictures", picture_grid(pixels), 0)
    # A folder of its own: see TensorBoardMetrics.
    configuration = SummaryWriter(log_dir / "configuration")
    configuration.hparams(hyperparameters(section, config[section], config["data"]))
    text = configuration_text(config[section], config["data"])
    configuration.add(summary.text("configuration", text))
    callbacks = [
        TensorBoardCurves(log_dir, histogram_every),
        TensorBoardConfusion(shown, monitor, dataset.class_names),
        TensorBoardMetrics(configuration),
    ]
    if figures_every:
        title = model_titles(config)[section]
        callbacks.append(TensorBoardFigures(shown, monitor, title, figures_every))
    if sample_every:
        writer = SummaryWriter(log_dir / "samples")
        callbacks.append(TensorBoardSamples(writer, dataset.class_names, sample_every))
    return callbacks


def hyperparameters(section: str, config: dict, data: dict) -> dict[str, bool | float | str]:
    """What tells runs apart, as booleans, numbers and strings: options, data, model."""
    options = {
        name: value
        for name, value in config["options"].items()
        if value is not None and name not in WATCHING
    }
    values = {
        "model": section,
        "data": Path(data["source"]).name,
        "parameters": config["parameters"],
        **options,
    }
    return {name: _plain(value) for name, value in values.items()}


def configuration_text(config: dict, data: dict) -> str:
    """The configuration in Markdown: tables of the options, the data and the versions."""
    parts = {
        "Options": {**config["options"], "parameters": f"{config['parameters']:,}"},
        "Data": data,
        "Versions": config["versions"],
    }
    return "\n\n".join(f"### {title}\n\n{_table(part.items())}" for title, part in parts.items())


def _plain(value) -> bool | float | str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else value


def _table(rows: Iterable[tuple]) -> str:
    lines = [f"| {name} | {_code(value)} |" for name, value in rows]
    return "\n".join(["| name | value |", "|---|---|", *lines])


def _code(value) -> str:
    text = "–" if value is None else str(_plain(value))
    return f"`{text}`" if text else ""


class SummaryWriter:
    """Writes what TensorBoard reads, with or without TensorFlow; the only one of its folder.

    The file is made when something is written.
    """

    # tensorboardX.SummaryWriter writes in a thread, which a process that is killed doesn't wait
    # for, and at a time that nobody can tell.

    def __init__(self, log_dir: str | Path):
        self.log_dir = Path(log_dir)
        self._writer = None

    def add(self, content: summary.Summary, step: int = 0) -> None:
        """Writes what a function of `tensorboardX.summary` makes."""
        if self._writer is None:
            self.log_dir.mkdir(parents=True, exist_ok=True)
            self._writer = EventsWriter(str(self.log_dir / "events"), f".{time.time_ns()}")
        self._writer.write_event(Event(wall_time=time.time(), step=step, summary=content))
        self._writer.flush()

    def __del__(self):
        if self._writer is not None:
            self._writer.close()

    def image(self, tag: str, pixels: np.ndarray, step: int) -> None:
        """Writes a picture, uint8 `[height, width, channels]`, 0 to 255."""
        self.add(summary.image(tag, pixels, dataformats="HWC"), step)

    def hparams(self, values: dict[str, bool | float | str]) -> None:
        """Writes hyperparameters; the scalars of this writer become their metrics."""
        # The values alone, of a session without a name for its group: runs of the same values would
        # become one row, their mean.
        _, session, _ = summary.hparams(values, {})
        self.add(session)


class TensorBoardCurves(keras.callbacks.Callback):
    """Writes what is logged of each epoch, and every few epochs histograms of the weights.

    In folders and by names as `keras.callbacks.TensorBoard`, which takes TensorFlow.
    """

    BINS = 30

    def __init__(self, log_dir: Path, histogram_every: int = 0):
        super().__init__()
        self.histogram_every = histogram_every
        self._writers = {name: SummaryWriter(log_dir / name) for name in ("train", "validation")}

    def on_epoch_end(self, epoch, logs=None):
        """Called by Keras."""
        rate = float(ops.convert_to_numpy(self.model.optimizer.learning_rate))
        for name, value in {**(logs or {}), "learning_rate": rate}.items():
            part = "validation" if name.startswith("val_") else "train"
            if math.isfinite(value):
                tag = f"epoch_{name.removeprefix('val_')}"
                self._writers[part].add(summary.scalar(tag, float(value)), epoch)
        if self.histogram_every and epoch % self.histogram_every == 0:
            for weight in self.model.weights:
                name = f"{weight.path}/histogram"
                content = summary.histogram(name, variable_value(weight), self.BINS)
                self._writers["train"].add(content, epoch)


class TensorBoardMetrics(keras.callbacks.Callback):
    """Writes the few numbers by which a TensorBoard over several runs judges hyperparameters."""

    # No list of hyperparameters and metrics is declared (`hparams_config`): TensorBoard would take
    # one run's list for all. It gathers them from the runs instead, and takes for metrics all
    # scalars in the folder of the hyperparameters.
    METRICS = ("val_bits_per_dim", "val_accuracy", "val_frechet_distance")

    def __init__(self, writer: SummaryWriter):
        super().__init__()
        self._writer = writer

    def on_epoch_end(self, epoch, logs=None):
        """Called by Keras."""
        for name in self.METRICS:
            if name in (logs or {}):
                self._writer.add(summary.scalar(name, logs[name]), epoch)


class TensorBoardConfusion(keras.callbacks.Callback):
    """Writes a confusion matrix of what the monitor, which comes before, predicted."""

    def __init__(
        self, writer: SummaryWriter, monitor: ValidationMonitor, class_names: Sequence[str]
    ):
        super().__init__()
        self.monitor = monitor
        self.class_names = class_names
        self._writer = writer

    def on_epoch_end(self, epoch, logs=None):
        """Called by Keras."""
        if self.monitor.probabilities is None:
            return
        predicted = self.monitor.probabilities[:, -1].argmax(axis=1)
        png = confusion_matrix_png(
            self.monitor.labels, predicted, self.class_names, f"epoch {epoch + 1}"
        )
        self._writer.image("confusion_matrix", png_pixels(png), epoch)


class TensorBoardFigures(keras.callbacks.Callback):
    """Writes two figures of `evaluate classification`, every few epochs, of the monitor's pictures.

    Reliability, and accuracy by the part that was seen, of a model that knows the law of the first
    rows. What the monitor measured is enough for both: they cost half a second of drawing.
    """

    def __init__(self, writer: SummaryWriter, monitor: ValidationMonitor, title: str, every: int):
        super().__init__()
        self.monitor = monitor
        self.title = title
        self.every = every
        self._writer = writer

    def on_epoch_end(self, epoch, logs=None):
        """Called by Keras."""
        labels, judged = self.monitor.labels, self.monitor.probabilities
        if judged is None or (epoch + 1) % self.every:
            return
        figures = {}
        if len(labels) > 1:
            title = f"{self.title}, epoch {epoch + 1}"
            figures["reliability"] = reliability_png(labels, {title: judged[:, -1]})
        if judged.shape[1] > 1:
            rows = part_rows(self.model.image_shape[0])
            report = partial_report(labels, rows, {"pixelcnnpp": judged})
            figures["accuracy_by_part_seen"] = partial_png(report, {"pixelcnnpp": self.title})
        for tag, png in figures.items():
            self._writer.image(tag, png_pixels(png), epoch)


class TensorBoardSamples(Drawing):
    """Writes a grid of generated pictures for each class, every few epochs."""

    def __init__(
        self, writer: SummaryWriter, class_names: Sequence[str], every: int, per_class: int = 9
    ):
        super().__init__(class_names, every, per_class)
        self._writer = writer

    def look_at(self, samples, epoch, logs):
        """Writes them."""
        for name, grid in samples.grids().items():
            self._writer.image(f"samples/{name}", grid, epoch)
