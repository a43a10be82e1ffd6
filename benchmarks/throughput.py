"""Images per second in training and scoring under each backend, beside two other networks.

    python benchmarks/throughput.py --output benchmarks/results/throughput.json
    python benchmarks/throughput.py --candidates --output benchmarks/results/candidates.json

The network is that of the preset `report` (1 block, 40 filters, 5 mixtures, 32×32×3, batch 16), on
random images. Beside it: `tfp.distributions.PixelCNN`, and PixelCNN++ as a course builds it in
plain PyTorch (`torch_pixelcnnpp.py`), eager, and as fast as PyTorch makes it; both of the same size
but unconditional, which is less work.

Each backend has a process of its own, with the Python of the environments that `make test-all`
makes. The processes work in turn, round after round; numbers are medians over the rounds, ratios
medians of those within the rounds. On one core, seconds are those of the processor, so that other
programs hardly count. "Share of peak" is the arithmetic of the convolutions divided by
that of a matrix product of the same backend and precision.

With `--candidates`, the label enters by `film`, in every block or from the lowest resolution on
(`conditioned_blocks`), and scoring one label is compared with scoring all four.
"""

import argparse
import functools
import json
import os
import re
import subprocess
import sys
import time

import keras
import numpy as np
from common import argument_parser, facts, in_turn, pythons, random_images, save, show

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.backend import on_gpu
from keras_pixelcnnpp.data.batches import ImageSequence
from keras_pixelcnnpp.layers.convolutions import normalized_kernels

BATCH = 16
IMAGES = 128
SHAPE = (32, 32, 3)
NUM_CLASSES = 4
PLACES = ("all", "up", "up_left")
OURS = "keras-pixelcnnpp"
TFP = "tfp.distributions.PixelCNN"
COURSE = "PyTorch, as a course builds it"
PRODUCT = 2048  # rows of the matrix product that shows what the machine can do


def report(**arguments):
    """The network of the preset, without weights."""
    return kp.PixelCNNPlusPlus.from_preset("report", load_weights=False, **arguments)


