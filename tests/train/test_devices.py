import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from command_line import one_line

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.train.devices import DataParallel

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
from keras_pixelcnnpp.optimizers import FusedAdam, variable_value
from keras_pixelcnnpp.train.checkpoints import Checkpoints
from keras_pixelcnnpp.train.devices import DataParallel
from keras_pixelcnnpp.train.loop import Phase, train_phases


def train(folder, devices, epochs, resume=False):
    keras.utils.set_random_seed(0)
    # Dropout off: each device draws its own masks.
    model = tiny.tiny_model(dropout_rate=0.0, label_loss_weight=0.5)
    model.compile(FusedAdam(0.01, use_ema=True, ema_momentum=0.8, ema_warmup=True))
    split = tiny.tiny_split(21)  # the last batch has 5 pictures

    batches = ImageSequence(
        split.images, split.labels, batch_size=8, num_classes=3, num_candidates=3
    )
    phases = [Phase(batches, epochs)]
    parallel = DataParallel(2) if devices == 2 else None
    train_phases(model, phases, Checkpoints(folder), parallel=parallel, resume=resume, verbose=0)
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
    def test_workers_need_jax(self, pixelcnnpp, tmp_path, monkeypatch):
        config = '{"cluster": {"worker": ["localhost:1", "localhost:2"]}, "task": {"index": 0}}'
        monkeypatch.setenv("TF_CONFIG", config)
        run = tmp_path / "run"
        command = ("train", "pixelcnnpp", "--data", "digits", "--run", run)
        one_line(pixelcnnpp(*command), "2 workers", "KERAS_BACKEND=jax")
        assert not run.exists()

    def test_too_many_devices(self, pixelcnnpp, tmp_path):
        run = tmp_path / "run"
        command = ("train", "pixelcnnpp", "--data", "digits", "--run", run, "--devices", 99)
        one_line(pixelcnnpp(*command), keras.backend.backend())
        assert not run.exists()
