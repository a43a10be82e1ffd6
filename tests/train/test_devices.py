import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny

from keras_pixelcnnpp.data.batches import ImageSequence
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.train.devices import DataParallel, DivisibleSequence

SUPPORT = Path(__file__).parent.parent / "support"

# In a process of its own: the number of devices is fixed when the backend starts.
TRAIN = """
import keras
import numpy as np

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

import tiny
from keras_pixelcnnpp.data.batches import ImageSequence
from keras_pixelcnnpp.optimizers import make_optimizer, variable_value
from keras_pixelcnnpp.train.devices import DataParallel
from keras_pixelcnnpp.train.loop import train_epochs

split = tiny.tiny_split(21)  # the last batch has 5 images
batches = ImageSequence(split.images, split.labels, batch_size=8, num_classes=3)


def train(folder, epochs, parallel, callbacks=()):
    keras.utils.set_random_seed(0)
    # Dropout off: each device has its own masks.
    model = tiny.untrained_pixelcnn(dropout_rate=0.0, label_loss_weight=0.5)
    model.initialize(split.images, split.labels)
    model.compile(make_optimizer({"learning_rate": 0.01, "ema_momentum": 0.8}, 1000))
    train_epochs(model, batches, epochs, folder, callbacks, parallel=parallel, verbose=0)
    return model


expected = train("one", 2, None)
train("two", 1, DataParallel(2))
received = train("two", 2, DataParallel(2))
for got, want in zip(
    [*received.variables, *received.optimizer.variables],
    [*expected.variables, *expected.optimizer.variables],
    strict=True,
):
    np.testing.assert_allclose(variable_value(got), variable_value(want), rtol=0, atol=1e-5)

# The weights that a callback restores stay: those of the first epoch.
kept = []
watch = keras.callbacks.LambdaCallback(
    on_epoch_end=lambda epoch, logs: (
        logs.update(watched=epoch),
        kept.append([variable_value(v) for v in watch.model.trainable_variables]),
    )
)
best = keras.callbacks.EarlyStopping("watched", mode="min", patience=9, restore_best_weights=True)
restored = train("best", 2, DataParallel(2), [watch, best])
for got, first, last in zip(restored.trainable_variables, *kept, strict=True):
    np.testing.assert_array_equal(variable_value(got), first)
    assert (first != last).any()
"""


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.jax
def test_two_devices_give_the_result_of_one(tmp_path):
    """Weights, averages and moments, although the training on two was broken off and resumed."""
    environ = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join([str(SUPPORT), *filter(None, sys.path)]),
        # Of the device count that JAX sees on a CPU.
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    subprocess.run([sys.executable, "-c", TRAIN], env=environ, cwd=tmp_path, check=True)


@pytest.mark.tensorflow
@pytest.mark.jax
def test_more_devices_than_there_are():
    with pytest.raises(UserError, match="devices=99"):
        DataParallel(99)


@pytest.mark.torch
def test_not_under_torch():
    with pytest.raises(UserError, match="not supported under torch"):
        DataParallel(2)


@pytest.mark.parametrize("count", [24, 23])
def test_weighted_mean_over_all_rows_is_the_mean_over_the_images(count):
    split = tiny.tiny_split(count)
    whole = ImageSequence(split.images, split.labels, batch_size=9, num_classes=3)
    whole.set_epoch(3)
    divisible = DivisibleSequence(whole, 3)
    for index in range(len(whole)):
        expected, batch = whole[index][0]["image"], divisible[index]
        images = batch[0]["image"]
        assert len(images) % 3 == 0
        np.testing.assert_array_equal(images[: len(expected)], expected)
        if count == 24:
            assert len(batch) == 1
            assert len(images) == len(expected)
        else:
            weights = batch[2][:, None, None, None]
            assert (weights > 0).sum() == len(expected)
            mean = np.mean(images * weights.astype(float), axis=0)
            np.testing.assert_allclose(mean, expected.mean(axis=0), rtol=1e-6)
