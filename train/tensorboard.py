"""TensorBoard for a training run."""

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np

from keras_pixelcnnpp.data.dataset import Dataset
from keras_pixelcnnpp.data.images import picture_grid, png_pixels, to_pixels
from keras_pixelcnnpp.evaluate.classification_figures import confusion_matrix_png
from keras_pixelcnnpp.optimizers import averaged_weights
from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.sampling.class_samples import ClassSamples
from keras_pixelcnnpp.train.monitors import ValidationMonitor

GRID_PICTURES = 64


def tensorboard_callbacks(
    run: RunFolder,
    section: str,
    dataset: Dataset,
    pictures,
    monitor: ValidationMonitor,
    sample_every: int = 0,
    histogram_every: int = 0,
) -> list[keras.callbacks.Callback]:
    """The callbacks that write scalars, pictures, histograms and the configuration for TensorBoard.

    Args:
        run: The run folder, started.
        section: `"pixelcnnpp"` or `"baseline"`, what is trained.
        dataset: The data, for its class names and levels.
        pictures: The `LabelledImages` that are trained on; the first of them are shown.
        monitor: The callback that measures; it must be called before these.
        sample_every: Epochs from one grid of generated pictures to the next; 0: none.
        histogram_every: Epochs from one set of histograms of the weights to the next; 0: none.

    Returns:
        An empty list, after one printed line, where TensorFlow or TensorBoard is missing.
    """
    missing = [name for name in ("tensorflow", "tensorboard") if find_spec(name) is None]
    if missing:
        print(f"No TensorBoard logs: {' and '.join(missing)} not installed.")
        return []
    _leave_accelerators_to_the_backend()
    log_dir, config = run.logs(section), run.read_config()
    pixels = to_pixels(pictures.images[:GRID_PICTURES], dataset.num_levels)
    callbacks = [
        keras.callbacks.TensorBoard(
            str(log_dir), histogram_freq=histogram_every, write_graph=False
        ),
        TensorBoardPictures(log_dir / "pictures", pixels, monitor, dataset.class_names),
        TensorBoardConfiguration(
            log_dir / "configuration",
            hyperparameters(section, config[section], config["data"]),
            configuration_text(config[section], config["data"]),
        ),
    ]
    if sample_every:
        callbacks.append(TensorBoardSamples(log_dir / "samples", dataset.class_names, sample_every))
    return callbacks


def _leave_accelerators_to_the_backend() -> None:
    # TensorFlow claims all of a GPU's memory at its first operation, even if it only writes logs.
    if keras.backend.backend() != "tensorflow":
        import tensorflow as tf

        tf.config.set_visible_devices([], "GPU")


WATCHING = ("sample_every", "histogram_every", "frechet_every")


def hyperparameters(section: str, config: dict, data: dict) -> dict[str, bool | float | str]:
    """What tells runs apart, as booleans, numbers and strings.

    Args:
        section: `"pixelcnnpp"` or `"baseline"`.
        config: That section of `config.json`.
        data: The section `data` of `config.json`.

    Returns:
        The section as `model`, the name of the data as `data`, `parameters`, and the options by
        name, without those that are `None`.

    Example:

    >>> hyperparameters("baseline", {"options": {"filters": [20, 40]}, "parameters": 7},
    ...                 {"source": "digits"})
    {'model': 'baseline', 'data': 'digits', 'parameters': 7, 'filters': '20,40'}
    """
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
    """The configuration in Markdown: tables of the options, the data and the versions.

    Args:
        config: A section of `config.json`.
        data: The section `data` of `config.json`.
    """
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
    """TensorFlow's summary writer, whatever Keras's backend is.

    TensorFlow is imported, and the file made, when something is written.

    Args:
        log_dir: The folder of these logs; no other writer may use it.

    Example:

    ```python
    SummaryWriter("runs/digits/logs/pixelcnnpp/samples").image("samples/koala", pixels, step=4)
    ```
    """

    def __init__(self, log_dir: str | Path):
        self.log_dir = str(log_dir)
        self._writer = None

    def image(self, name: str, pixels: np.ndarray, step: int) -> None:
        """Writes a picture, uint8 `[height, width, channels]`, 0 to 255."""
        import tensorflow as tf

        with self._open():
            tf.summary.image(name, pixels[np.newaxis], step=step)
        self._writer.flush()

    def scalar(self, name: str, value: float, step: int) -> None:
        """Writes a number."""
        import tensorflow as tf

        with self._open():
            tf.summary.scalar(name, value, step=step)
        self._writer.flush()

    def text(self, name: str, markdown: str) -> None:
        """Writes a text in Markdown."""
        import tensorflow as tf

        with self._open():
            tf.summary.text(name, markdown, step=0)
        self._writer.flush()

    def hparams(self, values: dict[str, bool | float | str]) -> None:
        """Writes hyperparameters; the scalars of this writer become their metrics."""
        from tensorboard.plugins.hparams import api

        with self._open():
            # By default, runs of the same hyperparameters would become one row, their mean. Without
            # a name a row is called after its folder.
            api.hparams(values, trial_id="")
        self._writer.flush()

    def _open(self):
        import tensorflow as tf

        if self._writer is None:
            self._writer = tf.summary.create_file_writer(self.log_dir)
        return self._writer.as_default()


