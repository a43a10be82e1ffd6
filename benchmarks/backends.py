"""The three backends side by side.

    python benchmarks/backends.py speed --output benchmarks/results/backends.json
    python benchmarks/backends.py training --output benchmarks/results/same_training.json

Runs `throughput.py`, or trains and evaluates the preset `digits`, once under each backend, one
after the other, with the Python of the environments that `make test-all` makes; a backend whose
environment is missing is left out. In training, the order of the images and the options are the
same; dropout masks and initial weights are each backend's own, so that the results agree as two
seeds would.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from common import ROOT, argument_parser, save, show, timed

from keras_pixelcnnpp.files import read_json

ENVIRONMENTS = {"tensorflow": ".venv", "jax": ".venv-jax", "torch": ".venv-torch"}


def speed(run, folder, options):
    """The result of `throughput.py`, which `run` runs under one backend."""
    output = folder / "throughput.json"
    script = ROOT / "benchmarks" / "throughput.py"
    run(script, "--ours", "--rounds", options.rounds, "--output", output)
    return read_json(output)


def training(run, folder, options):
    """Bits/dim, accuracy and seconds of one training, which `run` runs under one backend."""
    pixelcnnpp = ("-m", "keras_pixelcnnpp.cli")
    train = ("train", "pixelcnnpp", "--data", "digits", "--run", folder)
    epochs = ("--epochs", options.epochs) if options.epochs else ()
    _, seconds = timed(lambda: run(*pixelcnnpp, *train, *epochs))
    run(*pixelcnnpp, "evaluate", "classification", "--run", folder)
    report = read_json(folder / "reports" / "classification.json")
    names = ("bits_per_dim", "accuracy", "accuracy_ci95")
    return {
        **{name: report["models"]["pixelcnnpp"][name] for name in names},
        "count": report["count"],
        "training_seconds": round(seconds, 1),
    }


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("what", choices=("speed", "training"))
    parser.add_argument("--rounds", type=int, default=3, help="of speed")
    parser.add_argument("--epochs", type=int, help="of training; default: the preset's")
    options = parser.parse_args()
    results = []
    for backend, environment in ENVIRONMENTS.items():
        python = ROOT / environment / "bin" / "python"
        if not python.exists():
            continue

        def run(*arguments, python=python, backend=backend):
            command = [str(part) for part in (python, *arguments)]
            subprocess.run(command, env={**os.environ, "KERAS_BACKEND": backend}, check=True)

        measure = speed if options.what == "speed" else training
        with tempfile.TemporaryDirectory() as folder:
            results.append({"backend": backend, **measure(run, Path(folder), options)})
    if not results:
        sys.exit("No environment found. Make them: make test-all")
    if options.what == "speed":
        show([{"backend": r["backend"], **row} for r in results for row in r["rows"]])
        save(results, options.output)
    else:
        show(results)
        bits = [result["bits_per_dim"] for result in results]
        spread = round(max(bits) / min(bits) - 1, 5)
        result = {"epochs": options.epochs, "spread": spread, "trainings": results}
        save(result, options.output)


if __name__ == "__main__":
    main()
