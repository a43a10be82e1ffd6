"""Speed of the incremental sampler, beside the naive loop over the same model and tfp's PixelCNN.

    python benchmarks/sampling.py [--xla] [--rounds 3] [--output benchmarks/results/sampling.json]
    python benchmarks/sampling.py --preset gated_pixelcnn --head categorical

The network is that of the preset `report` (1 block, 40 filters, 5 mixtures, 32×32×3), or another's,
with random weights: speed doesn't depend on them.

- **Ours** is timed whole, as `model.sample` runs it, random numbers included.
- **The naive loop** evaluates the whole network once per pixel and keeps that pixel. A few of its
  steps are timed, compiled together, and **extrapolated** to all pixels.
- **tfp** (`tfp.distributions.PixelCNN`, same width, depth and mixtures, unconditional) samples in
  the same way; a few steps of its loop are timed and **extrapolated** too. TensorFlow only.
- **A forward pass** is the network over whole pictures of the same batch, once.

All are measured in turn, round after round, so that a noisy machine disturbs them alike; numbers
are medians, ratios are medians of the ratios within the rounds. Compilation is what the first call
takes more than the later ones. A last table has the cost by picture size, which should grow
linearly with the number of pixels.
"""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import ops
from rich.console import Console
from rich.table import Table
from throughput import TfpPixelCNN, machine, seconds

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.data.batches import feed
from keras_pixelcnnpp.models.archive import model_from_preset
from keras_pixelcnnpp.sampling.sampler import NoiseSequence, PixelSampler

BATCHES = (1, 25, 100, 400)
SIZES = (8, 16, 32, 64)
SIZES_BATCH = 25
NAIVE_STEPS = 3


def make_model(preset, head=None, size=32):
    """The network of a preset, for pictures of another size too."""
    own = {} if head is None else {"head": head}
    model = model_from_preset(
        preset, load_weights=False, image_shape=(size, size, 3), num_classes=4, **own
    )
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (16, size, size, 3)).astype("uint8")
    model.initialize(images, rng.integers(0, 4, 16))
    return model


def compiled(function, xla):
    """Compiles a function of tensors as the backend does it; it returns when the work is done."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        function = tf.function(function, jit_compile=xla, autograph=False)
    elif backend == "jax":
        import jax

        function = jax.jit(function)
    return lambda *tensors: ops.convert_to_numpy(function(*tensors))


class Ours:
    """The incremental sampler."""

    name = "keras-pixelcnnpp"

    def __init__(self, model, batch, xla):
        height, width, _ = model.image_shape
        inputs = {
            "label": np.arange(batch, dtype="int32") % model.num_classes,
            "temperature": np.ones(batch, "float32"),
        }
        noise_shape = (height, width, model.distribution.noise_size)
        self.batches = NoiseSequence(inputs, batch, noise_shape, seed=0, batch_size=batch)
        self.sampler = PixelSampler(model)
        self.sampler.compile(jit_compile=xla)

    def seconds(self):
        return seconds(lambda: self.sampler.predict(feed(self.batches), verbose=0))


class NaiveLoop:
    """The whole network once per pixel; the seconds of all pixels, from those of a few.

    Once per sub-pixel, where these see each other in the network.
    """

    name = "naive loop"

    def __init__(self, model, batch, xla):
        height, width, _ = model.image_shape
        self.evaluations = height * width * model.network.evaluations_per_pixel
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (batch, *model.image_shape)).astype("int32")
        noise = rng.uniform(0.01, 0.99, (batch, model.distribution.noise_size)).astype("float32")
        labels = np.arange(batch, dtype="int32") % model.num_classes
        self.inputs = [ops.convert_to_tensor(array) for array in (images, labels, noise)]

        def steps(images, labels, noise):
            def step(column, images):
                parameters = model({"image": images, "label": labels}, training=False)
                parameters = ops.take(parameters[:, 0, 0], column, axis=1)
                pixel = ops.cast(model.distribution.sample(parameters, noise), "int32")
                return ops.slice_update(images, (0, 0, column, 0), pixel[:, None, None])

            return ops.fori_loop(0, NAIVE_STEPS, step, images)

        self.steps = compiled(steps, xla)

    def seconds(self):
        return seconds(lambda: self.steps(*self.inputs)) / NAIVE_STEPS * self.evaluations


class ForwardPass:
    """The network over whole pictures."""

    name = "one forward pass"

    def __init__(self, model, batch, xla):
        images = np.random.default_rng(0).integers(0, 256, (batch, *model.image_shape))
        labels = np.arange(batch, dtype="int32") % model.num_classes
        self.inputs = [ops.convert_to_tensor(array) for array in (images.astype("uint8"), labels)]
        self.forward = compiled(
            lambda images, labels: model({"image": images, "label": labels}, training=False), xla
        )

    def seconds(self):
        return seconds(lambda: self.forward(*self.inputs))


class TfpLoop:
    """The loop of tfp's sampler; the seconds of all pixels, from those of a few."""

    name = "tfp.distributions.PixelCNN"

    def __init__(self, distribution, batch):
        import tensorflow as tf

        shape = distribution.event_shape.as_list()
        self.pixels = shape[0] * shape[1]
        self.samples = tf.random.uniform((batch, *shape), -1.0, 1.0)

        def step(samples):
            # What `PixelCNN._sample_n` does for each pixel, without its copies of the pictures.
            parameters = distribution.network(samples, training=False)
            return distribution._sample_channels(*parameters, seed=None)

        self.step = compiled(step, xla=False)

    def seconds(self):
        times = [seconds(lambda: self.step(self.samples)) for _ in range(NAIVE_STEPS)]
        return float(np.mean(times)) * self.pixels


