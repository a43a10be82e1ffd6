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


# A core and so a worker each. The second machine never finishes its first block: it is lost when
# the first one has done one, and a third takes its place.
SCORING_LOSES_A_MACHINE = """
    import ray
    from ray.cluster_utils import Cluster

    class Job(ScoringJob):
        def write(self, exported, block, path):
            here = ray.get_runtime_context().get_node_id()
            Path(pids, f"machine-{here}").touch()
            while here == Path(pids, "second").read_text():
                time.sleep(1)
            while len(list(Path(pids).glob("machine-*"))) < 2:
                time.sleep(0.1)
            super().write(exported, block, path)

    if __name__ == "__main__":
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        second = cluster.add_node(num_cpus=1)
        Path(pids, "second").write_text(second.node_id)
        exported = ExportedModel(model)
        job = Job(data, output, exported, part_size=3)
        done = write_parts(job, job.start(), exported, workers=2, ray_address=cluster.address)
        blocks = [next(done)]
        cluster.remove_node(second, allow_graceful=False)
        cluster.add_node(num_cpus=1)
        assert sorted([*blocks, *done]) == [0, 1, 2, 3, 4]
        job.finish()
        cluster.shutdown()
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
            status = subprocess.run(
                arguments, check=False, stdout=log, stderr=log, timeout=600
            ).returncode
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


def test_a_machine_of_a_cluster_is_lost(run, exported, data, tmp_path):
    status, _ = run(SCORING_LOSES_A_MACHINE, tmp_path / "parts")
    assert status == 0, (tmp_path / "log").read_text()
    assert len(list((tmp_path / "pids").glob("machine-*"))) >= 2
    alone = ScoringJob(data, tmp_path / "alone", exported, part_size=3)
    list(write_parts(alone, alone.start(), exported))
    alone.finish()
    assert parts.contents(tmp_path / "parts") == parts.contents(alone.output)


def test_no_cluster_there(savedmodel, data, tmp_path):
    command = ["savedmodel", "score", savedmodel, "--data", data, "--output", tmp_path / "scores"]
    command += ["--part-size", 3, "--workers", 2, "--ray-address", "127.0.0.1:9"]
    cli = [sys.executable, "-m", "keras_pixelcnnpp.cli", *map(str, command)]
    result = subprocess.run(cli, check=False, capture_output=True, text=True)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line == "pixelcnnpp: error: No Ray cluster can be reached at 127.0.0.1:9"


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
