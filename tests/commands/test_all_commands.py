import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import tiny
from command_line import SMALL_OPTIONS, done, one_line

import keras_pixelcnnpp
from keras_pixelcnnpp.commands import options
from keras_pixelcnnpp.commands.helpers import in_a_folder, with_options
from keras_pixelcnnpp.data.images import png_bytes
from keras_pixelcnnpp.train import run_training
from keras_pixelcnnpp.training.checkpoints import TrainingStopped
from keras_pixelcnnpp.training.run import RunFolder
from keras_pixelcnnpp.utils.errors import UserError
from keras_pixelcnnpp.utils.files import write_json

pytestmark = [pytest.mark.once, pytest.mark.eagerly]

# A fake Keras that prints the chosen backend and exits.
KERAS = """
import os, sys
__import__(os.environ.get("KERAS_BACKEND", "tensorflow"))
print(os.environ["KERAS_BACKEND"])
sys.exit()
"""


def in_a_fresh_process(folder, installed, program="import keras_pixelcnnpp", **environ):
    """Runs a program in an environment with a fake Keras and empty backends."""
    files = {"script.py": program, "keras.py": KERAS}
    for name, content in {**files, **{f"{name}.py": "" for name in installed}}.items():
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
        (("jax", "torch"), "tensorflow", None, "jax"),  # the default that Keras writes
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


def fresh_command(*words, before="", **environ):
    """Runs a command in a new process, after some code."""
    program = f"{before}\nimport pixelcnnpp; pixelcnnpp.main()"
    command = [sys.executable, "-c", program, *map(str, words)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    return subprocess.run(command, env=kept | environ, capture_output=True, check=False, text=True)


def test_a_backend_that_is_not_installed_is_named(tmp_path):
    result = in_a_fresh_process(tmp_path, ("tensorflow",), KERAS_BACKEND="jax")
    last = result.stderr.splitlines()[-1]
    assert last.startswith("ImportError: The Keras backend 'jax' is not installed. Install")
    without = "import sys; sys.modules.update(dict.fromkeys(('tensorflow', 'jax')))"
    words = ("sample", "--preset", "digits")
    result = fresh_command(*words, before=without, KERAS_BACKEND="pytorch")
    one_line((result.returncode, result.stdout, result.stderr), "'pytorch' is")


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["evaluate", "all", "--help"], 0),
        (["evaluate", "ood", "--preset", "digits"], 2),
        (["evaluate", "ood", "--preset", "digits", "--data", "digts"], 2),
        (["train", "--data", "digts", "--run", "new"], 2),
        (["train", "--data", "digits", "--preset", "digts", "--run", "new"], 2),
        (["data", "digts", "--output", "new"], 2),
        (["sample", "--preset", "digts"], 2),
        (["sample", "--run", "no_run"], 2),
        (["sample", "--model", "none.keras"], 2),
        (["score", "--preset", "digits", "--data", "none", "--output", "new.csv"], 2),
    ],
)
def test_answers_without_importing_anything_large(words, status):
    before = """
import atexit, sys
LARGE = {"keras", "numpy", "scipy", "sklearn", "matplotlib", "PIL", "tensorflow"}
atexit.register(lambda: print("imported:", sorted(LARGE & set(sys.modules))))
"""
    result = fresh_command(*words, before=before)
    assert result.returncode == status, result.stderr
    assert result.stdout.splitlines()[-1] == "imported: []"


def test_without_the_packages_of_the_commands(archive):
    """A command names the missing extra, and the library can be imported and loads models."""
    names = ("typer", "jinja2", "matplotlib", "tensorboardX")
    before = f"import sys; sys.modules.update(dict.fromkeys({names}))"
    result = fresh_command("presets", before=before)
    one_line((result.returncode, result.stdout, result.stderr), "'keras-pixelcnnpp[commands]'")
    load = "import keras_pixelcnnpp, keras; print(keras.models.load_model(sys.argv[1])); sys.exit()"
    result = fresh_command(archive, before=f"{before}; {load}")
    assert "PixelCNN" in result.stdout, result.stderr


LOGGED = """
import os, runpy, sys, types
os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written\\n")
os.write(2, b"I0000 00:00:1795946149.909590    4078 port.cc:153] oneDNN custom operations\\n")
os.write(2, b"E0000 00:00:1795946149.909591    4078 cuda_dnn.cc:8579] a real error\\n")
raise ImportError("why")
"""
REAL_ERROR = "E0000 00:00:1795946149.909591    4078 cuda_dnn.cc:8579] a real error\n"


