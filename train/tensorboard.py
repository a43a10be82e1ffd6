"""TensorBoard for a training run: scalars, pictures, and what tells it from other runs."""

from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np

from keras_pixelcnnpp.data.dataset import Dataset, LabelledImages
from keras_pixelcnnpp.data.images import picture_grid, png_pixels, to_pixels
from keras_pixelcnnpp.evaluate.classification_figures import confusion_matrix_png
from keras_pixelcnnpp.run import RunFolder
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
) -> list[keras.callbacks.Callback]:
    """The callbacks that write scalars, pictures and histograms; writes the configuration.

    None, after one printed line, where TensorFlow or TensorBoard is missing. They use what
    `monitor` measures. `..._every` are in epochs, 0: never.
    """
    missing = [name for name in ("tensorflow", "tensorboard") if find_spec(name) is None]
    if missing:
        print(f"No TensorBoard logs: {' and '.join(missing)} not installed.")
        return []
    _leave_accelerators_to_the_backend()
    log_dir, config = run.logs(section), run.read_config()
    shown = SummaryWriter(log_dir / "pictures")
    pixels = to_pixels(pictures.images[:GRID_PICTURES], dataset.num_levels)
    shown.image("training pictures", picture_grid(pixels), step=0)
    # A folder of its own: see TensorBoardMetrics.
    configuration = SummaryWriter(log_dir / "configuration")
    configuration.hparams(hyperparameters(section, config[section], config["data"]))
    configuration.text("configuration", configuration_text(config[section], config["data"]))
    callbacks = [
        keras.callbacks.TensorBoard(
            str(log_dir), histogram_freq=histogram_every, write_graph=False
        ),
        TensorBoardConfusion(shown, monitor, dataset.class_names),
        TensorBoardMetrics(configuration),
    ]
    if sample_every:
        writer = SummaryWriter(log_dir / "samples")
        callbacks.append(TensorBoardSamples(writer, dataset.class_names, sample_every))
    return callbacks


def _leave_accelerators_to_the_backend() -> None:
    # TensorFlow claims all of a GPU's memory at its first operation, even if it only writes logs.
    if keras.backend.backend() != "tensorflow":
        import tensorflow as tf

        tf.config.set_visible_devices([], "GPU")


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
    """TensorFlow's summary writer, whatever Keras's backend is; the only one of its folder.

    TensorFlow is imported, and the file made, when something is written.
    """

    def __init__(self, log_dir: str | Path):
        self.log_dir = str(log_dir)
        self._writer = None

    def image(self, name: str, pixels: np.ndarray, step: int) -> None:
        """Writes a picture, uint8 `[height, width, channels]`, 0 to 255."""
        with self._summary() as summary:
            summary.image(name, pixels[np.newaxis], step=step)

    def scalar(self, name: str, value: float, step: int) -> None:
        """Writes a number."""
        with self._summary() as summary:
            summary.scalar(name, value, step=step)

    def text(self, name: str, markdown: str) -> None:
        """Writes a text in Markdown."""
        with self._summary() as summary:
            summary.text(name, markdown, step=0)

    def hparams(self, values: dict[str, bool | float | str]) -> None:
        """Writes hyperparameters; the scalars of this writer become their metrics."""
        from tensorboard.plugins.hparams import api

        with self._summary():
            # By default, runs of the same hyperparameters would become one row, their mean. Without
            # a name a row is called after its folder.
            api.hparams(values, trial_id="")

    @contextmanager
    def _summary(self):
        import tensorflow as tf

        if self._writer is None:
            self._writer = tf.summary.create_file_writer(self.log_dir)
        with self._writer.as_default():
            yield tf.summary
        self._writer.flush()


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
                self._writer.scalar(name, logs[name], epoch)


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
        if self.monitor.predicted is None:
            return
        png = confusion_matrix_png(
            self.monitor.labels, self.monitor.predicted, self.class_names, f"epoch {epoch + 1}"
        )
        self._writer.image("confusion matrix", png_pixels(png), epoch)


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


def sample_every(chosen: int | None) -> int:
    """After how many epochs to draw pictures for TensorBoard: the user's choice, or the default."""
    # torch runs the sampler one operation at a time: minutes for pictures of 32×32.
    if chosen is None:
        return 0 if keras.backend.backend() == "torch" else 5
    return chosen