class TensorBoardConfiguration(keras.callbacks.Callback):
    """Writes hyperparameters, the metrics they are judged by, and the configuration as text.

    A TensorBoard over several runs shows them side by side under HPARAMS.

    No list of hyperparameters and metrics is declared (`hparams_config`): TensorBoard would take
    one run's list for all. It gathers them from the runs instead, and takes for metrics all scalars
    in the folder of the hyperparameters. So these get a folder of their own, with a second copy of
    the few numbers that matter.

    Args:
        log_dir: The folder of these logs; no other writer may use it.
        hparams: Hyperparameters by name: booleans, numbers and strings.
        text: The configuration, in Markdown.
    """

    METRICS = ("val_bits_per_dim", "val_accuracy", "val_frechet_distance")

    def __init__(self, log_dir: str | Path, hparams: dict[str, bool | float | str], text: str):
        super().__init__()
        self.hparams = hparams
        self.text = text
        self._writer = SummaryWriter(log_dir)
        self._written = False

    def on_train_begin(self, logs=None):
        """Called by Keras, once for each phase of the training."""
        if not self._written:
            self._writer.hparams(self.hparams)
            self._writer.text("configuration", self.text)
            self._written = True

    def on_epoch_end(self, epoch, logs=None):
        """Called by Keras."""
        for name in self.METRICS:
            if name in (logs or {}):
                self._writer.scalar(name, logs[name], epoch)


class TensorBoardPictures(keras.callbacks.Callback):
    """Writes a grid of training pictures, and a confusion matrix after every epoch.

    Args:
        log_dir: The folder of these logs; no other writer may use it.
        pixels: uint8 `[count, height, width, channels]`, 0 to 255: training pictures to show.
        monitor: The callback whose predictions are drawn; it must come before this one.
        class_names: The name of each class.
    """

    def __init__(
        self,
        log_dir: str | Path,
        pixels: np.ndarray,
        monitor: ValidationMonitor,
        class_names: Sequence[str],
    ):
        super().__init__()
        self.pixels = pixels
        self.monitor = monitor
        self.class_names = class_names
        self._writer = SummaryWriter(log_dir)
        self._shown = False

    def on_train_begin(self, logs=None):
        """Called by Keras, once for each phase of the training."""
        if not self._shown:
            self._writer.image("training pictures", picture_grid(self.pixels), step=0)
            self._shown = True

    def on_epoch_end(self, epoch, logs=None):
        """Called by Keras."""
        if self.monitor.predicted is None:
            return
        png = confusion_matrix_png(
            self.monitor.labels, self.monitor.predicted, self.class_names, f"epoch {epoch + 1}"
        )
        self._writer.image("confusion matrix", png_pixels(png), epoch)


class TensorBoardSamples(keras.callbacks.Callback):
    """Writes a grid of generated pictures for each class, every few epochs.

    They are drawn with the averaged weights, and from the same random numbers every time, so that
    one sees how the same pictures change.

    Args:
        log_dir: The folder of these logs; no other writer may use it.
        class_names: The name of each class.
        every: Integer, the number of epochs from one grid to the next.
        per_class: Integer, the number of pictures of each class.
    """

    def __init__(
        self, log_dir: str | Path, class_names: Sequence[str], every: int, per_class: int = 9
    ):
        super().__init__()
        self.class_names = class_names
        self.every = every
        self.per_class = per_class
        self._writer = SummaryWriter(log_dir)

    def on_epoch_end(self, epoch, logs=None):
        """Called by Keras."""
        if (epoch + 1) % self.every:
            return
        with averaged_weights(self.model):
            samples = ClassSamples.draw(self.model, self.class_names, self.per_class, verbose=0)
        for name, grid in samples.grids().items():
            self._writer.image(f"samples/{name}", grid, epoch)


def sample_every(chosen: int | None) -> int:
    """After how many epochs to draw pictures for TensorBoard: the user's choice, or the default."""
    # torch runs the sampler one operation at a time: minutes for pictures of 32×32.
    if chosen is None:
        return 0 if keras.backend.backend() == "torch" else 5
    return chosen
