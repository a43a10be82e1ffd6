import os
import re
import signal

import keras
import numpy as np
import pytest
import tiny
from keras import ops
from layer_checks import flat_weights

from keras_pixelcnnpp.data.batches import ImageBatches
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.recipes.recipe import PixelCNNRecipe
from keras_pixelcnnpp.train.monitors import with_averaged_weights
from keras_pixelcnnpp.training import train as training
from keras_pixelcnnpp.training.checkpoints import Checkpoints, Progress, TrainingStopped
from keras_pixelcnnpp.training.optimizers import LikelihoodFirst, averaged_weights
from keras_pixelcnnpp.training.train import fit_epochs
from keras_pixelcnnpp.utils.backend import variable_value

pytestmark = pytest.mark.once


class Scores(keras.Model):
    """A model with dropout, so that random state matters, and a second term of the loss."""

    def __init__(self):
        super().__init__()
        self.weight = 0.1
        self.flatten = keras.layers.Flatten()
        self.dropout = keras.layers.Dropout(0.5)
        self.dense = keras.layers.Dense(3)
        self.build((None, 4, 4, 1))

    def build(self, input_shape):
        self.dense.build((None, 16))

    def call(self, images, training=False):
        x = ops.cast(self.flatten(images), "float32")
        return ops.log_softmax(self.dense(self.dropout(x, training=training)))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True, **_):
        scores = ops.take_along_axis(y_pred, y[:, None], axis=1)
        return self.weight * ops.mean(y_pred) - ops.mean(scores)

    @property
    def likelihood_only(self):
        return self.weight == 0

    @likelihood_only.setter
    def likelihood_only(self, value):
        self.weight = 0.0 if value else 0.1
        self.train_function = None


def train(folder, callbacks=(), epochs=4):
    keras.utils.set_random_seed(0)
    model = Scores()
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.95)
    optimizer = keras.optimizers.Adam(schedule, use_ema=True, ema_momentum=0.8)
    model.compile(optimizer, run_eagerly=True)
    model.optimizer.build(model.trainable_variables)
    split = tiny.tiny_split(24)
    batches = ImageBatches(split.images, split.labels, batch_size=8, horizontal_flip=True)
    fit_epochs(model, batches, epochs, folder, [LikelihoodFirst(2), *callbacks], verbose=0)
    return model


