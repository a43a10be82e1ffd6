import os
import subprocess
import sys
from pathlib import Path

import pytest

from keras_pixelcnnpp.train.run_training import on_devices
from keras_pixelcnnpp.utils.errors import UserError

SUPPORT = Path(__file__).parent.parent / "support"
ENVIRON = {**os.environ, "JAX_PLATFORMS": "cpu"}


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
    subprocess.run(
        [sys.executable, SUPPORT / "two_devices.py"], env=environ, cwd=tmp_path, check=True
    )


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
