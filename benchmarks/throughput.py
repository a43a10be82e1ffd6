"""Measures images per second in training and scoring, under each backend and for tfp's network.

    python benchmarks/throughput.py --output benchmarks/results/throughput.json
    python benchmarks/throughput.py --candidates --output benchmarks/results/candidates.json

The network is that of `course_report` (1 block, 40 filters, 5 mixtures, 32×32×3, batch 16), on
random images. It is compared with `tfp.distributions.PixelCNN`, which has the same size but is
unconditional, which is less work.

Each backend runs in its own process, with the Python of the environments that `make test-all`
creates. The processes work in turn, round after round. Speeds are medians over the rounds, and
ratios are medians of the ratios within the rounds. On one core, processor time is measured, so that
other programs hardly matter. "Share of peak" is the arithmetic throughput of the convolutions
divided by that of a matrix product with the same backend and precision.

With `--candidates`, scoring one label is compared with scoring all four. The label conditions the
network by `film`, in every block or only from the lowest resolution on (`conditioned_blocks`).
"""

import functools
import json
import os
import re
import subprocess
import sys
import time
from typing import Annotated

import keras
import numpy as np
import typer
from common import Output, Rounds, facts, in_turn, random_images, save, show
from environments import FOUND, PYTHONS
from typer import Option

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.sampling.structure import Structure
from keras_pixelcnnpp.utils.backend import on_gpu, precision

BATCH = 16
SHAPE = (32, 32, 3)
NUM_CLASSES = 4
PLACES = ("all", "up", "up_horizontal")
OURS = "keras-pixelcnnpp"
TFP = "tfp.distributions.PixelCNN"
PRODUCT = 2048  # rows of the matrix product that measures peak throughput


def report(**arguments):
    return kp.PixelCNNPlusPlus.from_preset("course_report", load_weights=False, **arguments)


def resolution_of(path):
    """Returns the resolution at which a layer is evaluated; 0 is that of the image."""
    level = re.search(r"(?:link_)?(?:down|up)(sampling)?_(\d)", path)
    return int(level.group(2)) + bool(level.group(1)) if level else 0