class Record(keras.callbacks.Callback):
    """Records the logs of epochs, and sends the process a signal in a given step."""

    def __init__(self, number=None, epoch=None, step=None):
        super().__init__()
        self.number = number
        self.at = (epoch, step)
        self.steps = 0
        self.logs = {}

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        self.steps += 1
        if (self.epoch, batch) == self.at:
            os.kill(os.getpid(), self.number)

    def on_epoch_end(self, epoch, logs=None):
        self.logs[epoch] = dict(logs)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Final weights and logs of an uninterrupted run with 4 epochs of 3 steps."""
    record = Record()
    return flat_weights(train(tmp_path_factory.mktemp("whole"), [record])), record.logs


@pytest.mark.parametrize(
    ("number", "epoch", "step"),
    [
        (signal.SIGINT, 1, 2),
        (signal.SIGTERM, 2, 0),
        (signal.SIGTERM, 3, 2),
    ],
    ids=["end-of-likelihood", "after-it", "last"],
)
def test_stopped_run_goes_on_from_the_very_step(tmp_path, whole, number, epoch, step):
    before = Record(number, epoch, step)
    with pytest.raises(TrainingStopped):
        train(tmp_path, [before])
    assert before.steps == 3 * epoch + step + 1
    progress = Progress(epoch, step + 1) if step < 2 else Progress(epoch + 1)
    assert Checkpoints(tmp_path).saved()[-1] == progress
    after = Record()
    resumed = train(tmp_path, [after])
    assert before.steps + after.steps == 12
    np.testing.assert_array_equal(flat_weights(resumed), whole[0])
    # No epoch lacks its logs, and those of the interrupted epoch are means over all of its steps.
    logs = before.logs | after.logs
    assert logs.keys() == whole[1].keys()
    for index in logs:
        assert logs[index] == pytest.approx(whole[1][index], rel=1e-6)


def test_metrics_of_compile_go_on_too(tmp_path):
    """The metrics of the CNN continue, which Keras creates in the first step."""

    def train_cnn(folder, *callbacks):
        keras.utils.set_random_seed(0)
        model = BaselineCNN((4, 4, 1), 3, filters=2, num_blocks=1)
        model.compile(keras.optimizers.SGD(0.01), run_eagerly=True)
        split = tiny.tiny_split(24)
        batches = ImageBatches(split.images, split.labels, batch_size=8)
        fit_epochs(model, batches, 2, folder, callbacks, verbose=0)
        return flat_weights(model)

    whole, rest = Record(), Record()
    weights = train_cnn(tmp_path / "whole", whole)
    with pytest.raises(TrainingStopped):
        train_cnn(tmp_path / "parts", Record(signal.SIGINT, 1, 1))
    np.testing.assert_array_equal(train_cnn(tmp_path / "parts", rest), weights)
    assert rest.logs == {1: pytest.approx(whole.logs[1], rel=1e-6)}
    assert "accuracy" in rest.logs[1]


def test_stopped_several_times_within_an_epoch(tmp_path, whole):
    for _ in range(2):
        with pytest.raises(TrainingStopped):
            train(tmp_path, [Record(signal.SIGTERM, 2, 0)])
    assert Checkpoints(tmp_path).saved() == [Progress(2, 1), Progress(2, 2)]
    np.testing.assert_array_equal(flat_weights(train(tmp_path)), whole[0])


def test_resuming_a_run_without_a_checkpoint_and_a_finished_one(tmp_path, whole):
    for _ in range(2):
        np.testing.assert_array_equal(flat_weights(train(tmp_path)), whole[0])


def test_weights_that_a_callback_restores_stay(tmp_path):
    """A callback ends the training, with the averaged weights of the best epoch."""
    best = {}

    def watch(epoch, logs):
        logs["watched"] = [3.0, 1.0, 2.0][epoch]
        if epoch == 1:
            with averaged_weights(watcher.model):
                best["weights"] = flat_weights(watcher.model)

    watcher = keras.callbacks.LambdaCallback(on_epoch_end=watch)
    stopping = keras.callbacks.EarlyStopping(
        "watched", patience=1, mode="min", restore_best_weights=True
    )
    model = train(tmp_path, with_averaged_weights([watcher, stopping]))
    assert Checkpoints(tmp_path).saved()[-1] == Progress(3)
    np.testing.assert_array_equal(flat_weights(model), best["weights"])


# Images that are difficult for a likelihood: without any noise, or only noise.
SHAPE = (400, 4, 4, 3)
IMAGES = {
    "black": np.zeros(SHAPE, "uint8"),
    "constant": np.full(SHAPE, 100, "uint8"),
    "saturated": np.random.default_rng(0).choice([0, 255], SHAPE).astype("uint8"),
    "noise": np.random.default_rng(0).integers(0, 256, SHAPE, "uint8"),
}


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "float32"])
def test_training_stays_finite(tmp_path, precision):
    """The learning rate is fifty times that of a preset, so that log-scales reach their minimum."""
    keras.config.set_dtype_policy(precision)
    options = {"num_classes": 2, "num_levels": 256, "num_mixtures": 2, "dropout_rate": 0.15}
    model = tiny.untrained_model(image_shape=SHAPE[1:], label_loss_weight=1.0, **options)
    model.compile(keras.optimizers.Adam(0.05))
    untrained = Checkpoints(tmp_path / "untrained")
    untrained.save(model, Progress())
    labels = np.arange(SHAPE[0]) % 2
    bits = {}
    for kind, images in IMAGES.items():
        untrained.restore(model)
        batches = ImageBatches(images, labels, batch_size=8)
        # Raises a UserError if the loss is not finite.
        fit_epochs(model, batches, 2, tmp_path / kind, verbose=0)
        for variable in model.weights:
            assert np.isfinite(variable_value(variable)).all(), kind
        bits[kind] = model.bits_per_dim(images[:16])
        assert np.isfinite(bits[kind]).all(), kind
    # An edge can be learned almost completely, two values cost 1 bit, and noise costs 8 bits.
    assert bits["black"].mean() < 1
    assert bits["saturated"].mean() == pytest.approx(1, abs=0.1)
    assert bits["noise"].mean() > 7.9


def test_weights_that_random_crops_would_ignore_are_refused():
    images, recipe = tiny.tiny_split(6), PixelCNNRecipe(random_crops=True).with_defaults()
    model = tiny.untrained_pixelcnn()
    with pytest.raises(ValueError, match="sample_weight"):
        training.train(model, images, recipe, sample_weight=np.ones(6))
    with pytest.raises(ValueError, match=r"`images.larger`\. Expected the images at their"):
        training.train(model, images, recipe)


def test_what_is_printed_of_each_epoch(tmp_path, capsys):
    """Resumed within an epoch, it counts to the last one, and prints no metric that is NaN."""
    model = tiny.untrained_pixelcnn(label_loss_weight=0.5)
    model.compile("adam", run_eagerly=True)
    batches = ImageBatches(tiny.IMAGES, tiny.LABELS, batch_size=6)
    model.optimizer.build(model.trainable_variables)
    first = LikelihoodFirst(2)
    with pytest.raises(TrainingStopped):
        fit_epochs(model, batches, 3, tmp_path, [first, Record(signal.SIGINT, 1, 0)], verbose=2)
    fit_epochs(model, batches, 3, tmp_path, [first], verbose=2)
    out = capsys.readouterr().out
    assert re.findall(r"Epoch \d/\d", out) == [f"Epoch {n}/3" for n in (1, 2, 2, 3)]
    epochs = [line for line in out.splitlines() if "bits_per_dim" in line]
    assert ["accuracy" in line for line in epochs] == [False, False, True]
    assert "nan" not in out