def measure(candidates, rounds):
    """Returns the first call's seconds and those of each round, by candidate."""
    first = [candidate.seconds() for candidate in candidates]
    later = np.array([[candidate.seconds() for candidate in candidates] for _ in range(rounds)])
    return np.array(first), later


def compare(model, peer, batch, xla, rounds):
    """Measures one batch size: a dictionary for the report."""
    candidates = [kind(model, batch, xla) for kind in (Ours, NaiveLoop, ForwardPass)]
    if peer is not None and not xla:
        candidates.append(TfpLoop(peer, batch))
    first, later = measure(candidates, rounds)
    ours = later[:, 0]
    row = {
        "batch": batch,
        "xla": xla,
        "seconds": float(np.median(ours)),
        "images_per_second": float(batch / np.median(ours)),
        "compile_seconds": float(max(first[0] - ours.min(), 0)),
        "naive_seconds_extrapolated": float(np.median(later[:, 1])),
        "times_faster_than_naive": float(np.median(later[:, 1] / ours)),
        "forward_seconds": float(np.median(later[:, 2])),
        "forward_passes": float(np.median(ours / later[:, 2])),
    }
    if len(candidates) > 3:
        row["tfp_seconds_extrapolated"] = float(np.median(later[:, 3]))
        row["times_faster_than_tfp"] = float(np.median(later[:, 3] / ours))
    return row


def measure_sizes(options, xla):
    """Measures pictures of growing size, a few of each."""
    models = [make_model(options.preset, options.head, size) for size in SIZES]
    candidates = [Ours(model, SIZES_BATCH, xla) for model in models]
    _, later = measure(candidates, options.rounds)
    median = np.median(later, axis=0)
    return [
        {
            "size": size,
            "batch": SIZES_BATCH,
            "xla": xla,
            "seconds": float(value),
            "milliseconds_per_pixel": float(1000 * value / size**2),
        }
        for size, value in zip(SIZES, median, strict=True)
    ]


def print_tables(result):
    console = Console(width=130)
    table = Table(title=f"Sampling 32×32×3, {result['backend']} on {result['machine']}")
    for column in ("batch", "XLA", "seconds", "images/s", "compile s", "× naive", "× tfp"):
        table.add_column(column, justify="right")
    table.add_column("forward passes", justify="right")
    for row in result["rows"]:
        tfp = row.get("times_faster_than_tfp")
        table.add_row(
            str(row["batch"]),
            "yes" if row["xla"] else "no",
            f"{row['seconds']:.2f}",
            f"{row['images_per_second']:.1f}",
            f"{row['compile_seconds']:.1f}",
            f"{row['times_faster_than_naive']:.0f}",
            "" if tfp is None else f"{tfp:.0f}",
            f"{row['forward_passes']:.1f}",
        )
    console.print(table)
    print(f"naive and tfp: {NAIVE_STEPS} pixel steps, extrapolated to all pixels")
    if result["sizes"]:
        print_sizes(result["sizes"])
    print(f"load average, before and after: {result['load_average']}")


def print_sizes(rows):
    table = Table(title=f"By size, batch {SIZES_BATCH}")
    for column in ("size", "XLA", "seconds", "ms per pixel"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            str(row["size"]),
            "yes" if row["xla"] else "no",
            f"{row['seconds']:.2f}",
            f"{row['milliseconds_per_pixel']:.3f}",
        )
    Console().print(table)


def main():
    kp.keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="report")
    parser.add_argument("--head", choices=("logistic_mixture", "categorical"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--xla", action="store_true", help="TensorFlow: with XLA too")
    parser.add_argument("--no-sizes", action="store_true", help="leave out the growing sizes")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()

    load_before = os.getloadavg()
    backend = keras.backend.backend()
    modes = {"tensorflow": (False, True) if options.xla else (False,), "jax": (True,)}
    modes = modes.get(backend, (False,))
    model, peer = make_model(options.preset, options.head), None
    if backend == "tensorflow" and options.preset == "report":
        peer = TfpPixelCNN(np.zeros((16, 32, 32, 3), "uint8")).distribution
    rows = []
    for xla in modes:
        for batch in options.batches:
            rows.append(compare(model, peer, batch, xla, options.rounds))
            print(f"batch {batch}, {'XLA' if xla else 'no XLA'}: {rows[-1]['seconds']:.2f} s")
    sizes = []
    for xla in () if options.no_sizes else modes:
        sizes += measure_sizes(options, xla)
    result = {
        "preset": options.preset,
        "head": model.head,
        "backend": backend,
        "machine": machine(),
        "keras": keras.__version__,
        "rounds": options.rounds,
        "naive_steps_timed": NAIVE_STEPS,
        "load_average": [round(load[0], 2) for load in (load_before, os.getloadavg())],
        "rows": rows,
        "sizes": sizes,
    }
    print_tables(result)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(result, indent=2) + "\n")
        print(f"Wrote {options.output}")


if __name__ == "__main__":
    main()
