"""Throughput of training, scoring and classification, beside tfp's PixelCNN and the machine.

    python benchmarks/throughput.py [--rounds 5] [--output benchmarks/results/throughput.json]

The network is that of the preset `report` (1 block, 40 filters, 5 mixtures, 32×32×3, batch 16), on
random pictures. All candidates are measured in turn, round after round, so that a noisy machine
disturbs them alike; the table has medians, and ratios within the rounds. "Share of peak" is the
arithmetic of the convolutions divided by that of a matrix product of the same precision, measured
in the same rounds.

Under TensorFlow it compares with `tfp.distributions.PixelCNN`, which is unconditional here (less
work than ours). Under JAX and torch it measures this package alone.
"""

import argparse
import json
import os
import re
import time
from importlib import metadata
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.backend import device_name, machine
from keras_pixelcnnpp.data.batches import ArrayBatches, feed
from keras_pixelcnnpp.layers.weight_normalized import weight_normalized_layers

BATCH = 16
PICTURES = 128
SHAPE = (32, 32, 3)


def forward_flop(model):
    """Floating-point operations of one picture's forward pass, convolutions only."""
    height, width, _ = model.image_shape
    total = 0
    for layer in weight_normalized_layers(model.network):
        level = re.search(r"(?:link_)?(?:down|up)(sampling)?_(\d)", layer.path)
        level = int(level.group(2)) + bool(level.group(1)) if level else 0
        total += 2 * int(np.prod(layer.direction.shape)) * (height * width // 4**level)
    return total


class Ours:
    """This package's model, through the methods that a user calls."""

    def __init__(self, name, images, labels, precision="float32", jit_compile=False):
        self.name, self.images, self.labels = name, images, labels
        self.precision = precision
        keras.config.set_dtype_policy(precision)
        self.model = kp.PixelCNNPlusPlus(SHAPE, 4, conditioning="bias")
        keras.config.set_dtype_policy("float32")
        self.model.compile(kp.FusedAdam(2e-4), jit_compile=jit_compile)

    def train(self):
        batches = ArrayBatches({"image": self.images, "label": self.labels}, BATCH)
        self.model.fit(feed(batches), shuffle=False, verbose=0)

    def score(self):
        self.model.log_prob(self.images, self.labels, batch_size=BATCH)

    def classify(self):
        self.model.class_log_likelihoods(self.images, batch_size=BATCH)

    def sample(self):
        self.model.sample(self.labels[:25], verbose=0)


class TfpPixelCNN:
    """`tfp.distributions.PixelCNN` of the same size, in a training loop of its own."""

    name = "tfp.distributions.PixelCNN"
    precision = "float32"

    def __init__(self, images):
        import tensorflow as tf
        import tensorflow_probability as tfp

        distribution = tfp.distributions.PixelCNN(
            image_shape=SHAPE,
            num_resnet=1,
            num_hierarchies=3,
            num_filters=40,
            num_logistic_mix=5,
            dropout_p=0.5,
            use_weight_norm=True,
        )
        self.distribution = distribution
        batches = images.astype("float32").reshape(-1, BATCH, *SHAPE)
        self.batches = [tf.constant(batch) for batch in batches]
        distribution.log_prob(self.batches[0])  # builds it, with data-dependent initialization
        variables = distribution.trainable_variables
        moments = [
            (tf.Variable(tf.zeros_like(v)), tf.Variable(tf.zeros_like(v))) for v in variables
        ]

        @tf.function
        def step(batch):
            with tf.GradientTape() as tape:
                loss = -tf.reduce_mean(distribution.log_prob(batch, training=True))
            for variable, gradient, (first, second) in zip(
                variables, tape.gradient(loss, variables), moments, strict=True
            ):
                first.assign(0.9 * first + 0.1 * gradient)
                second.assign(0.999 * second + 0.001 * gradient**2)
                variable.assign_sub(2e-4 * first / (tf.sqrt(second) + 1e-7))
            return loss

        self.step = step
        self.log_prob = tf.function(lambda batch: distribution.log_prob(batch, training=False))

    def train(self):
        for batch in self.batches:
            self.step(batch).numpy()

    def score(self):
        for batch in self.batches:
            self.log_prob(batch).numpy()


class MatrixProduct:
    """What the machine can do: a large matrix product, in GFLOP/s."""

    def __init__(self, dtype, size=2048):
        self.size = size
        self.matrix = keras.ops.cast(keras.random.normal((size, size)), dtype)

    def run(self):
        # One element is enough to wait for.
        product = keras.ops.matmul(self.matrix, self.matrix)
        keras.ops.convert_to_numpy(keras.ops.cast(product[0, 0], "float32"))

    @property
    def flop(self):
        return 2 * self.size**3


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure(candidates, rounds):
    """Returns seconds by candidate and job, one for each round, after a warm-up round.

    The jobs of the machine itself are the matrix products: `("peak", precision)`.
    """
    products = {candidate.precision: None for candidate in candidates}
    for precision in products:
        products[precision] = MatrixProduct(keras.DTypePolicy(precision).compute_dtype)
        products[precision].run()
    times = {}
    for round_index in range(rounds + 1):
        for precision, product in products.items():
            fastest = min(seconds(product.run) for _ in range(3))
            times.setdefault(("peak", precision), []).append(fastest)
        for candidate in candidates:
            for job in ("train", "score", "classify", "sample"):
                if hasattr(candidate, job):
                    times.setdefault((candidate.name, job), []).append(
                        seconds(getattr(candidate, job))
                    )
        print(f"round {round_index} of {rounds} done" if round_index else "warm-up done")
    times = {key: np.array(values[1:]) for key, values in times.items()}
    peaks = {
        precision: product.flop / np.median(times.pop(("peak", precision)))
        for precision, product in products.items()
    }
    return times, peaks


def summarize(times, peaks, candidates, flop):
    """Medians, ratios to tfp within the rounds, and share of peak."""
    counts = {"train": PICTURES, "score": PICTURES, "classify": PICTURES, "sample": 25}
    work = {"train": 3 * flop, "score": flop}
    precisions = {candidate.name: candidate.precision for candidate in candidates}
    rows = []
    for (name, job), values in times.items():
        rate = counts[job] / np.median(values)
        row = {"name": name, "job": job, "pictures_per_second": round(float(rate), 2)}
        if (TfpPixelCNN.name, job) in times:
            ratio = np.median(times[TfpPixelCNN.name, job] / values)
            row["speed_relative_to_tfp"] = round(float(ratio), 3)
        if job in work:
            peak = peaks[precisions[name]]
            row["share_of_peak"] = round(float(rate * work[job] / peak), 3)
        rows.append(row)
    gflops = {precision: round(peak / 1e9, 1) for precision, peak in peaks.items()}
    return {"peak_gflop_per_second": gflops, "rows": rows}


def print_table(result):
    table = Table(title=f"{result['backend']} on {result['machine']}")
    for column in ("name", "job", "pictures/s", "times tfp", "share of peak"):
        table.add_column(column)
    for row in result["rows"]:
        share = row.get("share_of_peak")
        table.add_row(
            row["name"],
            row["job"],
            f"{row['pictures_per_second']:.1f}",
            str(row.get("speed_relative_to_tfp", "")),
            "" if share is None else f"{share:.0%}",
        )
    Console(width=120).print(table)
    for precision, peak in result["peak_gflop_per_second"].items():
        print(f"matrix product, {precision}: {peak} GFLOP/s")


def main():
    kp.keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--variants", action="store_true", help="also XLA and mixed_bfloat16")
    parser.add_argument("--ours", action="store_true", help="this package alone")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (PICTURES, *SHAPE)).astype("uint8")
    labels = rng.integers(0, 4, PICTURES).astype("int32")
    backend = keras.backend.backend()
    candidates = [Ours("keras-pixelcnnpp", images, labels, jit_compile=backend == "jax")]
    if options.variants:
        candidates.append(Ours("… XLA", images, labels, jit_compile=True))
        candidates.append(Ours("… mixed_bfloat16", images, labels, "mixed_bfloat16"))
    if backend == "tensorflow" and not options.ours:
        candidates.append(TfpPixelCNN(images))

    times, peaks = measure(candidates, options.rounds)
    result = summarize(times, peaks, candidates, forward_flop(candidates[0].model))
    result = {
        "backend": backend,
        "backend_version": metadata.version(backend),
        "machine": machine(),
        "device": device_name(),
        "cores": len(os.sched_getaffinity(0)),
        "keras": keras.__version__,
        "batch": BATCH,
        "forward_gflop_per_picture": round(forward_flop(candidates[0].model) / 1e9, 3),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        **result,
    }
    print_table(result)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(result, indent=2) + "\n")
        print(f"Wrote {options.output}")


if __name__ == "__main__":
    main()
