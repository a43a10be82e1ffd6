import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tiny
from command_line import done, one_line

import keras_pixelcnnpp
from keras_pixelcnnpp.models.archive import ARCHITECTURES
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
from keras_pixelcnnpp.presets import Preset, preset_names
from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.train import commands
from keras_pixelcnnpp.train.checkpoints import TrainingStopped

SMALL = [
    *("--preset", "pixelcnn", "--epochs", 1, "--batch-size", 12, "--learning-rate", 0.01),
    *("--filters", 4, "--num-blocks", 1, "--num-mixtures", 1),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.save_npz(tmp_path_factory.mktemp("data") / "tiny.npz")


# Ends where the package would go on, so that it is seen what it chose.
KERAS = """
import os, sys
__import__(os.environ.get("KERAS_BACKEND", "tensorflow"))
print(os.environ["KERAS_BACKEND"])
sys.exit()
"""


COMMAND = "import pixelcnnpp; pixelcnnpp.main()"


def in_a_fresh_process(folder, installed, program="import keras_pixelcnnpp", backend="", **environ):
    """Runs a program where there are only such a Keras and some backends of this content."""
    files = {"script.py": program, "keras.py": KERAS}
    for name, content in {**files, **{f"{name}.py": backend for name in installed}}.items():
        (folder / name).write_text(content)
    kept = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    root = Path(keras_pixelcnnpp.__file__).parent.parent
    environ["PYTHONPATH"] = os.pathsep.join([str(folder), str(root)])
    command = [sys.executable, "-S", folder / "script.py"]  # without site-packages
    return subprocess.run(command, env=kept | environ, capture_output=True, check=False, text=True)


@pytest.mark.parametrize(
    ("installed", "keras_json", "variable", "expected"),
    [
        (("tensorflow", "jax", "torch"), "torch", "jax", "jax"),
        (("tensorflow", "jax", "torch"), "torch", None, "torch"),
        (("jax", "torch"), "tensorflow", None, "jax"),  # as Keras writes it where nobody chose
        (("tensorflow", "jax"), None, None, "tensorflow"),
        (("torch",), None, None, "torch"),
    ],
)
def test_which_backend_is_chosen(tmp_path, installed, keras_json, variable, expected):
    if keras_json:
        (tmp_path / "keras.json").write_text(json.dumps({"backend": keras_json}))
    environ = {"KERAS_HOME": str(tmp_path)} | ({"KERAS_BACKEND": variable} if variable else {})
    result = in_a_fresh_process(tmp_path, installed, **environ)
    assert result.stdout.strip() == expected, result.stderr


def test_a_backend_that_is_not_installed_is_named(tmp_path):
    result = in_a_fresh_process(tmp_path, (), COMMAND)
    one_line((result.returncode, result.stdout, result.stderr), "pip install tensorflow")
    result = in_a_fresh_process(tmp_path, ("tensorflow",), KERAS_BACKEND="jax")
    last = result.stderr.splitlines()[-1]
    assert last.startswith("ImportError: The Keras backend 'jax' is not installed. Install")
    result = in_a_fresh_process(tmp_path, ("torch",), COMMAND, KERAS_BACKEND="pytorch")
    one_line((result.returncode, result.stdout, result.stderr), "'pytorch' is", ", torch")


LOGGED = """
import os
os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written\\n")
os.write(2, b"I0000 00:00:1795946149.909590    4078 port.cc:153] oneDNN custom operations\\n")
os.write(2, b"E0000 00:00:1795946149.909591    4078 cuda_dnn.cc:8579] a real error\\n")
os.write(2, b"last words")
"""
REAL_ERROR = "E0000 00:00:1795946149.909591    4078 cuda_dnn.cc:8579] a real error\nlast words"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    ("ending", "status"), [("", 0), ("os.abort()", -signal.SIGABRT), ("raise ImportError", 2)]
)
def test_a_command_hides_what_tensorflow_tells_everybody(tmp_path, ending, status):
    """And nothing else, however TensorFlow's import ends."""
    result = in_a_fresh_process(tmp_path, ("tensorflow",), COMMAND, LOGGED + ending)
    assert result.returncode == status
    expected = REAL_ERROR + ("pixelcnnpp: error: \n" if status == 2 else "")
    assert result.stderr == expected


def test_commands_leave_gpu_memory_to_others(pixelcnnpp, monkeypatch):
    for name in ("TF_FORCE_GPU_ALLOW_GROWTH", "XLA_PYTHON_CLIENT_PREALLOCATE"):
        monkeypatch.delenv(name, raising=False)
    pixelcnnpp("--help")
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    assert os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"


