import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.jax, pytest.mark.slow]

SUPPORT = Path(__file__).parent.parent / "support"

TRAIN = """
import os
import signal
import sys

workers, worker, folder, dies_in_epoch, resume = sys.argv[1:]

from keras_pixelcnnpp.training.cluster import Cluster

cluster = Cluster.find(workers or None, int(worker) if workers else None, {})
if cluster is not None:
    cluster.join()

import keras
import numpy as np
import tiny
from keras_pixelcnnpp.callbacks import Checkpoints
from keras_pixelcnnpp.callbacks.averaged_weights import variable_value
from keras_pixelcnnpp.datasets.image_sequence import ImageSequence
from keras_pixelcnnpp.optimizers.fused_adam import FusedAdam
from keras_pixelcnnpp.training.data_parallel import DataParallel
from keras_pixelcnnpp.training.fitting import Phase, fit


class Batches(ImageSequence):
    def set_epoch(self, epoch):
        if epoch == int(dies_in_epoch):
            os.kill(os.getpid(), signal.SIGKILL)
        super().set_epoch(epoch)


keras.utils.set_random_seed(0)
model = tiny.tiny_model(dropout_rate=0.0, label_loss_weight=0.5)
model.compile(FusedAdam(0.01, use_ema=True, ema_momentum=0.8, ema_warmup=True))
split = tiny.tiny_split(21)
batches = Batches(split.images, split.labels, batch_size=8, num_classes=3, num_candidates=3)
parallel = None if cluster is None else DataParallel(cluster=cluster)
checkpoints = Checkpoints(folder + "/checkpoints")
fit(model, [Phase(batches, 3)], checkpoints, parallel=parallel, resume=bool(resume), verbose=0)
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
    return subprocess.Popen([sys.executable, "-c", TRAIN, *map(str, arguments)], env=environ)


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
