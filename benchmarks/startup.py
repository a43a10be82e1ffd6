"""From nothing to the first step and the first picture, each in a fresh process.

    python benchmarks/startup.py [--rounds 3] [--output benchmarks/results/startup.json]

The network is that of the preset `report`, batch 16. Seconds count from the start of the process;
"package" is what importing this package takes beyond Keras and its backend.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path


def train_and_sample(job):
    """What the fresh process does: prints the seconds at which each stage was reached."""
    reached = {"start": time.perf_counter()}
    import keras
    import numpy as np

    reached["keras"] = time.perf_counter()
    import keras_pixelcnnpp as kp

    kp.keep_freed_memory()
    model_class = kp.PixelCNNPlusPlus
    reached["package"] = time.perf_counter()
    model = model_class.from_preset("report")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (16, *model.image_shape)).astype("uint8")
    labels = rng.integers(0, model.num_classes, 16).astype("int32")
    reached["model"] = time.perf_counter()
    if job == "first_step":
        adam = kp.FusedAdam(2e-4, use_ema=True, ema_momentum=0.9995)
        model.compile(adam, jit_compile=keras.backend.backend() == "jax")
        model.fit({"image": images, "label": labels}, batch_size=16, verbose=0)
    else:
        model.sample(labels, verbose=0)
    reached[job] = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = {stage: value - reached["start"] for stage, value in reached.items()}
    print(json.dumps({"seconds": seconds, "peak_mib": peak}))


def measure(job):
    command = [sys.executable, __file__, "--job", job]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def summarize(results):
    """Medians over the rounds, from the results of both jobs."""

    def median(job, pick):
        return round(statistics.median(pick(result) for result in results[job]), 2)

    def at(stage):
        return lambda result: result["seconds"][stage]

    return {
        "import_keras": median("first_step", at("keras")),
        "import_package": median(
            "first_step", lambda result: result["seconds"]["package"] - result["seconds"]["keras"]
        ),
        "first_step": median("first_step", at("first_step")),
        "first_sample": median("first_sample", at("first_sample")),
        "peak_mib_training": median("first_step", lambda result: result["peak_mib"]),
        "peak_mib_sampling": median("first_sample", lambda result: result["peak_mib"]),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--job", choices=("first_step", "first_sample"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if options.job:
        train_and_sample(options.job)
        return
    results = {"first_step": [], "first_sample": []}
    for _ in range(options.rounds):
        for job, measured in results.items():
            measured.append(measure(job))
    summary = {
        "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "cores": len(os.sched_getaffinity(0)),
        "rounds": options.rounds,
        **summarize(results),
    }
    print(json.dumps(summary, indent=2))
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(summary, indent=2) + "\n")
        print(f"Wrote {options.output}")


if __name__ == "__main__":
    main()
