r"""Estimates what limits the speed on a GPU, and how much memory training needs, without a GPU.

    XLA_FLAGS=--xla_backend_optimization_level=0 KERAS_BACKEND=jax \
        .venv-jax/bin/python benchmarks/gpu_estimate.py
    KERAS_BACKEND=jax .venv-jax/bin/python benchmarks/gpu_estimate.py --compare   # on a GPU

JAX lowers each program for CUDA. Arithmetic, bytes and memory are XLA's own analysis of the
program, and launches are the operations that are left in it after fusion, as often as its loops
repeat them. Without a GPU, XLA can compile the program only for a CPU, so **the fusion of the CPU
stands in for that of a GPU**, and convolutions of a GPU may need more memory for a while.

The longest of three times limits a program: its arithmetic at the peak of float32, its bytes at the
bandwidth, and its launches at `LAUNCH_SECONDS` each. A sampled pixel evaluates the horizontal
stack, and a row the vertical one. They read these kernels, and the features that scoring also has.

Writes `benchmarks/results/gpu_estimate.json`. On a GPU, `--compare` shows estimates next to
measurements, and writes nothing.
"""

import functools
import re
import sys
from typing import Annotated

import keras
import numpy as np
import typer
from common import RESULTS, facts, save, show, timed
from throughput import flop_of_layers, resolution_of
from typer import Option

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.sampling.sampler import PixelSampler
from keras_pixelcnnpp.sampling.structure import Structure
from keras_pixelcnnpp.utils.backend import on_gpu

# The published figures of T4, A100 80GB SXM and H100 SXM: bytes and operations a second, in float32
# without tensor cores.
GPUS = {
    "T4": {"bandwidth": 320e9, "peak": 8.1e12},
    "A100": {"bandwidth": 2039e9, "peak": 19.5e12},
    "H100": {"bandwidth": 3350e9, "peak": 67e12},
}
LAUNCH_SECONDS = 5e-6  # assumed; what a driver needs, without the time of a framework
MEMORIES = 8, 16, 24, 80  # GB
SAMPLED = 1, 100, 1000
SCORED = 100
# These operations start no kernel.
FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"}


# JAX is imported late, because it may not be installed under another backend.
def spec(shape, dtype):
    """Returns an input without values."""
    import jax

    return jax.ShapeDtypeStruct(shape, dtype)


def compiled_as_for_cuda(function, *inputs, donate=()):
    """Lowers a function for CUDA, and compiles the result for the CPU."""
    import jax

    anywhere = [jax.export.DisabledSafetyCheck.platform()]
    exported = jax.export.export(jax.jit(function), platforms=("cuda",), disabled_checks=anywhere)(
        *inputs
    )
    return jax.jit(exported.call, donate_argnums=donate).lower(*inputs).compile()


def training_step(model, batch):
    model.optimizer.build(model.trainable_variables)
    parts = model.trainable_variables, model.non_trainable_variables, model.optimizer.variables
    state = tuple(
        [spec(v.shape, v.value.dtype) for v in part] for part in (*parts, model.metrics_variables)
    )
    data = images_and_labels(model, batch)
    return compiled_as_for_cuda(model.train_step, state, data, donate=0), (state, data)


def images_and_labels(model, batch):
    images = spec((batch, *model.image_shape), "uint8")
    return images, spec((batch,), "int32")


def with_values(model, function, *inputs):
    """Compiles a function that reads variables of the model."""

    def stateless(values, *inputs):
        with keras.StatelessScope(list(zip(model.variables, values, strict=True))):
            return function(*inputs)

    inputs = [spec(v.shape, v.value.dtype) for v in model.variables], *inputs
    return compiled_as_for_cuda(stateless, *inputs), inputs


def scoring(model, batch):
    def score(images, labels):
        return model.log_likelihood(images, labels[:, None])

    return with_values(model, score, *images_and_labels(model, batch))


def sampling(model, batch):
    shape = batch, *model.image_shape[:2], model.distribution.noise_size
    inputs = {
        "label": spec((batch,), "int32"),
        "noise": spec(shape, "float32"),
        "temperature": spec((batch,), "float32"),
    }
    return with_values(model, PixelSampler(model), inputs)


def seconds_of(program, inputs):
    """Returns the median seconds of a compiled program, for inputs of zeros."""
    import jax

    def once():
        zeros = keras.tree.map_structure(lambda x: jax.numpy.zeros(x.shape, x.dtype), inputs)
        jax.block_until_ready(zeros)  # a training step consumes them
        return timed(lambda: jax.block_until_ready(program(*zeros)))[1]

    return float(np.median([once() for _ in range(6)][1:]))


def launches(program):
    """Returns the launches of a compiled program, by the depth of the loop that has them."""
    computations, name = {}, None
    for line in program.as_text().splitlines():
        if found := re.match(r"(ENTRY )?%?([^\s(]+) \(.*\{$", line):
            name = "ENTRY" if found[1] else found[2]
            computations[name] = []
        elif found := re.match(r"\s+(?:ROOT )?%?\S+ = .*?\s([a-z][a-z-]*)\(", line):
            computations[name].append((found[1], line))

    @functools.cache
    def count(name):
        total = np.zeros(4, int)
        for operation, line in computations[name]:
            if operation == "while":
                trips = re.search(r'"known_trip_count":\{"n":"(\d+)"', line)
                times = int(trips[1]) if trips else 1  # at least
                total[1:] += times * count(re.search(r"body=%?([^\s,]+)", line)[1])[:-1]
            elif operation == "call":
                total += count(re.search(r"to_apply=%?([^\s,]+)", line)[1])
            elif operation not in FREE:
                total[0] += 1
        return total

    return count("ENTRY")


