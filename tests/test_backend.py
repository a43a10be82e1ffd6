"""What the backend module adds to Keras; the rest of it is tested where it is used."""

import subprocess
import sys

import keras
import pytest

from keras_pixelcnnpp import backend
from keras_pixelcnnpp.backend import progress, verbosity


@pytest.fixture
def terminal(monkeypatch):
    """Whether the output is a terminal."""

    def choose(is_terminal):
        monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal, raising=False)

    return choose


@pytest.fixture
def seconds(monkeypatch):
    """What the clock of the bar shows; at first 0."""
    shown = [0.0]
    monkeypatch.setattr(backend.time, "monotonic", lambda: shown[0])
    return shown


def test_verbosity(terminal):
    terminal(True)
    assert [verbosity("auto", steps) for steps in (1, 2)] == [0, 1]
    terminal(False)
    assert verbosity("auto", 2) == 0
    assert [verbosity(chosen, 1) for chosen in (0, 1, 2)] == [0, 1, 2]


def test_a_bar_comes_after_three_seconds(terminal, seconds, capsys):
    terminal(True)
    tick = progress(4, unit="part")
    tick()
    assert capsys.readouterr().out == ""
    seconds[0] = 3.5
    tick()
    assert "2/4" in capsys.readouterr().out
    for _ in range(2):
        tick()
    assert "4/4" in capsys.readouterr().out


@pytest.mark.parametrize(("is_terminal", "later"), [(False, 9.0), (True, 2.0)])
def test_no_bar_in_a_file_or_of_what_is_short(is_terminal, later, terminal, seconds, capsys):
    terminal(is_terminal)
    tick = progress(2)
    seconds[0] = later
    tick()
    tick()
    assert capsys.readouterr().out == ""


def test_a_bar_that_was_asked_for(terminal, seconds, capsys):
    terminal(False)
    for verbose, shown in ((1, True), (0, False)):
        progress(1, verbose)()
        assert ("1/1" in capsys.readouterr().out) == shown


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
import keras_pixelcnnpp.backend  # as every command that computes does
{STATE}
assert not enabled
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
