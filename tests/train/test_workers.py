import json
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

from keras_pixelcnnpp.data.batches import ImageSequence
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.train.workers import Cluster, ShardedSequence

SUPPORT = Path(__file__).parent.parent / "support"

TRAIN = """
import os
import signal
import sys

workers, worker, folder, dies_in_epoch, resume = sys.argv[1:]

from keras_pixelcnnpp.train.workers import Cluster

cluster = Cluster.find(workers or None, int(worker) if workers else None, {})
if cluster is not None:
    cluster.join()

import keras
import numpy as np
import tiny
from keras_pixelcnnpp.data.batches import ImageSequence
from keras_pixelcnnpp.optimizers import FusedAdam, variable_value
from keras_pixelcnnpp.train.checkpoints import Checkpoints
from keras_pixelcnnpp.train.devices import DataParallel
from keras_pixelcnnpp.train.loop import Phase, train_phases


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
how = {"parallel": parallel, "resume": bool(resume), "verbose": 0}
train_phases(model, [Phase(batches, 3)], checkpoints, **how)
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


def environ(cluster, **task):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}


def test_options_win_over_the_environment():
    found = Cluster.find("a:1, b:2", 1, environ({"worker": ["c:1", "d:1"]}, index=0))
    assert found == Cluster(("a:1", "b:2"), 1)


@pytest.mark.parametrize(
    ("cluster", "task", "index"),
    [
        ({"worker": ["a:1", "b:2", "c:3"]}, {"type": "worker", "index": 2}, 2),
        ({"chief": ["a:1"], "worker": ["b:2", "c:3"]}, {"type": "chief", "index": 0}, 0),
        ({"chief": ["a:1"], "worker": ["b:2", "c:3"]}, {"type": "worker", "index": 0}, 1),
    ],
)
def test_tf_config(cluster, task, index):
    assert Cluster.find(environ=environ(cluster, **task)) == Cluster(("a:1", "b:2", "c:3"), index)


@pytest.mark.parametrize("environ", [{}, {"TF_CONFIG": "{}"}, environ({"worker": ["a:1"]})])
def test_alone(environ):
    assert Cluster.find(environ=environ) is None


@pytest.mark.parametrize(
    ("options", "environ", "message"),
    [
        (("a:1,b:2", None), {}, "belong together"),
        ((None, 0), {}, "belong together"),
        (("a:1,b:2", 2), {}, "from 0 to 1.*worker=2"),
        (("a:1,b", 0), {}, "HOST:PORT.*'b'"),
        (("a:1,b:99999", 0), {}, "HOST:PORT.*'b:99999'"),
        ((None, None), environ({"worker": [1, 2]}, index=0), "HOST:PORT.*1"),
        ((None, None), environ({"worker": "a:1"}, index=0), "HOST:PORT.*'a'"),
        ((None, None), {"TF_CONFIG": "{"}, "TF_CONFIG is damaged"),
        ((None, None), environ({"worker": ["a:1", "b:2"]}, type="ps"), "'ps'"),
    ],
)
def test_bad_input(options, environ, message):
    with pytest.raises(UserError, match=message):
        Cluster.find(*options, environ)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX can")
def test_only_jax_has_workers():
    with pytest.raises(UserError, match="needs KERAS_BACKEND=jax"):
        Cluster(("localhost:1", "localhost:2"), 0).join()


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


@pytest.mark.parametrize("wrong", [{"num_shards": 3}, {"num_shards": 2, "shard": 2}])
def test_shards_that_do_not_fit(wrong):
    with pytest.raises(ValueError, match="shard="):
        ShardedSequence(sequence(24), num_devices=4, **wrong)
