import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tiny
from command_line import one_line

from keras_pixelcnnpp.data.batches import ImageSequence
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.train.devices import DataParallel, ShardedSequence, find_devices

SUPPORT = Path(__file__).parent.parent / "support"

# A process of its own: the number of devices is fixed when the backend starts.
TRAIN = """
import sys
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
from keras_pixelcnnpp.train.loop import Phase, train_phases


def train(folder, devices, epochs, resume=False):
    keras.utils.set_random_seed(0)
    # Dropout off: each device draws its own masks.
    model = tiny.tiny_model(dropout_rate=0.0, label_loss_weight=0.5)
    model.compile(make_optimizer({"learning_rate": 0.01, "ema_momentum": 0.8}, 1000))
    split = tiny.tiny_split(21)  # the last batch has 5 pictures

    batches = ImageSequence(
        split.images, split.labels, batch_size=8, num_classes=3, num_candidates=3
    )
    phases = [Phase(batches, epochs)]
    parallel = DataParallel(2) if devices == 2 else None
    train_phases(model, phases, folder, parallel=parallel, resume=resume, verbose=0)
    return [variable_value(v) for v in [*model.variables, *model.optimizer.variables]]


folder = sys.argv[1]
one = train(folder + "/one", 1, epochs=2)
train(folder + "/two", 2, epochs=1)
two = train(folder + "/two", 2, epochs=2, resume=True)
np.savez(f"{folder}/one.npz", *one)
np.savez(f"{folder}/two.npz", *two)
"""


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.jax
def test_two_devices_give_the_result_of_one(tmp_path):
    """Weights, averages and moments, although the training on two was broken off and resumed."""
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(SUPPORT), *filter(None, sys.path)]),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    subprocess.run([sys.executable, "-c", TRAIN, tmp_path], check=True, env=environ)
    one, two = np.load(tmp_path / "one.npz"), np.load(tmp_path / "two.npz")
    assert set(one) == set(two)
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=0, atol=1e-5)


@pytest.mark.tensorflow
@pytest.mark.jax
def test_more_devices_than_there_are():
    with pytest.raises(UserError, match="devices=99"):
        DataParallel(99)


@pytest.mark.torch
def test_not_under_torch():
    with pytest.raises(UserError, match="not supported under torch"):
        DataParallel(2)


class TestCommand:
    @pytest.mark.tensorflow
    def test_workers_need_jax(self, pixelcnnpp, tmp_path):
        run = tmp_path / "run"
        command = ("train", "pixelcnnpp", "--data", "digits", "--run", run)
        result = pixelcnnpp(*command, "--workers", "localhost:1,localhost:2", "--worker", 0)
        one_line(result, "KERAS_BACKEND=jax")
        assert not run.exists()

    def test_too_many_devices(self, pixelcnnpp, tmp_path):
        run = tmp_path / "run"
        command = ("train", "pixelcnnpp", "--data", "digits", "--run", run, "--devices", 99)
        one_line(pixelcnnpp(*command), keras.backend.backend())
        assert not run.exists()


WORKER = """
import os
import signal
import sys

workers, worker, folder, dies_in_epoch, resume = sys.argv[1:]

from keras_pixelcnnpp.train.devices import find_devices

parallel = find_devices(None, workers or None, int(worker) if workers else None)

import keras
import numpy as np
import tiny
from keras_pixelcnnpp.data.batches import ImageSequence
from keras_pixelcnnpp.optimizers import make_optimizer, variable_value
from keras_pixelcnnpp.train.loop import Phase, train_phases


class Batches(ImageSequence):
    def set_epoch(self, epoch):
        if epoch == int(dies_in_epoch):
            os.kill(os.getpid(), signal.SIGKILL)
        super().set_epoch(epoch)


keras.utils.set_random_seed(0)
model = tiny.tiny_model(dropout_rate=0.0, label_loss_weight=0.5)
model.compile(make_optimizer({"learning_rate": 0.01, "ema_momentum": 0.8}, 1000))
split = tiny.tiny_split(21)
batches = Batches(split.images, split.labels, batch_size=8, num_classes=3, num_candidates=3)
how = {"parallel": parallel, "resume": bool(resume), "verbose": 0}
train_phases(model, [Phase(batches, 3)], folder + "/checkpoints", **how)
values = [variable_value(v) for v in [*model.variables, *model.optimizer.variables]]
np.savez(f"{folder}/worker-{worker}.npz", *values)
"""


