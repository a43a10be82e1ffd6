"""Profiles a training step under each backend, and plots docs/images/training_step.png.

    python benchmarks/profile_step.py --output benchmarks/results/profile_step.json

The network and the batches are those of `throughput.py`. Each backend runs in its own process with
its own profiler. The profiled fraction of a kind of operation is multiplied by the processor time
of a step without the profiler. XLA fuses other operations into some convolutions, with which they
are counted.
"""

import json
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from common import ROOT, Output, facts, random_images, save, show
from throughput import BATCH, NUM_CLASSES, SHAPE, our_jobs, pythons

from keras_pixelcnnpp.evaluate.figures import figure_png, new_figure
from keras_pixelcnnpp.files import write_bytes

BATCHES = 4
KINDS = {  # the first pattern that matches the name of an operation determines its kind
    "convolutions, matrix products": r"convolution|conv2d|matmul|dot|aten::\w*mm$",
    "copies": r"copy|transpose|concat|aten::cat|pad|slice|pack|split|tile|clone|fill|gather",
    "elementwise, sums": "",
}


def tensorflow_profile(train, folder):
    """Yields names and durations (ns) of operations under TensorFlow."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tf.profiler.experimental.Profile(folder):
        train()
    [path] = Path(folder).rglob("*.xplane.pb")
    for plane in xplane_pb2.XSpace.FromString(path.read_bytes()).planes:
        for line in (line for line in plane.lines if line.name.startswith("tf_Compute")):
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name
                if name.startswith("StatefulPartitionedCall"):
                    yield name.rpartition(":")[2], event.duration_ps / 1e3


def jax_profile(train, folder):
    """Yields names and durations (ns) of operations under JAX.

    XLA has written the program, which shows the operations of each fusion, to `folder`.
    """
    import jax

    with jax.profiler.trace(folder):
        train()
    [program] = Path(folder).glob("*jit_train_step.cpu_after_optimizations.txt")
    program = program.read_text()
    bodies = dict(re.findall(r"^%?([\w.-]+) \(.*?\{\n(.*?)^\}", program, re.MULTILINE | re.DOTALL))
    fusions = re.findall(r"%([\w.-]+) = .*? fusion\(.*calls=%([\w.-]+)", program)
    products = {name for name, body in fusions if re.search(r" (convolution|dot)\(", bodies[body])}
    [path] = Path(folder).rglob("*.xplane.pb")
    for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
        for event in (event for line in plane.lines for event in line.events):
            if "hlo_op" in dict(event.stats):
                yield "dot" if event.name in products else event.name, event.duration_ns


def torch_profile(train, folder):
    """Yields names and total durations (ns) of operations under torch."""
    import torch

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        train()
    for operation in profile.key_averages():
        if operation.key.startswith("aten::"):
            yield operation.key, 1e3 * operation.self_cpu_time_total


PROFILES = {"tensorflow": tensorflow_profile, "jax": jax_profile, "torch": torch_profile}


def work(folder):
    """Prints the milliseconds of a step for each kind, under the backend of this process."""
    about = facts()
    data = random_images(BATCHES * BATCH, SHAPE, NUM_CLASSES)
    train = our_jobs(*data, "float32", jit_compile=about["backend"] == "jax")["train"]
    train()
    start = time.process_time()
    train()
    milliseconds = 1000 * (time.process_time() - start) / BATCHES
    found = dict.fromkeys(KINDS, 0.0)
    for name, duration in PROFILES[about["backend"]](train, folder):
        found[next(k for k, words in KINDS.items() if re.search(words, name, re.I))] += duration
    row = {kind: milliseconds * value / sum(found.values()) for kind, value in found.items()}
    print(json.dumps({"facts": about, "milliseconds": row}))


def profiled(backend, python):
    """Runs `work` in a process with another backend; returns its output."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "KERAS_BACKEND": backend}
        if backend == "jax":
            environment["XLA_FLAGS"] = f"--xla_dump_to={folder} --xla_dump_hlo_as_text"
        command = [python, __file__, "--work", folder]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def figure(rows):
    """Plots a stacked bar for each backend, as PNG data."""
    plot = new_figure(7, 2.4)
    axes = plot.subplots()
    left = [0.0] * len(rows)
    for kind in KINDS:
        widths = [row[kind] for row in rows]
        bars = axes.barh([row["backend"] for row in rows], widths, left=left, label=kind)
        axes.bar_label(bars, fmt="%.0f", label_type="center", color="white")
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("processor time of a training step of 16 images (ms)")
    plot.legend(loc="outside upper center", ncols=len(KINDS))
    return figure_png(plot, dpi=150)


def main(
    folder: Annotated[str | None, typer.Option("--work", hidden=True)] = None,
    output: Output = None,
):
    """Profile a training step under each backend."""
    if folder:
        work(folder)
        return
    results = [profiled(*each) for each in pythons().items()]
    rows = [{"backend": r["facts"]["backend"], **r["milliseconds"]} for r in results]
    show(rows)
    write_bytes(ROOT / "docs" / "images" / "training_step.png", figure(rows))
    save({"backends": results}, output)


if __name__ == "__main__":
    typer.run(main)