def flop_of_layers(model):
    """Returns the operations of each convolution in one image's forward pass, by path."""
    height, width, _ = model.image_shape
    kernels = Structure(model.network, model.image_shape).kernels()
    return {
        path: 2 * int(np.prod(kernel.shape)) * (height * width // 4 ** resolution_of(path))
        for path, (kernel, _) in kernels.items()
    }


def forward_flop(model):
    """Returns the floating-point operations of the convolutions in one image's forward pass."""
    return sum(flop_of_layers(model).values())


def our_jobs(images, labels, policy, jit_compile):
    """Returns the jobs of this package, as a user calls them."""
    with precision(policy):
        model = report(conditioning="bias")
    model.compile(keras.optimizers.Adam(2e-4), jit_compile=jit_compile)
    return {
        "train": lambda: model.fit(images, labels, batch_size=BATCH, verbose=0),
        "score": lambda: model.log_prob(images, labels, batch_size=BATCH),
    }


def tfp_jobs(images):
    """Returns the jobs of tfp's distribution of the same size, with a training loop."""
    import tensorflow as tf
    import tensorflow_probability as tfp
    import tf_keras

    distribution = tfp.distributions.PixelCNN(
        image_shape=SHAPE,
        num_resnet=1,
        num_hierarchies=3,
        num_filters=40,
        num_logistic_mix=5,
        dropout_p=0.5,
        use_weight_norm=True,
    )
    distribution.log_prob(images[:BATCH].astype("float32"))  # initializes it
    batches = tf.constant(images.astype("float32").reshape(-1, BATCH, *SHAPE))
    optimizer = tf_keras.optimizers.Adam(2e-4)
    optimizer.build(distribution.trainable_variables)

    @tf.function
    def step(batch):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(distribution.log_prob(batch, training=True))
        variables = distribution.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    log_prob = tf.function(lambda batch: distribution.log_prob(batch, training=False))
    return {
        "train": lambda: [step(batch).numpy() for batch in batches],
        "score": lambda: [log_prob(batch).numpy() for batch in batches],
    }


def matrix_product(policy):
    """Returns a job that computes a large matrix product, to measure peak throughput."""
    dtype = keras.DTypePolicy(policy).compute_dtype
    matrix = keras.ops.cast(keras.random.normal((PRODUCT, PRODUCT)), dtype)
    # Reading one element waits for the whole product.
    return lambda: float(keras.ops.matmul(matrix, matrix)[0, 0])


def jobs_of_backend(count):
    """Returns the jobs of this process's backend, by name, precision and job."""
    images, labels = random_images(count, SHAPE, NUM_CLASSES)
    backend = keras.backend.backend()
    found = {}
    for policy in ("float32", "mixed_bfloat16"):
        found["matrix product", policy] = {"product": matrix_product(policy)}
        found[OURS, policy] = our_jobs(images, labels, policy, backend == "jax")
        if backend == "torch":
            found[f"{OURS}, jit_compile", policy] = our_jobs(images, labels, policy, True)
    if backend == "tensorflow":
        found[TFP, "float32"] = tfp_jobs(images)
    return {(*kind, job): work for kind, jobs in found.items() for job, work in jobs.items()}


def work(count):
    """Runs jobs by number, one per line of standard input, and answers with their seconds."""
    answers, sys.stdout = sys.stdout, sys.stderr
    jobs = jobs_of_backend(count)
    on_one_core = len(os.sched_getaffinity(0)) == 1 and not on_gpu()
    clock = time.process_time if on_one_core else time.perf_counter
    first = {"facts": facts(), "jobs": [*jobs], "flop": forward_flop(report(conditioning="bias"))}
    print(json.dumps(first), file=answers, flush=True)
    for number in sys.stdin:
        start = clock()
        [*jobs.values()][int(number)]()
        print(clock() - start, file=answers, flush=True)


def start(backend, count):
    """Starts a process that runs `work`; returns its facts, and its jobs, which return seconds."""
    process = subprocess.Popen(
        [PYTHONS[backend], __file__, "--work", "--images", str(count)],
        env={**os.environ, "KERAS_BACKEND": backend},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def do(number):
        print(number, file=process.stdin, flush=True)
        return json.loads(process.stdout.readline())

    about = json.loads(process.stdout.readline())
    jobs = {
        (backend, *job): functools.partial(do, number) for number, job in enumerate(about["jobs"])
    }
    return about, jobs


def speeds(backends, rounds, count):
    """Measures all jobs of all backends in turn; returns a dictionary for the report."""
    about, jobs = zip(*(start(backend, count) for backend in backends), strict=True)
    jobs = {name: job for of_backend in jobs for name, job in of_backend.items()}
    times = in_turn(jobs, rounds, seconds=lambda job: job())
    flop = about[0]["flop"]
    rows = []
    for (backend, name, policy, job), seconds in times.items():
        if job == "product":
            continue
        row = {"name": name, "backend": backend, "precision": policy, "job": job}
        row["images_per_second"] = count / np.median(seconds)
        if (of_tfp := ("tensorflow", TFP, "float32", job)) in times:
            row["times_tfp"] = np.median(times[of_tfp] / seconds)
        peak = 2 * PRODUCT**3 / times[backend, "matrix product", policy, "product"]
        flop_of_job = count * flop * (3 if job == "train" else 1)
        row["share_of_peak"] = np.median(flop_of_job / seconds / peak)
        rows.append({key: round(x, 3) if isinstance(x, float) else x for key, x in row.items()})
    return {
        "backends": [of_backend["facts"] for of_backend in about],
        "rounds": rounds,
        "forward_gflop_per_image": round(flop / 1e9, 3),
        "rows": rows,
    }


def cost_of_candidates(rounds, count):
    """Measures scoring one label against scoring all labels, for each place of conditioning."""
    images, labels = random_images(count, SHAPE, NUM_CLASSES)
    rows = []
    for place in PLACES:
        model = report(conditioning="film", conditioned_blocks=place)
        jobs = {
            "one_label": functools.partial(model.log_prob, images, labels, batch_size=BATCH),
            "four_labels": functools.partial(model.class_log_likelihoods, images, batch_size=BATCH),
        }
        times = in_turn(jobs, rounds)
        row = {name: count / np.median(seconds) for name, seconds in times.items()}
        row["cost"] = np.median(times["four_labels"] / times["one_label"])
        rows.append({"conditioned_blocks": place} | row)
    return facts() | {"rows": rows}


def main(
    rounds: Rounds = 3,
    images: Annotated[int, Option(help="Images per measurement, a multiple of 16.")] = 64,
    backends: Annotated[str, Option(help="Backends, comma-separated.")] = ",".join(FOUND),
    candidates: Annotated[
        bool, Option("--candidates", help="Compare scoring one label with scoring all labels.")
    ] = False,
    is_worker: Annotated[bool, Option("--work", hidden=True)] = False,
    output: Output = None,
):
    """Compare the speed of backends and of tfp's network."""
    kp.keep_freed_memory()
    if is_worker:
        work(images)
        return
    if candidates:
        result = cost_of_candidates(rounds, images)
    else:
        result = speeds(backends.split(","), rounds, images)
    show(result["rows"])
    save(result, output)


if __name__ == "__main__":
    typer.run(main)
