import importlib.util
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import parts
import pytest

from keras_pixelcnnpp.savedmodel.jobs import SamplingJob, ScoringJob
from keras_pixelcnnpp.savedmodel.parts import write_parts

pytest.importorskip("tensorflow")
pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.slow,
    # Not imported here, where warnings are errors.
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None or importlib.util.find_spec("pyarrow") is None,
        reason="needs the extra `ray`",
    ),
]

# Processes that do blocks write down their numbers.
BEGINNING = """
    import os, signal, sys, time
    from pathlib import Path
    import numpy as np
    from keras_pixelcnnpp.export.saved_model import ExportedModel
    from keras_pixelcnnpp.savedmodel.jobs import SamplingJob, ScoringJob
    from keras_pixelcnnpp.savedmodel.parts import write_parts

    model, data, output, pids = sys.argv[1:]
    driver = os.getpid()

    def register():
        Path(pids, str(os.getpid())).touch()

"""

SAMPLING_LOSES_A_WORKER = """
    class Job(SamplingJob):
        def write(self, exported, block, path):
            register()
            super().write(exported, block, path)
            if block == 1 and not Path(pids, "killed").exists():
                Path(pids, "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)

    if __name__ == "__main__":
        exported = ExportedModel(model)
        job = Job(np.arange(10) % 3, output, exported, seed=3, batch_size=2)
        assert sorted(write_parts(job, job.start(), exported, workers=2)) == [0, 1, 2, 3, 4]
        job.finish()
"""

SCORING_LOSES_ITS_DRIVER = """
    class Job(ScoringJob):
        def write(self, exported, block, path):
            register()
            super().write(exported, block, path)
            if block == 2:
                os.kill(driver, signal.SIGKILL)
                time.sleep(600)

    if __name__ == "__main__":
        exported = ExportedModel(model)
        job = Job(data, output, exported, part_size=3)
        list(write_parts(job, job.start(), exported, workers=2))
"""


@pytest.fixture
def data(tmp_path):
    return parts.write_pictures(tmp_path / "data")


@pytest.fixture
def run(savedmodel, data, tmp_path):
    """Runs a script in a process of its own; returns its status and its workers' numbers."""

    def run(script, output):
        pids = tmp_path / "pids"
        pids.mkdir()
        path = tmp_path / "script.py"
        path.write_text(textwrap.dedent(BEGINNING) + textwrap.dedent(script))
        arguments = [sys.executable, path, savedmodel, data, output, pids]
        with (tmp_path / "log").open("w") as log:
            status = subprocess.run(arguments, check=False, stdout=log, stderr=log).returncode
        return status, {int(file.name) for file in pids.iterdir() if file.name.isdigit()}

    return run


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_worker_is_killed(run, exported, tmp_path):
    status, workers = run(SAMPLING_LOSES_A_WORKER, tmp_path / "parts")
    assert status == 0, (tmp_path / "log").read_text()
    assert (tmp_path / "pids" / "killed").exists()
    assert len(workers) >= 2
    alone = SamplingJob(np.arange(10) % 3, tmp_path / "alone", exported, seed=3, batch_size=2)
    list(write_parts(alone, alone.start(), exported))
    alone.finish()
    assert parts.contents(tmp_path / "parts") == parts.contents(alone.output)


def test_the_driver_is_killed(run, savedmodel, exported, data, tmp_path):
    output = tmp_path / "scores"
    status, workers = run(SCORING_LOSES_ITS_DRIVER, output)
    assert status == -signal.SIGKILL, (tmp_path / "log").read_text()
    deadline = time.monotonic() + 60
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not any(map(is_running, workers))
    broken_off = parts.unchanged(output)
    assert "scores-00002.csv" not in broken_off
    # Relative paths: the workers must start where the driver did.
    command = ["savedmodel", "score", savedmodel, "--data", data.name, "--output", output.name]
    options = ["--part-size", "3", "--workers", "2"]
    cli = [sys.executable, "-m", "keras_pixelcnnpp.cli", *map(str, command), *options]
    out = subprocess.run(cli, check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    assert "Scored 11 of 13 pictures" in out
    finished = parts.unchanged(output)
    for name in broken_off:
        if name.startswith("scores-"):
            assert finished[name] == broken_off[name]
    alone = ScoringJob(data, tmp_path / "alone", exported, part_size=3)
    list(write_parts(alone, alone.start(), exported))
    alone.finish()
    assert parts.contents(output) == parts.contents(alone.output)
