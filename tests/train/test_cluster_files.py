"""The files of docs/how-to/clusters, run with stand-ins for what a cluster has."""

import os
import subprocess
from pathlib import Path

import pytest
import typer

from keras_pixelcnnpp.cli import app

FOLDER = Path(__file__).parents[2] / "docs" / "how-to" / "clusters"


@pytest.fixture
def stand_ins(tmp_path, monkeypatch):
    """Commands that a shell finds first; `pixelcnnpp` writes down what it is given."""
    monkeypatch.chdir(tmp_path)

    def add(name, script):
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    add("pixelcnnpp", 'printf "%s\\n" "$KERAS_BACKEND" "$@" > "$TMP_OUT"')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("TMP_OUT", str(tmp_path / "given"))
    return add


@pytest.fixture(params=[False, True])
def resumes(request, tmp_path):
    """Whether there is a run already."""
    if request.param:
        (tmp_path / "runs/mine").mkdir(parents=True)
        (tmp_path / "runs/mine/config.json").touch()
    return request.param


def parsed(tmp_path):
    """The options of `train pixelcnnpp`, as the command itself understands what was given."""
    backend, *words = (tmp_path / "given").read_text().splitlines()
    assert backend == "jax"
    assert words[:2] == ["train", "pixelcnnpp"]
    command = typer.main.get_command(app).commands["train"].commands["pixelcnnpp"]
    return command.make_context("pixelcnnpp", words[2:]).params


def test_slurm(tmp_path, stand_ins, monkeypatch, resumes):
    stand_ins("scontrol", '[ "$*" = "show hostnames node[1-2]" ] && printf "node1\\nnode2\\n"')
    stand_ins("srun", 'shift; SLURM_PROCID=1 exec "$@"')
    monkeypatch.setenv("SLURM_JOB_NODELIST", "node[1-2]")
    subprocess.run(["bash", FOLDER / "slurm.sh"], check=True)
    options = parsed(tmp_path)
    assert options["workers"] == "node1:2222,node2:2222"
    assert (options["worker"], options["resume"]) == (1, resumes)


def test_kubernetes(tmp_path, stand_ins, monkeypatch, resumes):
    yaml = pytest.importorskip("yaml")
    _, job = yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())
    name, spec = job["metadata"]["name"], job["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    # What Kubernetes calls the pods of an indexed job, below their headless service.
    hosts = [f"{name}-{index}.{pod['subdomain']}" for index in range(spec["completions"])]
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    subprocess.run([*container["command"], *container["args"]], check=True)
    options = parsed(tmp_path)
    (port,) = (port["containerPort"] for port in container["ports"])
    assert options["workers"] == ",".join(f"{host}:{port}" for host in hosts)
    assert (options["worker"], options["resume"]) == (1, resumes)
