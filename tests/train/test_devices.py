import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny

from keras_pixelcnnpp.data.batches import ImageSequence
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.train.devices import DataParallel, ShardedSequence

SUPPORT = Path(__file__).parent.parent / "support"

# In processes of their own: the number of devices is fixed when the backend starts.
TRAIN = """
import os
import signal
import sys

folder, epochs, resume, devices, workers, worker, dies_in_epoch = sys.argv[1:]

import keras
import numpy as np

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from keras_pixelcnnpp.train.devices import find_devices

parallel = find_devices(
    int(devices) if devices else None, workers or None, int(worker) if workers else None
)

import tiny
from keras_pixelcnnpp.data.batches import ImageSequence
from keras_pixelcnnpp.optimizers import make_optimizer, variable_value
from keras_pixelcnnpp.train.loop import train_epochs


class Batches(ImageSequence):
    def set_epoch(self, epoch):
        if epoch == int(dies_in_epoch):
            os.kill(os.getpid(), signal.SIGKILL)
        super().set_epoch(epoch)


keras.utils.set_random_seed(0)
# Dropout off: each device has its own masks.
model = tiny.tiny_model(dropout_rate=0.0, label_loss_weight=0.5)
model.compile(make_optimizer({"learning_rate": 0.01, "ema_momentum": 0.8}, 1000))
split = tiny.tiny_split(21)  # the last batch has 5 images
batches = Batches(split.images, split.labels, batch_size=8, num_classes=3)
resume = resume == "yes"
train_epochs(
    model, batches, int(epochs), f"{folder}/kept", parallel=parallel, resume=resume, verbose=0
)
values = [variable_value(v) for v in [*model.variables, *model.optimizer.variables]]
np.savez(f"{folder}/worker-{worker}.npz", *values)
"""


def start(folder, epochs=3, resume="no", devices="", workers="", worker=0, dies_in_epoch=-1):
    folder.mkdir(exist_ok=True)
    environ = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join([str(SUPPORT), *filter(None, sys.path)]),
        # Of the device count that JAX sees on a CPU.
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices or 1}",
    }
    arguments = [folder, epochs, resume, devices, workers, worker, dies_in_epoch]
    return subprocess.Popen([sys.executable, "-c", TRAIN, *map(str, arguments)], env=environ)


def start_workers(folder, dies_in_epoch=-1, resume="no"):
    sockets = [socket.create_server(("localhost", 0)) for _ in range(2)]
    workers = ",".join(f"localhost:{each.getsockname()[1]}" for each in sockets)
    for each in sockets:
        each.close()
    return [
        start(folder, 3, resume, "", workers, worker, dies_in_epoch if worker == 1 else -1)
        for worker in range(2)
    ]


def result(folder, worker=0):
    return list(np.load(folder / f"worker-{worker}.npz").values())


def assert_close(values, expected, tolerance=1e-5):
    for value, truth in zip(values, expected, strict=True):
        np.testing.assert_allclose(value, truth, rtol=0, atol=tolerance)


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.jax
def test_two_devices_give_the_result_of_one(tmp_path):
    """Weights, averages and moments, although the training on two was broken off and resumed."""
    one, two = tmp_path / "one", tmp_path / "two"
    assert start(one, epochs=2).wait(300) == 0
    assert start(two, epochs=1, devices=2).wait(300) == 0
    assert start(two, epochs=2, resume="yes", devices=2).wait(300) == 0
    assert_close(result(two), result(one))


@pytest.mark.jax
@pytest.mark.slow
def test_killed_job_of_two_workers_is_resumed_and_ends_as_one_device_would(tmp_path):
    alone, two = tmp_path / "alone", tmp_path / "two"
    assert start(alone).wait(300) == 0

    chief, other = start_workers(two, dies_in_epoch=2)
    assert other.wait(300) == -signal.SIGKILL
    assert chief.wait(300) != 0  # it does not go on alone
    assert not (two / "worker-0.npz").exists()
    assert [process.wait(300) for process in start_workers(two, resume="yes")] == [0, 0]

    assert_close(result(two, 1), result(two, 0), tolerance=0)
    assert_close(result(two, 0), result(alone))


@pytest.mark.tensorflow
@pytest.mark.jax
def test_more_devices_than_there_are():
    with pytest.raises(UserError, match="devices=99"):
        DataParallel(99)


@pytest.mark.torch
def test_not_under_torch():
    with pytest.raises(UserError, match="not supported under torch"):
        DataParallel(2)


@pytest.mark.parametrize("num_shards", [1, 3])
@pytest.mark.parametrize("count", [24, 23])
def test_weighted_mean_over_all_rows_is_the_mean_over_the_images(num_shards, count):
    split = tiny.tiny_split(count)
    whole = ImageSequence(split.images, split.labels, batch_size=9, num_classes=3)
    whole.set_epoch(3)
    shards = [ShardedSequence(whole, 3, shard, num_shards) for shard in range(num_shards)]
    for index in range(len(whole)):
        expected = whole[index][0]["image"]
        parts = [shard[index] for shard in shards]
        images = np.concatenate([part[0]["image"] for part in parts])
        np.testing.assert_array_equal(images[: len(expected)], expected)
        if count == 24:
            assert all(len(part) == 1 for part in parts)
            assert len(images) == len(expected)
        else:
            assert len({len(weights) for _, _, weights in parts}) == 1
            weights = np.concatenate([weights for _, _, weights in parts])[:, None, None, None]
            assert (weights > 0).sum() == len(expected)
            mean = np.mean(images * weights.astype(float), axis=0)
            np.testing.assert_allclose(mean, expected.mean(axis=0), rtol=1e-6)
