import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.train.devices import on_devices

SUPPORT = Path(__file__).parent.parent / "support"
ENVIRON = {**os.environ, "JAX_PLATFORMS": "cpu"}

# In another process, because the number of devices is fixed when the backend starts.
TRAIN = """
import keras
import numpy as np

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

import tiny
from keras_pixelcnnpp.data.batches import ImageBatches
from keras_pixelcnnpp.optimizers import averaged_weights, make_optimizer, variable_value
from keras_pixelcnnpp.train.devices import on_devices
from keras_pixelcnnpp.train.loop import train_epochs
from keras_pixelcnnpp.train.monitors import ValidationMonitor, with_averaged_weights

split = tiny.tiny_split(21)  # the last batch has 5 images
batches = ImageBatches(split.images, split.labels, batch_size=8)
logged = {}


def train(folder, epochs, count, callbacks=()):
    keras.utils.set_random_seed(0)
    with on_devices(count) as devices:
        # Dropout off: each device has its own masks.
        model = tiny.untrained_pixelcnn(dropout_rate=0.0, label_loss_weight=0.5)
        optimizer = make_optimizer({"learning_rate": 0.01, "ema_momentum": 0.8}, 1000)
        model.compile(optimizer, jit_compile="auto" if devices is None else devices.may_jit_compile)
        model.initialize(split.images, split.labels)
        keep = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: logged.update({(folder, epoch): dict(logs)})
        )
        monitored = with_averaged_weights([ValidationMonitor(split), keep])
        callbacks = [*monitored, *callbacks]
        train_epochs(model, batches, epochs, folder, callbacks, devices=devices, verbose=0)
        samples = model.sample([0, 1, 2], seed=1, verbose=0)
        # Keras itself needs batches that can be divided.
        images, labels = split.images[:20], split.labels[:20]
        scores = model.evaluate(images, labels, batch_size=10, verbose=0)
        probabilities = model.predict(images, batch_size=10, verbose=0)
    model.save(f"{folder}.keras")
    loaded = keras.models.load_model(f"{folder}.keras")
    np.testing.assert_array_equal(loaded.sample([0, 1, 2], seed=1, verbose=0), samples)
    return model, samples, [*scores, *probabilities.ravel()]


expected, samples, scores = train("one", 2, 1)
train("two", 1, 2)
received, samples_of_two, scores_of_two = train("two", 2, 2)
for got, want in zip(
    [*received.variables, *received.optimizer.variables],
    [*expected.variables, *expected.optimizer.variables],
    strict=True,
):
    np.testing.assert_allclose(variable_value(got), variable_value(want), rtol=0, atol=1e-5)
for name, value in logged["one", 1].items():
    if name.startswith("val_"):
        np.testing.assert_allclose(logged["two", 1][name], value, rtol=1e-4)
np.testing.assert_array_equal(samples_of_two, samples)
np.testing.assert_allclose(scores_of_two, scores, rtol=1e-4)

# The weights that a callback restores stay: those of the first epoch.
kept = []
watch = keras.callbacks.LambdaCallback(
    on_epoch_end=lambda epoch, logs: (
        logs.update(watched=epoch),
        kept.append([variable_value(v) for v in watch.model.trainable_variables]),
    )
)
best = keras.callbacks.EarlyStopping("watched", mode="min", patience=9, restore_best_weights=True)
restored = train("best", 2, 2, [watch, best])[0]
for got, first, last in zip(restored.trainable_variables, *kept, strict=True):
    np.testing.assert_array_equal(variable_value(got), first)
    assert (first != last).any()
"""


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.jax
def test_two_devices_give_the_result_of_one(tmp_path):
    """Weights, averages and moments agree, although the training was interrupted and resumed."""
    environ = {
        **ENVIRON,
        "PYTHONPATH": os.pathsep.join([str(SUPPORT), *filter(None, sys.path)]),
        # Warning about the number of CPU devices in JAX.
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    subprocess.run([sys.executable, "-c", TRAIN], env=environ, cwd=tmp_path, check=True)


# Without dropout and with all classes as candidates, a step is deterministic.
OPTIONS = [
    *("--preset", "pixelcnn", "--filters", 4, "--num-blocks", 1, "--num-mixtures", 1),
    *("--epochs", 10, "--likelihood-epochs", 5, "--batch-size", 5, "--label-loss-weight", 0.3),
    *("--dropout-rate", 0, "--ema-momentum", 0.9, "--sample-every", 5),
]
COMMAND = "from keras_pixelcnnpp import cli; cli.main()"


def train(folder, run, count, *arguments):
    """Starts the command in `count` processes with one device each; output goes to files."""
    command = [sys.executable, "-c", COMMAND, "train", "--data", folder / "tiny.npz"]
    command = [str(part) for part in (*command, "--run", folder / run, *OPTIONS, *arguments)]
    environ, processes = ENVIRON, []
    if count > 1:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            address = f"localhost:{free.getsockname()[1]}"
        addresses = {"KERAS_DISTRIBUTION_JOB_ADDRESSES": address}
        environ = {**ENVIRON, **addresses, "KERAS_DISTRIBUTION_NUM_PROCESSES": str(count)}
    for number in range(count):
        environ = {**environ, "KERAS_DISTRIBUTION_PROCESS_ID": str(number)}
        with (folder / f"{run}-{number}").open("w") as said:
            started = subprocess.Popen(command, stdout=said, stderr=said, env=environ)
        processes.append(started)
    return processes


def end(folder, run, processes, status=0):
    codes = [process.wait(timeout=300) for process in processes]
    said = [(folder / f"{run}-{number}").read_text() for number in range(len(processes))]
    assert codes == [status] * len(processes), "\n".join(said)
    return said


@pytest.mark.slow
@pytest.mark.jax
def test_two_processes_give_the_result_of_one(tmp_path):
    """The results agree, although a signal to one process stopped both, which were restarted."""
    tiny.save_npz(tmp_path / "tiny.npz")
    end(tmp_path, "one", train(tmp_path, "one", 1))

    processes = train(tmp_path, "two", 2)
    checkpoints = tmp_path / "two" / "checkpoints" / "pixelcnnpp"
    while not list(checkpoints.glob("*.npz")):
        assert processes[0].poll() is None, (tmp_path / "two-0").read_text()
        time.sleep(0.01)
    processes[1].send_signal(signal.SIGTERM)
    end(tmp_path, "two", processes, 128 + signal.SIGTERM)
    first, second = end(tmp_path, "two", train(tmp_path, "two", 2, "--resume"))
    assert "Continuing after" in first
    assert "2 devices" in first
    assert "bits_per_dim" not in second

    of_one, of_two = (
        np.load(tmp_path / run / "checkpoints" / "pixelcnnpp" / "epoch-0010.npz")
        for run in ("one", "two")
    )
    assert set(of_one.files) == set(of_two.files)
    for name in of_one.files:
        np.testing.assert_allclose(of_two[name], of_one[name], rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.tensorflow
@pytest.mark.jax
def test_more_devices_than_there_are():
    with pytest.raises(UserError, match=r"at most 1, .*devices=99"), on_devices(99):
        pass


@pytest.mark.torch
def test_not_under_torch():
    with (
        pytest.raises(UserError, match="several devices is not supported under torch"),
        on_devices(2),
    ):
        pass


@pytest.mark.tensorflow
@pytest.mark.torch
def test_several_processes_only_under_jax(monkeypatch):
    monkeypatch.setenv("KERAS_DISTRIBUTION_JOB_ADDRESSES", "localhost:1")
    with pytest.raises(UserError, match="in several processes is not"), on_devices(None):
        pass