def test_a_command_hides_what_tensorflow_tells_everybody(tmp_path):
    (tmp_path / "tensorflow.py").write_text(LOGGED)
    environ = {"PYTHONPATH": str(tmp_path), "KERAS_BACKEND": "tensorflow"}
    result = fresh_command("sample", "--preset", "digits", **environ)
    assert result.returncode == 2
    assert result.stderr == REAL_ERROR + "pixelcnnpp: error: why\n"


@pytest.mark.skipif(os.name != "posix", reason="SIGINT")
def test_ctrl_c_ends_a_command_with_one_message(tmp_path):
    (tmp_path / "tensorflow.py").write_text("import time\nprint(1, flush=True)\ntime.sleep(99)")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-m", "pixelcnnpp", "sample", "--preset", "digits"],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "KERAS_BACKEND": "tensorflow"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, before)
    with process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read() == "\npixelcnnpp: interrupted\n"


def test_stopped_training_says_how_to_go_on(pixelcnnpp, tmp_path, monkeypatch):
    """The exit status is that of a killed program, so that `train && evaluate` stops."""
    stop = mock.Mock(side_effect=TrainingStopped(signal.SIGTERM))
    monkeypatch.setattr(run_training, "train_pixelcnnpp", stop)
    data = tiny.save_npz(tmp_path / "tiny.npz")
    status, out, _ = pixelcnnpp("train", "--data", data, "--run", tmp_path / "run", *SMALL_OPTIONS)
    assert status == 143
    assert "--resume" in out


@pytest.mark.skipif(os.name != "posix", reason="changes the user")
def test_a_folder_that_cannot_be_written_to():
    """It is noticed before the command does its work, also for a run, new or existing."""
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        os.seteuid(user or 65534)  # root may write anywhere
        try:
            with pytest.raises(UserError, match=f"a.png: the folder {folder}: Permission denied"):
                in_a_folder(Path(folder, "a.png"))
            for run in (folder, Path(folder, "new")):
                refused = pytest.raises(UserError, match=f"write to the run {run}: Permission")
                with refused, RunFolder(run).locked():
                    pass
        finally:
            os.seteuid(user)


def output_and_input():
    """Yields the options of each command, with one that is written and one that is read."""
    for kind in filter(is_dataclass, vars(options).values()):
        paths = [one for one in fields(kind) if "Path" in str(one.type)]
        for output in paths:
            if "of_output" in output.metadata:
                for other in paths:
                    if "of_output" not in other.metadata:
                        name = f"{kind.__name__} {output.name} {other.name}"
                        yield pytest.param(kind, output.name, other, id=name)


@pytest.mark.parametrize(("kind", "output", "other"), [*output_and_input()])
def test_no_command_replaces_what_another_of_its_options_reads(tmp_path, kind, output, other):
    """Every path is read, unless it is declared to be written; by any name."""
    file = tmp_path / ("a.keras" if other.name == "model" else "a.png")
    file.touch()
    link = tmp_path / "link.png"
    link.symlink_to(file)
    read = {other.name: [file] if "list" in str(other.type) else file}
    named = {"model": Path("m.keras")} if other.name not in ("run", "model") else {}
    values = {one.name: None if one.default is MISSING else one.default for one in fields(kind)}
    called = mock.Mock(__name__="command")
    command = with_options(kind)(called)
    with pytest.raises(UserError, match=r"link\.png is an input of this command"):
        command(**{**values, **named, **read, output: link})
    command(**{**values, **named, **read, output: tmp_path / "new.png"})
    called.assert_called_once()


@pytest.mark.parametrize(
    ("words", "file"),
    [
        ("sample --map m.png --output m.png", "m.png"),
        ("complete a.png --map m.png --output m.png", "m.png"),
        ("complete a.png --mask m.png --output m.png", "m.png"),
        ("score --data images --map m.csv --output m.csv", "m.csv"),
        ("posterior --grid h=1 --data a.png --groups p.csv --output p.csv", "p.csv"),
        ("posterior --grid h=1 --data a.png --prior p.csv --output p.csv", "p.csv"),
        ("posterior --grid h=1 --data a.png --figure a.png", "a.png"),
        ("posterior --grid h=1 --data images --figure images/a.png", "images/a.png"),
        ("compress a.pxc --output a.pxc", "a.pxc"),
    ],
)
def test_inputs_are_kept(pixelcnnpp, archive, tmp_path, monkeypatch, words, file):
    monkeypatch.chdir(tmp_path)
    Path("images").mkdir()
    for name in {file, "a.png", "images/a.png"}:
        Path(name).write_bytes(b"old")
    answer = pixelcnnpp(*words.split(), "--model", archive, "--overwrite")
    one_line(answer, f"{file} is an input of this command. Choose another file to write to")
    assert Path(file).read_bytes() == b"old"


