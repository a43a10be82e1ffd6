"""The same training under each backend: digits, same options and number of steps.

    python benchmarks/same_training.py --output benchmarks/results/same_training.json

Runs the commands `train` and `evaluate classification` with the Python of each environment that
`make test-all` makes. Weights, order of the pictures and options are the same; dropout masks and
initial weights are each backend's own, so that the results agree as two seeds would.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from backends import add_environment_options, environments


def run(python, backend, *arguments):
    command = [python, "-m", "keras_pixelcnnpp.cli", *arguments]
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([str(part) for part in command], env=environment, check=True)


def train(backend, python, epochs):
    """Bits/dim, accuracy and seconds of one training."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        options = ["--data", "digits", "--run", folder]
        if epochs:
            options += ["--epochs", epochs]
        run(python, backend, "train", "pixelcnnpp", *options)
        seconds = time.perf_counter() - start
        run(python, backend, "evaluate", "classification", "--run", folder)
        report = json.loads(Path(folder, "reports", "classification.json").read_text())
    measured = report["models"]["pixelcnnpp"]
    return {
        "backend": backend,
        "bits_per_dim": measured["bits_per_dim"],
        "accuracy": measured["accuracy"],
        "accuracy_ci95": measured["accuracy_ci95"],
        "count": report["count"],
        "training_seconds": round(seconds, 1),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, help="default: the preset's")
    parser.add_argument("--output", type=Path)
    add_environment_options(parser)
    options = parser.parse_args()

    results = [
        train(backend, python, options.epochs) for backend, python in environments(options).items()
    ]
    bits = [result["bits_per_dim"] for result in results]
    spread = max(bits) / min(bits) - 1
    for result in results:
        print(
            f"{result['backend']}: {result['bits_per_dim']:.4f} bits/dim, "
            f"{result['accuracy']:.2%}, {result['training_seconds']} s"
        )
    print(f"The largest is {spread:.2%} above the smallest.")
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        content = {"epochs": options.epochs, "spread": round(spread, 5), "trainings": results}
        options.output.write_text(json.dumps(content, indent=2) + "\n")
        print(f"Wrote {options.output}")


if __name__ == "__main__":
    main()
