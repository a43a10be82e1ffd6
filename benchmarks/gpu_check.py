"""Checks the package on a GPU, and writes a report to paste into an issue.

    make gpu-check

Under each backend that has an environment and sees a GPU, runs the tests that compare the model
with NumPy and those of `test_gpu_readiness.py`, for real. Then measures the speed. TF32 is turned
off, because the tolerances of the tests are those of float32.
"""

import json
import os
import subprocess
import sys
import time
from typing import Annotated

import typer
from environments import FOUND, PYTHONS, ROOT
from typer import Option

TESTS = "tests/golden", "tests/models/test_gpu_readiness.py"
FACTS = "import json, common; from keras_pixelcnnpp.utils.backend import on_gpu; print()"
FACTS += "; print(json.dumps(common.facts() | {'gpu': on_gpu()}))"
WITHOUT_TF32 = {"NVIDIA_TF32_OVERRIDE": "0", "JAX_DEFAULT_MATMUL_PRECISION": "float32"}


def run(backend, *words, **environ):
    """Runs Python under a backend; returns its exit status and output."""
    paths = os.pathsep.join([str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [PYTHONS[backend], *map(str, words)],
        env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": paths, **environ},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return result.returncode, result.stdout


def facts_of(backend):
    status, output = run(backend, "-c", FACTS)
    return json.loads(output.splitlines()[-1]) if status == 0 else {"gpu": False}


def section(title, status, output, seconds):
    result = "passed" if status == 0 else f"failed with exit status {status}"
    print(f"{title}: {result}")
    return f"## {title}: {result}, {seconds:.0f} s\n\n```\n{output.strip()[-20_000:]}\n```\n"


def measured(title, backend, *words, **environ):
    start = time.monotonic()
    status, output = run(backend, *words, **environ)
    return status, section(title, status, output, time.monotonic() - start)


def main(
    backends: Annotated[str, Option(help="Backends, comma-separated.")] = ",".join(FOUND),
    anyway: Annotated[bool, Option("--anyway", help="Check on the CPU if there's no GPU.")] = False,
    speed: Annotated[bool, Option(help="Whether to measure the speed.")] = True,
):
    """Check the package on a GPU."""
    facts = {name: facts_of(name) for name in backends.split(",")}
    on_gpu = [name for name in facts if facts[name]["gpu"] or anyway]
    if not on_gpu:
        sys.exit(f"There is no GPU that one of these backends sees: {backends}")
    found = [
        measured(f"Tests, {name}", name, "-m", "pytest", "-q", "-m", "", *TESTS, **WITHOUT_TF32)
        for name in on_gpu
    ]
    if speed:
        names = "--backends", ",".join(on_gpu)
        found.append(measured("Speed", on_gpu[0], "benchmarks/throughput.py", *names))
    report = ROOT / "build" / "gpu_report.md"
    report.parent.mkdir(exist_ok=True)
    versions = json.dumps({name: facts[name] for name in on_gpu}, indent=2)
    sections = "\n".join(text for _, text in found)
    report.write_text(f"```json\n{versions}\n```\n\n{sections}", encoding="utf-8")
    print(f"Wrote {report}: paste it into an issue, with the template 'Report from a GPU'")
    sys.exit(max(status for status, _ in found))


if __name__ == "__main__":
    typer.run(main)
