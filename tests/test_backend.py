import subprocess
import sys

import keras
import pytest

from keras_pixelcnnpp import backend

# What each backend says of products and, where it tells them apart, of convolutions.
STATE = """
import keras
if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    state = {tf.config.experimental.tensor_float_32_execution_enabled()}
elif keras.backend.backend() == "jax":
    import jax
    state = {jax.config.jax_default_matmul_precision == "tensorfloat32"}
    state |= {jax.config.jax_default_matmul_precision != "float32"}
else:
    import torch
    parts = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    state = {part.fp32_precision != "ieee" for part in parts}
(enabled,) = state
"""


def enabled():
    names = {}
    exec(STATE, names)
    return names["enabled"]


@pytest.fixture
def restored():
    before = keras.config.dtype_policy()
    yield
    backend.set_tensor_float32(False)
    assert keras.config.dtype_policy() == before


@pytest.mark.parametrize(
    ("name", "policy", "rounds"),
    [
        ("tf32", "float32", True),
        ("float32", "float32", False),
        ("mixed_bfloat16", "mixed_bfloat16", False),
    ],
)
def test_precision(restored, name, policy, rounds):
    backend.set_tensor_float32(not rounds)
    with backend.precision(name):
        assert keras.config.dtype_policy().name == policy
    # It stays so for training, which comes after.
    assert enabled() is rounds


def test_commands_mean_float32_when_they_say_it():
    code = f"""
import sys
from keras_pixelcnnpp import cli
sys.argv = ["pixelcnnpp", "presets"]
try:
    cli.main()
except SystemExit:
    pass
{STATE}
assert not enabled
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