def limited(flop, gigabytes, num_launches):
    """Returns the largest of three times on each GPU, in seconds, and its name."""
    found = {}
    for name, gpu in GPUS.items():
        seconds = {
            "arithmetic": flop / gpu["peak"],
            "bandwidth": 1e9 * gigabytes / gpu["bandwidth"],
            "launches": num_launches * LAUNCH_SECONDS,
        }
        limit = max(seconds, key=seconds.get)
        found[name] = {"seconds": float(f"{seconds[limit]:.3g}"), "limit": limit}
    return found


def row_of(job, batch, flop, gigabytes, num_launches):
    return {
        "job": job,
        "batch": batch,
        "gflop": float(f"{flop / 1e9:.3g}"),
        "gigabytes": float(f"{gigabytes:.3g}"),
        "launches": round(num_launches),
        "gpus": limited(flop, gigabytes, num_launches),
    }


def row_of_program(job, batch, program, inputs, runs):
    """Returns the row of a compiled program, with the measured seconds if it `runs`."""
    cost = program.cost_analysis()
    gigabytes = cost["bytes accessed"] / 1e9
    row = row_of(job, batch, cost["flops"], gigabytes, launches(program).sum())
    row["peak_gigabytes"] = peak_gigabytes(program)
    return {**row, "measured": seconds_of(program, inputs)} if runs else row


def peak_gigabytes(program):
    memory = program.memory_analysis()
    used = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    return float(f"{(used - memory.alias_size_in_bytes) / 1e9:.3g}")


def rows_of_sampling(model, score):
    """Returns the rows for a pixel and a row. `score` is that of `SCORED` images."""
    height, width, _ = model.image_shape
    _, of_rows, of_pixels, _ = launches(sampling(model, 2)[0])
    kernels = Structure(model.network, model.image_shape).kernels()
    flop = flop_of_layers(model)
    rows = []
    for job, count, is_part, num_launches in (
        ("pixel", height * width, lambda path: "horizontal" in path or "head" in path, of_pixels),
        ("row", height, lambda path: "vertical" in path or "link" in path, of_rows),
    ):
        paths = [path for path in kernels if is_part(path)]
        share = sum(flop[path] for path in paths) / sum(flop.values())
        step = 4 if job == "pixel" else 2  # a lower resolution has as many fewer pixels or rows
        read = sum(kernels[path][0].nbytes / step ** resolution_of(path) for path in paths)
        for batch in SAMPLED:
            part = share / count * batch / SCORED  # of the work of scoring
            gigabytes = read / 1e9 + part * score["gigabytes"]
            rows.append(
                row_of(job, batch, 1e9 * part * score["gflop"], gigabytes, num_launches / count)
            )
    return rows


def largest_batches(rows):
    """Returns the largest batch of a training step that fits into each memory, about.

    Memory is linear in the batch size. A tenth of it is left to the driver and to fragmentation.
    """
    first, *_, last = rows
    slope = (last["peak_gigabytes"] - first["peak_gigabytes"]) / (last["batch"] - first["batch"])
    fixed = first["peak_gigabytes"] - slope * first["batch"]
    return {str(memory): int((0.9 * memory - fixed) / slope) for memory in MEMORIES}


def rows_of(name, batches, runs):
    model = kp.AutoregressiveModel.from_preset(name, load_weights=False)
    model.compile(keras.optimizers.Adam(1e-3))
    rows = [
        row_of_program("training step", batch, *training_step(model, batch), runs)
        for batch in batches
    ]
    rows.append(row_of_program("scoring", SCORED, *scoring(model, SCORED), runs))
    return [{"network": name, **row} for row in rows + rows_of_sampling(model, rows[-1])]


def shown(row):
    """Returns a row for the terminal, with the estimated milliseconds on each GPU."""
    found = {
        name: f"{1000 * of['seconds']:.3g} ms, {of['limit']}" for name, of in row["gpus"].items()
    }
    return {key: value for key, value in row.items() if key != "gpus"} | found


def main(
    networks: Annotated[str, Option(help="Presets, comma-separated.")] = "photographs,cifar10",
    batches: Annotated[str, Option(help="Batch sizes of training steps.")] = "16,64,256",
    compare: Annotated[bool, Option("--compare", help="Run the programs on a GPU, too.")] = False,
):
    """Estimate what limits training, scoring and sampling on a GPU."""
    if keras.backend.backend() != "jax":
        sys.exit("Expected KERAS_BACKEND=jax, and the Python of .venv-jax")
    if compare and not on_gpu():
        print("There is no GPU to compare the estimates with.")
        return
    sizes = [int(batch) for batch in batches.split(",")]
    rows, fits = [], {}
    for name in networks.split(","):
        rows += rows_of(name, sizes, compare)
        steps = [row for row in rows if (row["network"], row["job"]) == (name, "training step")]
        fits[name] = largest_batches(steps)
        show([shown(row) for row in rows])
    result = {"launch_seconds": LAUNCH_SECONDS, "specifications": GPUS, "largest_batches": fits}
    save(facts() | result | {"rows": rows}, None if compare else RESULTS / "gpu_estimate.json")


if __name__ == "__main__":
    typer.run(main)
