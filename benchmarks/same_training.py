"""Trains and evaluates the preset `digits` under each backend, one after the other.

    python benchmarks/same_training.py --output benchmarks/results/same_training.json

The order of the images and the options are the same; dropout masks and initial weights are each
backend's own, so that the results agree as two seeds would.
"""

import os
import subprocess
import tempfile
from pathlib import Path

from common import argument_parser, pythons, save, show, timed

from keras_pixelcnnpp.files import read_json


def training(python, backend, folder, epochs):
    """Bits/dim, accuracy and seconds of one training."""

    def run(*arguments):
        command = [str(part) for part in (python, "-m", "keras_pixelcnnpp.cli", *arguments)]
        subprocess.run(command, env={**os.environ, "KERAS_BACKEND": backend}, check=True)

    train = ("train", "pixelcnnpp", "--data", "digits", "--run", folder)
    _, seconds = timed(lambda: run(*train, *(("--epochs", epochs) if epochs else ())))
    run("evaluate", "classification", "--run", folder)
    report = read_json(folder / "reports" / "classification.json")
    names = ("bits_per_dim", "accuracy", "accuracy_ci95")
    return {
        "backend": backend,
        **{name: report["models"]["pixelcnnpp"][name] for name in names},
        "count": report["count"],
        "training_seconds": round(seconds, 1),
    }


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--epochs", type=int, help="default: the preset's")
    options = parser.parse_args()
    results = []
    for backend, python in pythons().items():
        with tempfile.TemporaryDirectory() as folder:
            results.append(training(python, backend, Path(folder), options.epochs))
    show(results)
    bits = [result["bits_per_dim"] for result in results]
    spread = round(max(bits) / min(bits) - 1, 5)
    save({"epochs": options.epochs, "spread": spread, "trainings": results}, options.output)


if __name__ == "__main__":
    main()
