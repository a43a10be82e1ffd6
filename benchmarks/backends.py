"""The three backends side by side: one table of pictures per second, in Markdown.

    python benchmarks/backends.py [--rounds 3] [--output benchmarks/results/backends.json]

Runs `throughput.py` once under each backend, one after the other, with the Python of the
environments that `make test-all` makes; a backend whose environment is missing is left out.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
ENVIRONMENTS = {"tensorflow": ".venv", "jax": ".venv-jax", "torch": ".venv-torch"}
JOBS = {"train": "train", "score": "score", "classify": "classify", "sample": "sample (25)"}


def measure(backend, python, rounds):
    """The result of `throughput.py` under one backend."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "throughput.json")
        command = [python, ROOT / "benchmarks" / "throughput.py", "--ours"]
        command += ["--rounds", rounds, "--output", output]
        environment = {**os.environ, "KERAS_BACKEND": backend}
        subprocess.run([str(part) for part in command], env=environment, check=True)
        return json.loads(output.read_text())


def markdown(results):
    """Backend × job, pictures per second."""
    lines = [
        "| backend | device | " + " | ".join(JOBS.values()) + " |",
        "|---|---" + "|---:" * len(JOBS) + "|",
    ]
    for result in results:
        rates = {row["job"]: row["pictures_per_second"] for row in result["rows"]}
        numbers = " | ".join(f"{rates[job]:.1f}" for job in JOBS)
        name = f"{result['backend']} {result['backend_version']}"
        lines.append(f"| {name} | {result['device']} | {numbers} |")
    return "\n".join(lines)


def add_environment_options(parser):
    """An option for each backend: the Python of its environment."""
    for backend, folder in ENVIRONMENTS.items():
        default = ROOT / folder / "bin" / "python"
        parser.add_argument(f"--{backend}", type=Path, default=default, help="a Python to use")


def environments(options):
    """The Python of each backend whose environment there is."""
    pythons = {backend: getattr(options, backend) for backend in ENVIRONMENTS}
    found = {backend: python for backend, python in pythons.items() if python.exists()}
    if not found:
        sys.exit("No environment found. Make them: make test-all")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    add_environment_options(parser)
    options = parser.parse_args()

    found = environments(options)
    results = [measure(backend, python, options.rounds) for backend, python in found.items()]
    print(f"\nPictures per second on {results[0]['machine']}, batch {results[0]['batch']}:\n")
    print(markdown(results))
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(results, indent=2) + "\n")
        print(f"\nWrote {options.output}")


if __name__ == "__main__":
    main()