def forward_flop(model):
    """Floating-point operations of one image's forward pass, convolutions only."""
    height, width, _ = model.image_shape
    total = 0
    for path, (kernel, _) in normalized_kernels(model.network).items():
        level = re.search(r"(?:link_)?(?:down|up)(sampling)?_(\d)", path)
        level = int(level.group(2)) + bool(level.group(1)) if level else 0
        total += 2 * int(np.prod(kernel.shape)) * (height * width // 4**level)
    return total


def our_jobs(images, labels, precision="float32", jit_compile=False, **arguments):
    """What a user calls."""
    keras.config.set_dtype_policy(precision)
    model = report(**arguments)
    keras.config.set_dtype_policy("float32")
    model.compile(keras.optimizers.Adam(2e-4), jit_compile=jit_compile)

    def train():
        batches = ImageSequence(images, labels, batch_size=BATCH, num_classes=NUM_CLASSES)
        model.fit(batches, shuffle=False, verbose=0)

    return {
        "train": train,
        "score": lambda: model.log_prob(images, labels, batch_size=BATCH),
        "classify": lambda: model.class_log_likelihoods(images, batch_size=BATCH),
    }


def tfp_pixelcnn(images):
    """Tfp's distribution of the same size, built and initialized."""
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
    distribution.log_prob(images[:BATCH].astype("float32"))
    return distribution


def tfp_jobs(images):
    """The same of tfp's, in a training loop of its own."""
    import tensorflow as tf
    import tf_keras

    distribution = tfp_pixelcnn(images)
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


def torch_jobs(images, fastest):
    """The same of the course's network; `fastest`: compiled, bfloat16, channels last."""
    import torch
    from torch_pixelcnnpp import Network

    device = "cuda" if torch.cuda.is_available() else "cpu"
    layout = torch.channels_last if fastest else torch.contiguous_format
    network = Network().to(device, memory_format=layout)
    call = torch.compile(network) if fastest else network
    scaled = torch.tensor(images.transpose(0, 3, 1, 2), device=device) / 127.5 - 1
    batches = scaled.to(memory_format=layout).split(BATCH)
    optimizer = torch.optim.Adam(network.parameters(), 2e-4)

    def loss(batch):
        with torch.autocast(device, torch.bfloat16, enabled=fastest):
            return call(batch)

    def train():
        network.train()
        for batch in batches:
            optimizer.zero_grad()
            loss(batch).backward()
            optimizer.step()

    @torch.no_grad()
    def score():
        network.eval()
        return [loss(batch).item() for batch in batches]

    return {"train": train, "score": score}


def matrix_product(precision):
    """A large matrix product, which shows what the machine can do."""
    dtype = keras.DTypePolicy(precision).compute_dtype
    matrix = keras.ops.cast(keras.random.normal((PRODUCT, PRODUCT)), dtype)
    # One element is enough to wait for.
    return lambda: float(keras.ops.matmul(matrix, matrix)[0, 0])


def jobs_of_backend(images, labels):
    """What this process can do: functions by name, precision and job."""
    backend = keras.backend.backend()
    ours = functools.partial(our_jobs, images, labels, conditioning="bias")
    found = {}
    for precision in ("float32", "mixed_bfloat16"):
        found["matrix product", precision] = {"product": matrix_product(precision)}
        found[OURS, precision] = ours(precision, jit_compile=backend == "jax")
        if backend == "torch":
            found[f"{OURS}, jit_compile", precision] = ours(precision, jit_compile=True)
    if backend == "tensorflow":
        found[TFP, "float32"] = tfp_jobs(images)
    if backend == "torch":
        found[COURSE, "float32"] = torch_jobs(images, fastest=False)
        found[f"{COURSE}, torch.compile", "mixed_bfloat16"] = torch_jobs(images, fastest=True)
    return {
        (*kind, job): work
        for kind, jobs in found.items()
        for job, work in jobs.items()
        if job != "classify"  # see `--candidates`
    }


def work(images, labels):
    """Does what is asked for on standard input, one number a line, and answers with seconds."""
    answers, sys.stdout = sys.stdout, sys.stderr
    jobs = jobs_of_backend(images, labels)
    on_one_core = len(os.sched_getaffinity(0)) == 1 and not on_gpu()
    clock = time.process_time if on_one_core else time.perf_counter
    first = {"facts": facts(), "jobs": [*jobs], "flop": forward_flop(report(conditioning="bias"))}
    print(json.dumps(first), file=answers, flush=True)
    for number in sys.stdin:
        start = clock()
        [*jobs.values()][int(number)]()
        print(clock() - start, file=answers, flush=True)


class Worker:
    """A process that runs `work` under one backend."""

    def __init__(self, backend, python):
        self._process = subprocess.Popen(
            [python, __file__, "--work"],
            env={**os.environ, "KERAS_BACKEND": backend},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.about = self._answer()

    def _answer(self):
        return json.loads(self._process.stdout.readline())

    def do(self, number):
        """Does one of its jobs; returns the seconds."""
        print(number, file=self._process.stdin, flush=True)
        return self._answer()


def speeds(backends, rounds):
    """Measures all jobs of all backends in turn: a dictionary for the report."""
    workers = {name: Worker(name, python) for name, python in backends.items()}
    jobs = {
        (backend, *job): functools.partial(worker.do, number)
        for backend, worker in workers.items()
        for number, job in enumerate(worker.about["jobs"])
    }
    times = {name: [] for name in jobs}
    for _ in range(rounds + 1):
        for name, do in jobs.items():
            times[name].append(do())
    times = {name: np.array(seconds[1:]) for name, seconds in times.items()}  # once compiled
    flop = next(iter(workers.values())).about["flop"]
    opponents = {
        "times_tfp": ("tensorflow", TFP, "float32"),
        "times_course": ("torch", f"{COURSE}, torch.compile", "mixed_bfloat16"),
    }
    rows = []
    for (backend, name, precision, job), seconds in times.items():
        if job == "product":
            continue
        row = {"name": name, "backend": backend, "precision": precision, "job": job}
        row["images_per_second"] = IMAGES / np.median(seconds)
        for ratio, opponent in opponents.items():
            if (*opponent, job) in times:
                row[ratio] = np.median(times[*opponent, job] / seconds)
        peak = 2 * PRODUCT**3 / times[backend, "matrix product", precision, "product"]
        flop_of_job = IMAGES * flop * (3 if job == "train" else 1)
        row["share_of_peak"] = np.median(flop_of_job / seconds / peak)
        rows.append({key: round(x, 3) if isinstance(x, float) else x for key, x in row.items()})
    return {
        "backends": [worker.about["facts"] for worker in workers.values()],
        "rounds": rounds,
        "forward_gflop_per_image": round(flop / 1e9, 3),
        "rows": rows,
    }


def cost_of_candidates(images, labels, rounds):
    """Measures one label against all of them, by where the label enters."""
    rows = []
    for place in PLACES:
        jobs = our_jobs(images, labels, conditioning="film", conditioned_blocks=place)
        times = in_turn({name: jobs[name] for name in ("score", "classify")}, rounds)
        row = {
            "conditioned_blocks": place,
            "one_label": IMAGES / np.median(times["score"]),
            "four_labels": IMAGES / np.median(times["classify"]),
            "cost": np.median(times["classify"] / times["score"]),
        }
        rows.append(row)
    return {"rows": rows}


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backends", nargs="+", default=[*pythons()], choices=[*pythons()])
    parser.add_argument("--candidates", action="store_true", help="one label against all")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        kp.keep_freed_memory()
        work(*random_images(IMAGES, SHAPE, NUM_CLASSES))
        return
    if options.candidates:
        kp.keep_freed_memory()
        images, labels = random_images(IMAGES, SHAPE, NUM_CLASSES)
        result = facts() | cost_of_candidates(images, labels, options.rounds)
    else:
        result = speeds({name: pythons()[name] for name in options.backends}, options.rounds)
    show(result["rows"])
    save(result, options.output)


if __name__ == "__main__":
    main()