def test_letters_that_no_font_has(pixelcnnpp):
    """matplotlib's warning would be an error here."""
    from keras_pixelcnnpp.evaluate.classification_figures import confusion_matrix_png

    pixelcnnpp("--help")
    confusion_matrix_png([0, 1], [0, 1], ["熊猫", "考拉"], "")


@pytest.mark.parametrize("message", ["out of memory.png is missing", "argument"])
def test_errors_of_users_code(pixelcnnpp, data, tmp_path, monkeypatch, message):
    """A class of a plugin refuses its arguments, in words that may be anything."""

    class Refusing(PixelCNNPlusPlus):
        def __init__(self, *_, **__):
            raise ValueError(message)

    monkeypatch.setitem(ARCHITECTURES, "pixelcnn", Refusing)
    result = pixelcnnpp("train", "pixelcnnpp", "--data", data, "--run", tmp_path / "run", *SMALL)
    one_line(result, f"error: {message}\n")


def test_a_full_disk_names_the_file(pixelcnnpp, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a.png")

    monkeypatch.setattr("keras_pixelcnnpp.savedmodel.commands.chosen_model", full)
    one_line(pixelcnnpp("sample", "--preset", "digits"), "No space left", "'a.png'")


def test_out_of_memory_gives_advice(pixelcnnpp, data, tmp_path, monkeypatch):
    # The backend's own error, of 400 terabytes.
    monkeypatch.setattr(
        commands, "train_pixelcnnpp", lambda *_, **__: keras.ops.ones((10**7, 10**7))
    )
    result = pixelcnnpp("train", "pixelcnnpp", "--data", data, "--run", tmp_path, *SMALL)
    one_line(result, "out of memory", "--batch-size")


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_training_says_how_to_go_on(
    pixelcnnpp, data, tmp_path, monkeypatch, number, expected
):
    """With the exit status of a program that the signal ended, so that `train && evaluate` ends."""

    def stop(*_, **__):
        raise TrainingStopped(number)

    monkeypatch.setattr(commands, "train_pixelcnnpp", stop)
    status, out, _ = pixelcnnpp("train", "pixelcnnpp", "--data", data, "--run", tmp_path, *SMALL)
    assert status == expected
    assert "--resume" in out


def test_presets_are_listed_with_what_their_files_say(pixelcnnpp, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = done(pixelcnnpp("presets"))
    assert "…" not in out
    rows = [line.split() for line in out.splitlines() if line[2:3].strip()]  # of the first column
    for preset in map(Preset, preset_names()):
        (row,) = [row[1:] for row in rows if row[:1] == [preset.name]]
        assert row[0] == preset.metadata["description"].split()[0]
        if preset.has_weights:
            numbers, split = preset.metadata["metrics"], preset.metadata["split"]
            accuracy, bits = f"{100 * numbers['accuracy']:.1f}%", f"{numbers['bits_per_dim']:.3f}"
            assert row[-3:] == [accuracy, bits, split]


@pytest.mark.tensorflow
@pytest.mark.slow
@pytest.mark.parametrize("labels", [{"labels": np.zeros(40, int)}, {}])
def test_images_with_nothing_to_tell_apart(pixelcnnpp, tmp_path, labels):
    """Of one class or none: nothing is compared, and all the rest works."""
    data, run = tmp_path / "one.npz", tmp_path / "run"
    np.savez(data, images=tiny.tiny_split(40).images, **labels)
    command = ("--data", data, "--run", run)
    out = done(pixelcnnpp("train", "pixelcnnpp", *command, *SMALL))
    assert "Warning: there are no two classes" in out
    (measured,) = RunFolder(run).history("pixelcnnpp")
    assert "val_bits_per_dim" in measured
    assert "val_accuracy" not in measured
    done(pixelcnnpp("sample", "--run", run, "--output", tmp_path / "samples.png"))
    done(pixelcnnpp("evaluate", "generation", "--run", run, "--per-class", 2, "--temperatures", ""))
    # Of other data, the classes don't matter.
    other = tiny.save_npz(tmp_path / "other.npz")
    done(pixelcnnpp("evaluate", "ood", "--run", run, "--data", other, "--count", 5))
    one_line(pixelcnnpp("train", "baseline", *command), "Expected two classes or more")
    conditional = ("--conditioning", "bias", "--overwrite")
    result = pixelcnnpp("train", "pixelcnnpp", *command, *SMALL, *conditional)
    one_line(result, "`conditioning`. With fewer than two classes it must be none")
