"""TensorBoard for a training run."""

from importlib.util import find_spec

import keras

from keras_pixelcnnpp.callbacks import (
    TensorBoardConfiguration,
    TensorBoardPictures,
    TensorBoardSamples,
    ValidationMonitor,
)
from keras_pixelcnnpp.datasets.dataset import Dataset
from keras_pixelcnnpp.datasets.images import to_pixels
from keras_pixelcnnpp.run_folder import RunFolder
from keras_pixelcnnpp.training.configuration_text import configuration_text, hyperparameters

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