def start(folder, workers="", worker=0, dies_in_epoch=-1, resume=""):
    environ = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join([str(SUPPORT), *filter(None, sys.path)]),
    }
    arguments = [workers, worker, folder, dies_in_epoch, resume]
    return subprocess.Popen([sys.executable, "-c", WORKER, *map(str, arguments)], env=environ)


def start_two(folder, *, dies_in_epoch=-1, resume=""):
    folder.mkdir(exist_ok=True)
    workers = ",".join(f"localhost:{port}" for port in free_ports())
    return [
        start(folder, workers, worker, dies_in_epoch if worker == 1 else -1, resume)
        for worker in range(2)
    ]


def free_ports():
    sockets = [socket.create_server(("localhost", 0)) for _ in range(2)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def result(folder, worker=0):
    return list(np.load(folder / f"worker-{worker}.npz").values())


@pytest.mark.jax
@pytest.mark.slow
def test_killed_job_is_resumed_and_ends_as_one_device_would(tmp_path):
    (tmp_path / "alone").mkdir()
    assert start(tmp_path / "alone").wait(300) == 0

    chief, other = start_two(tmp_path / "two", dies_in_epoch=2)
    assert other.wait(300) == -signal.SIGKILL
    assert chief.wait(300) != 0  # it does not go on alone
    assert not (tmp_path / "two" / "worker-0.npz").exists()
    resumed = start_two(tmp_path / "two", resume="yes")
    assert [process.wait(300) for process in resumed] == [0, 0]

    of_chief, of_other = (result(tmp_path / "two", worker) for worker in range(2))
    for value, expected in zip(of_other, of_chief, strict=True):
        np.testing.assert_array_equal(value, expected)
    for value, expected in zip(of_chief, result(tmp_path / "alone"), strict=True):
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((None, "a:1,b:2", None), "belong together"),
        ((None, None, 0), "belong together"),
        ((None, "a:1,b:2", 2), "from 0 to 1.*worker=2"),
        ((2, "a:1,b:2", 0), "not both"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(UserError, match=message):
        find_devices(*options)


def sequence(count, batch_size=8, **arguments):
    split = tiny.tiny_split(count)
    return ImageSequence(
        split.images, split.labels, batch_size=batch_size, num_classes=3, **arguments
    )


def test_shards_together_are_the_batch():
    whole = sequence(24, num_candidates=2, horizontal_flip=True)
    whole.set_epoch(3)
    shards = [ShardedSequence(whole, num_devices=4, shard=i, num_shards=2) for i in range(2)]
    for index in range(len(whole)):
        parts = [shard[index] for shard in shards]
        assert all(len(part) == 1 for part in parts)
        for name, expected in whole[index][0].items():
            together = np.concatenate([part[0][name] for part in parts])
            np.testing.assert_array_equal(together, expected)


@pytest.mark.parametrize("num_shards", [1, 3])
def test_weighted_mean_over_all_rows_is_the_mean_over_the_pictures(num_shards):
    whole = sequence(23, batch_size=9)
    shards = [ShardedSequence(whole, 3, shard, num_shards) for shard in range(num_shards)]
    for index, count in enumerate((9, 9, 5)):
        parts = [shard[index] for shard in shards]
        assert len({len(weights) for _, _, weights in parts}) == 1
        values = np.concatenate([batch["image"][:, 0, 0, 0] for batch, _, _ in parts])
        weights = np.concatenate([weights for _, _, weights in parts])
        assert (weights > 0).sum() == count
        expected = whole[index][0]["image"][:, 0, 0, 0].mean()
        assert np.mean(values * weights.astype(float)) == pytest.approx(expected, rel=1e-6)


def test_fewer_pictures_than_devices():
    batch, _, weights = ShardedSequence(sequence(2, batch_size=8), num_devices=8)[0]
    assert len(batch["image"]) == 8
    np.testing.assert_array_equal(weights, [4, 4, 0, 0, 0, 0, 0, 0])
