import io

import keras
import numpy as np
import pytest
import tiny
from PIL import Image

from keras_pixelcnnpp.data.batches import ImageBatches
from keras_pixelcnnpp.data.images import image_grid
from keras_pixelcnnpp.distributions.bits import bits_per_dim
from keras_pixelcnnpp.distributions.levels import quantize
from keras_pixelcnnpp.estimators.classifiers import PixelCNNClassifier
from keras_pixelcnnpp.sampling.class_samples import ClassSamples
from keras_pixelcnnpp.train.monitors import (
    HistoryFile,
    TensorBoardLog,
    ValidationMonitor,
    max_validation_examples,
    with_averaged_weights,
)
from keras_pixelcnnpp.training.optimizers import averaged_weights
from keras_pixelcnnpp.training.run import read_history

pytestmark = [pytest.mark.once, pytest.mark.eagerly]


def log(path, losses):
    """Runs a training that logs a loss for each epoch."""
    history = HistoryFile(path)
    for epoch, loss in losses.items():
        history.on_epoch_begin(epoch)
        history.on_epoch_end(epoch, {"loss": loss})


def test_a_resumed_run_goes_on_with_its_file(tmp_path):
    path = tmp_path / "logs" / "history.json"
    log(path, {0: 4.0, 1: float("nan"), 2: 3.0})
    first = read_history(path)
    assert [row["epoch"] for row in first] == [1, 2, 3]
    assert [row["loss"] for row in first] == [4, None, 3]  # JSON has no NaN
    assert all(row["seconds"] >= 0 for row in first)
    # Killed between the log and the checkpoint of epoch 3, which is then repeated.
    log(path, {2: 2.0, 3: 1.0})
    rows = read_history(path)
    assert rows[:2] == first[:2]
    assert [row["loss"] for row in rows] == [4, None, 2, 1]


@pytest.mark.parametrize("content", ["[{", "{}", "\xff", "[" * 100_000])
def test_damaged_file_counts_as_none(tmp_path, content):
    path = tmp_path / "history.json"
    path.write_text(content, encoding="latin-1")
    assert read_history(path) == []
    assert read_history(tmp_path / "none.json") == []
    log(path, {0: 1.0})
    assert [row["loss"] for row in read_history(path)] == [1]


def test_measuring_takes_no_longer_than_the_epoch():
    # 190 forward passes; 64 steps of three passes each
    assert max_validation_examples(None, 64, num_classes=10) == 19
    assert max_validation_examples(None, 2, num_classes=10) == 10  # one image per class


def training_batches():
    """Batches of images with values between those of the levels."""
    split, how = tiny.tiny_split(24), {"batch_size": 10, "seed": 3, "horizontal_flip": True}
    return ImageBatches(split.images // 2, split.labels, **how)


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A model after four epochs, its logs in memory and on disk, and its monitor."""
    folder = tmp_path_factory.mktemp("logs")
    model, split = tiny.untrained_pixelcnn(class_names=tiny.NAMES), tiny.tiny_split(24)
    model.compile(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9))
    monitor = ValidationMonitor(tiny.tiny_split(30, seed=1), max_examples=9)
    assert len(monitor.validation) == 9
    options = {"filters": [20, 40], "max_examples": None, "jit_compile": False, "data": "a|b"}
    board = TensorBoardLog(folder, monitor, options, training_batches(), sample_every=2)
    expected = {}

    def look(epoch, logs):
        with averaged_weights(model):
            images, labels = monitor.validation.images, monitor.validation.labels
            probabilities = PixelCNNClassifier(model).predict_proba(images)
            log_probs = model.log_prob(images, labels)
        chosen = np.take_along_axis(probabilities, labels[:, None].astype(int), 1)
        expected["val_accuracy"] = np.mean(probabilities.argmax(axis=1) == labels)
        expected["val_cross_entropy"] = -np.log(chosen).mean()
        expected["val_bits_per_dim"] = bits_per_dim(log_probs, model.image_shape).mean()

    compare = keras.callbacks.LambdaCallback(on_epoch_end=look)
    callbacks = with_averaged_weights([monitor, compare, board])
    fitted = model.fit(split.images, split.labels, epochs=4, verbose=0, callbacks=callbacks)
    history = fitted.history
    return model, history, expected, folder


def test_numbers_are_those_of_the_averaged_weights(watched):
    _, history, expected, _ = watched
    for name, value in expected.items():
        assert history[name][-1] == pytest.approx(value, rel=1e-5), name


def test_weights_that_are_not_finite_are_for_the_checkpoint_to_refuse():
    model, logs = tiny.untrained_pixelcnn(), {}
    gain = model.trainable_variables[1]
    gain.assign(np.full(gain.shape, np.nan))
    monitor = ValidationMonitor(tiny.tiny_split(3))
    monitor.set_model(model)
    monitor.on_epoch_end(0, logs)
    assert np.isnan([logs["val_bits_per_dim"], logs["val_cross_entropy"]]).all()


def events(folder):
    """Returns the events that TensorBoard reads from the logs."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    return accumulator.EventAccumulator(str(folder)).Reload()


def test_tensorboard_has_curves_training_images_and_samples(watched):
    model, history, _, folder = watched
    for part, name in (("train", "bits_per_dim"), ("validation", "val_accuracy")):
        scalars = events(folder / part).Scalars(f"epoch_{name.removeprefix('val_')}")
        assert [event.step for event in scalars] == [0, 1, 2, 3]
        assert [event.value for event in scalars] == pytest.approx(history[name])
    found = events(folder / "validation")
    steps = {tag: [event.step for event in found.Images(tag)] for tag in found.Tags()["images"]}
    assert steps == {f"samples/{name}": [1, 3] for name in tiny.NAMES}
    images, _ = training_batches()[0]
    content = events(folder / "train").Images("images/training")
    assert [event.step for event in content] == [0]
    grid = image_grid(quantize(images, 5))
    assert (np.asarray(Image.open(io.BytesIO(content[0].encoded_image_string))) == grid).all()
    # `fit` ends by putting the averaged weights into the model.
    grids = ClassSamples.sample(model, TensorBoardLog.PER_CLASS, seed=0).grids()
    for name, grid in grids.items():
        content = found.Images(f"samples/{name}")[-1].encoded_image_string
        # TensorBoard stores gray images with three equal channels.
        assert (np.asarray(Image.open(io.BytesIO(content))) == grid).all()


def test_hyperparameters_are_what_tensorboard_takes(watched):
    plugin = pytest.importorskip("tensorboard.plugins.hparams.plugin_data_pb2")
    found = events(watched[-1] / "validation")
    content = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    written = plugin.HParamsPluginData.FromString(content).session_start_info.hparams
    assert {name: getattr(value, value.WhichOneof("kind")) for name, value in written.items()} == {
        "filters": "20,40",
        "jit_compile": False,
        "data": "a|b",
    }
