import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny

from keras_pixelcnnpp.training.run import RunFolder
from keras_pixelcnnpp.utils.distribution import all_devices
from keras_pixelcnnpp.utils.errors import UserError

SUPPORT = Path(__file__).parent.parent / "support"
TWO = "--xla_force_host_platform_device_count=2"
# Without dropout: each device of TensorFlow has its own masks. No batch divides the 24 images.
OPTIONS = [
    *("--network", "pixelcnn", "--filters", 4, "--num-blocks", 1, "--num-mixtures", 1),
    *("--epochs", 3, "--likelihood-epochs", 1, "--batch-size", 7, "--label-loss-weight", 0.3),
    *("--dropout-rate", 0, "--ema-momentum", 0.9, "--sample-every", 0),
]
# Under TensorFlow, a program chooses the number of devices before it uses one.
OF_TENSORFLOW = """
import keras
if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
"""
RUN = "import pixelcnnpp; pixelcnnpp.main()"
# Dies in the second epoch.
DIES = """
import os, signal
from keras_pixelcnnpp.data.batches import ImageBatches
set_epoch = ImageBatches.set_epoch
def set_epoch_or_die(batches, epoch):
    if epoch == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    set_epoch(batches, epoch)
ImageBatches.set_epoch = set_epoch_or_die
"""
# What the code of the pages takes for granted, and which block belongs to a backend.
BEFORE_PAGES = f"""{OF_TENSORFLOW}
import keras_pixelcnnpp as kp
data = kp.data.load_dataset("digits").split("train")
images, labels = data.images[:64], data.labels[:64]
"""
OF_BACKEND = {"tensorflow": "MirroredStrategy", "jax": "DataParallel"}


def environ(**variables):
    path = os.pathsep.join([str(SUPPORT), *filter(None, sys.path)])
    return {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path, **variables}


def start(data, run, *arguments, before="", command="train", options=OPTIONS, **variables):
    """Starts the command in a process of its own, after some code."""
    words = [command, "--data", data, "--run", run, *options, *arguments]
    return subprocess.Popen(
        [sys.executable, "-c", before + RUN, *map(str, words)],
        env=environ(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_two(data, run, *arguments, dies=None, **how):
    """Starts two processes that train together; that of the number `dies` does not end well."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    return [
        start(
            data,
            run,
            "--distribute",
            *arguments,
            before=DIES if process == dies else "",
            KERAS_DISTRIBUTION_JOB_ADDRESSES=address,
            KERAS_DISTRIBUTION_NUM_PROCESSES="2",
            KERAS_DISTRIBUTION_PROCESS_ID=str(process),
            **how,
        )
        for process in (0, 1)
    ]


def finished(*processes):
    """Returns what processes that succeeded have printed."""
    results = [process.communicate(timeout=300) for process in processes]
    for process, (_, errors) in zip(processes, results, strict=True):
        assert process.returncode == 0, errors
    return [out for out, _ in results]


def assert_same(received, expected, section="pixelcnnpp"):
    """Checks that two runs have the same history, and variables at their end."""
    received, expected = RunFolder(received), RunFolder(expected)
    rows = [json.loads(run.history_json(section).read_text()) for run in (received, expected)]
    assert len(rows[0]) == len(rows[1])
    for row, other in zip(*rows, strict=True):
        assert row.keys() == other.keys()
        for name in row.keys() - {"seconds"}:
            assert row[name] == pytest.approx(other[name], abs=1e-4), name
    last = [sorted(run.checkpoints(section).glob("*.npz"))[-1] for run in (received, expected)]
    assert last[0].name == last[1].name
    assert_close(*last)


def assert_close(received, expected):
    with np.load(received) as arrays, np.load(expected) as others:
        assert set(arrays) == set(others)
        for name, value in arrays.items():
            np.testing.assert_allclose(value, others[name], rtol=0, atol=1e-4, err_msg=name)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.save_npz(tmp_path_factory.mktemp("data") / "tiny.npz")


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    """A run of one device."""
    run = tmp_path_factory.mktemp("alone") / "run"
    finished(start(data, run))
    return run


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.jax
def test_two_devices_give_the_result_of_one(tmp_path):
    """Logs, weights, averages and moments agree, also if only the last epoch is on two devices."""
    command, variables = [sys.executable, SUPPORT / "two_devices.py"], environ(XLA_FLAGS=TWO)
    subprocess.run(command, env=variables, cwd=tmp_path, check=True, timeout=300)
    assert_close(tmp_path / "two.npz", tmp_path / "one.npz")
    with np.load(tmp_path / "both.npz") as both, np.load(tmp_path / "one.npz") as one:
        for name, value in both.items():
            expected = one[name] if name.isdigit() else one[name][1:]
            np.testing.assert_allclose(value, expected, rtol=0, atol=1e-4, err_msg=name)


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.jax
def test_the_command_on_two_devices(data, alone, tmp_path):
    on_two = {"before": OF_TENSORFLOW, "XLA_FLAGS": TWO}
    (out,) = finished(start(data, tmp_path / "two", "--distribute", **on_two))
    assert "2 devices" in out
    assert_same(tmp_path / "two", alone)
    # Begun on one device, and resumed on two, in the middle of the warm-up and the averages.
    begun = start(data, tmp_path / "both", before=DIES)
    begun.communicate(timeout=300)
    assert begun.returncode == -signal.SIGKILL
    finished(start(data, tmp_path / "both", "--distribute", "--resume", **on_two))
    assert_same(tmp_path / "both", alone)


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.jax
def test_the_baseline_on_two_devices(data, tmp_path):
    """Batch normalization is over the whole batch."""
    how = {"command": "train-baseline", "options": ["--epochs", 2, "--batch-size", 23]}
    random = [] if os.environ["KERAS_BACKEND"] == "jax" else ["--no-horizontal-flip"]
    finished(start(data, tmp_path / "one", *random, **how))
    how |= {"before": OF_TENSORFLOW, "XLA_FLAGS": TWO}
    finished(start(data, tmp_path / "two", *random, "--distribute", **how))
    if os.environ["KERAS_BACKEND"] == "jax":
        assert_same(tmp_path / "two", tmp_path / "one", "baseline")


@pytest.mark.slow
@pytest.mark.jax
def test_two_processes_give_the_result_of_one(data, alone, tmp_path):
    out, other = finished(*start_two(data, tmp_path / "two"))
    assert "2 devices of 2 processes" in out
    assert other == ""
    assert_same(tmp_path / "two", alone)


@pytest.mark.torch
def test_not_under_torch():
    with pytest.raises(UserError, match=r"`fit` uses one device under torch"), all_devices():
        pass


@pytest.mark.tensorflow
def test_several_processes_of_tensorflow_are_refused(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:1"]}}')
    expected = r"MultiWorkerMirroredStrategy.*KERAS_BACKEND=jax.*Received: TF_CONFIG=\{\"cluster"
    with pytest.raises(UserError, match=expected), all_devices():
        pass


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.jax
@pytest.mark.parametrize("page", ["backends.md", "distribute.md"])
def test_the_code_of_the_pages(tmp_path, page):
    text = (SUPPORT.parents[1] / "docs" / "how-to" / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    if page == "backends.md":
        (blocks,) = ([one] for one in blocks if OF_BACKEND[os.environ["KERAS_BACKEND"]] in one)
    (code,) = blocks
    command, variables = [sys.executable, "-c", f"{BEFORE_PAGES}\n{code}"], environ(XLA_FLAGS=TWO)
    subprocess.run(command, env=variables, cwd=tmp_path, check=True, timeout=300)