# Sets the title of a terminal, erases the screen, and writes from right to left.
ESCAPES = "\x1b]0;title\x07\x1b[2J\u202e"


@pytest.mark.skipif(os.name != "posix", reason="file names of Windows have no such characters")
def test_no_name_reaches_the_terminal_unescaped(pixelcnnpp, archive, run, tmp_path):
    images, file = tmp_path / f"images{ESCAPES}", f"a{ESCAPES}.png"
    (images / "dark").mkdir(parents=True)
    (images / "dark" / file).write_bytes(png_bytes(tiny.IMAGES[0]))
    (images / f"b{ESCAPES}.png").write_bytes(b"none")
    config = run.read_config()
    named = tmp_path / f"run{ESCAPES}"
    shutil.copytree(run.path, named)
    output = tmp_path / f"out{ESCAPES}"
    csv, pxc = Path(f"{output}.csv"), Path(f"{output}.pxc")
    config["data"]["source"] = f"gone{ESCAPES}"
    config["pixelcnnpp"]["title"] = f"model{ESCAPES}"
    write_json(run.config_json, config)
    commands = (
        ("classify", "--model", archive, images),
        ("classify", "--model", archive, tmp_path / f"no{ESCAPES}.png"),
        ("classify", "--run", named, images, "--csv", csv),
        ("score", "--model", archive, "--data", images, "--output", Path(f"{output}.scores.csv")),
        ("compress", "--run", named, images / "dark", "--output", pxc),
        ("decompress", pxc, "--run", named, "--output", output),
        ("train", "--run", tmp_path / "run", *SMALL_OPTIONS, "--data", images, "--skip-corrupted"),
        ("evaluate", "classification", "--run", run.path, "--data", images),
        ("evaluate", "classification", "--run", run.path),
        ("evaluate", "report", "--run", named),
        ("export", "--run", named),
    )
    for command in commands:
        _, out, err = pixelcnnpp(*command)
        shown = out + err
        bad = [line for line in re.split("[\n\r\b]", shown) if not line.isprintable()]
        assert not bad, command


@pytest.mark.tensorflow
@pytest.mark.slow
@pytest.mark.parametrize("labels", [{"labels": np.zeros(40, int)}, {}])
def test_images_with_nothing_to_tell_apart(pixelcnnpp, tmp_path, labels):
    """With one class or none, nothing is compared, and everything else works."""
    data, run = tmp_path / "one.npz", tmp_path / "run"
    np.savez(data, images=tiny.tiny_split(40).images, **labels)
    command = ("--data", data, "--run", run)
    out = done(pixelcnnpp("train", *command, *SMALL_OPTIONS))
    assert "Warning: there are fewer than two classes" in out
    (measured,) = RunFolder(run).history("pixelcnnpp")
    assert "val_bits_per_dim" in measured
    assert "val_accuracy" not in measured
    done(pixelcnnpp("sample", "--run", run, "--output", tmp_path / "samples.png"))
    done(pixelcnnpp("evaluate", "generation", "--run", run, "--per-class", 2))
    # The classes of other data do not matter.
    other = tiny.save_npz(tmp_path / "other.npz")
    done(pixelcnnpp("evaluate", "ood", "--run", run, "--data", other, "--count", 5))
    one_line(pixelcnnpp("train-baseline", *command), "at least two classes")


@pytest.mark.tensorflow
def test_a_full_disk_and_a_lack_of_memory(pixelcnnpp, monkeypatch):
    import tensorflow as tf

    errors = {
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a.png"): "No space left",
        tf.errors.ResourceExhaustedError(None, None, "OOM"): "a smaller --batch-size",
        MemoryError(): "a smaller --batch-size",  # of NumPy
        RuntimeError("CUDA out of memory"): "a smaller --batch-size",  # of torch
    }
    place = "keras_pixelcnnpp.commands.trained_model.TrainedModel.named"
    for error, message in errors.items():
        monkeypatch.setattr(place, mock.Mock(side_effect=error))
        one_line(pixelcnnpp("sample", "--preset", "digits"), message)
