"""Which way of training gives most bits/dim for a core-minute: trials of one change each.

    python benchmarks/recipe.py --data PICTURES --minutes 3 --trials all --seed 0 \
        --output benchmarks/results/recipe-cpen455.json

Each trial is a process of its own, learns p(x|y) for so many minutes of processor time (from the
second step on, so that compiling isn't counted), and is measured on a tenth of the split `train`,
which it doesn't learn from. The rate follows the share of the time that is spent. Results are added
to the file after each trial, and a trial that is there already isn't repeated: rank all of them
briefly, then call again with more minutes and the best ones.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# What `cpen455` was trained with when it still had 256 levels.
BASE = {
    "filters": (24, 48, 96),
    "num_blocks": (1, 1, 2),
    "num_mixtures": 5,
    "dropout_rate": 0.2,
    "conditioned_blocks": "up_left",
    "schedule": "decay",
    "peak": 1e-3,
    "beta_2": 0.999,
    "batch_size": 16,
    "ema_momentum": 0.998,
}
COSINE = {"schedule": "cosine", "dropout_rate": 0.0}
TRIALS = {
    "present": {},
    "no dropout": {"dropout_rate": 0.0},
    "cosine": COSINE,
    "cosine, peak 0.002": {**COSINE, "peak": 2e-3},
    "cosine, peak 0.004": {**COSINE, "peak": 4e-3},
    "cosine, peak 0.008": {**COSINE, "peak": 8e-3},
    "cosine, batches of 8": {**COSINE, "batch_size": 8},
    "cosine, batches of 8, peak 0.004": {**COSINE, "batch_size": 8, "peak": 4e-3},
    "cosine, batches of 4, peak 0.004": {**COSINE, "batch_size": 4, "peak": 4e-3},
    "cosine, beta_2 0.99": {**COSINE, "beta_2": 0.99},
    "cosine, 10 mixtures": {**COSINE, "num_mixtures": 10},
    "cosine, 32,64,128 filters": {
        **COSINE,
        "filters": (32, 64, 128),
        "num_blocks": (1, 1, 1),
    },
    "cosine, 48,48,48 filters": {**COSINE, "filters": (48, 48, 48), "num_blocks": (1, 1, 1)},
    "cosine, 2,1,1 blocks": {**COSINE, "num_blocks": (2, 1, 1)},
    "cosine, 48,48,48 filters, batches of 8, peak 0.004": {
        **COSINE,
        "filters": (48, 48, 48),
        "num_blocks": (1, 1, 1),
        "batch_size": 8,
        "peak": 4e-3,
    },
    "cosine, 2,1,1 blocks, batches of 8, peak 0.004": {
        **COSINE,
        "num_blocks": (2, 1, 1),
        "batch_size": 8,
        "peak": 4e-3,
    },
    "cosine, 2,1,1 blocks, batches of 4, peak 0.004": {
        **COSINE,
        "num_blocks": (2, 1, 1),
        "batch_size": 4,
        "peak": 4e-3,
    },
    "cosine, 32,64,128 filters, 2,1,1 blocks, batches of 8, peak 0.004": {
        **COSINE,
        "filters": (32, 64, 128),
        "num_blocks": (2, 1, 1),
        "batch_size": 8,
        "peak": 4e-3,
    },
}
WARMUP = 0.03  # of the time
END = 0.01  # of the peak, a cosine's last rate
STEPS_OF_DECAY = 10_000  # after which the decaying rate is at 0.13 of its peak
HELD_OUT = 0.1


def rate(schedule, peak, spent, step):
    """The learning rate at a share of the time spent."""
    warm = min(1.0, (spent + 1e-6) / WARMUP)
    if schedule == "decay":
        return peak * warm * math.exp(-2 * step / STEPS_OF_DECAY)
    return peak * warm * (END + (1 - END) * (1 + math.cos(math.pi * spent)) / 2)


def train(name, data, minutes, seed):
    """What the fresh process does: trains, measures, prints a row."""
    import keras
    import numpy as np
    from scipy.special import logsumexp

    import keras_pixelcnnpp as kp
    from keras_pixelcnnpp.data.batches import ImageSequence, SetEpoch, feed
    from keras_pixelcnnpp.data.load import load_dataset
    from keras_pixelcnnpp.optimizers import averaged_weights

    options = {**BASE, **TRIALS[name]}
    kp.keep_freed_memory()
    keras.utils.set_random_seed(seed)
    dataset = load_dataset(data, image_size=32)
    learned, held_out = dataset.split("train").labelled().hold_out(HELD_OUT, seed=0)
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = kp.PixelCNNPlusPlus(
        dataset.image_shape,
        dataset.num_classes,
        num_resolutions=3,
        conditioning="bias+film",
        **{
            argument: options[argument]
            for argument in (
                "filters",
                "num_blocks",
                "num_mixtures",
                "dropout_rate",
                "conditioned_blocks",
            )
        },
    )
    optimizer = kp.FusedAdam(
        options["peak"],
        beta_2=options["beta_2"],
        use_ema=True,
        ema_momentum=options["ema_momentum"],
        ema_warmup=True,
    )
    model.compile(optimizer, jit_compile=False)
    model.initialize(learned.some(64).images, learned.some(64).labels)
    batches = ImageSequence(
        learned.images,
        learned.labels,
        batch_size=options["batch_size"],
        num_classes=dataset.num_classes,
        seed=seed,
        horizontal_flip=True,
    )
    start = None
    steps = 0

    def before_step(step, logs=None):
        spent = 0.0 if start is None else (time.process_time() - start) / (60 * minutes)
        optimizer.learning_rate.assign(
            rate(options["schedule"], options["peak"], min(1.0, spent), steps)
        )

    def after_step(step, logs=None):
        nonlocal start, steps
        steps += 1
        start = start or time.process_time()
        if time.process_time() - start >= 60 * minutes:
            model.stop_training = True

    callback = keras.callbacks.LambdaCallback(
        on_train_batch_begin=before_step, on_train_batch_end=after_step
    )
    model.fit(
        feed(batches),
        epochs=10_000,
        shuffle=False,
        verbose=0,
        callbacks=[callback, SetEpoch(batches)],
    )
    with averaged_weights(model):
        scores = model.class_log_likelihoods(held_out.images)
    marginal = logsumexp(scores, axis=1) - math.log(dataset.num_classes)
    sub_pixels = math.prod(dataset.image_shape)
    row = {
        "trial": name,
        "minutes": minutes,
        "seed": seed,
        "steps": steps,
        "pictures": steps * options["batch_size"],
        "weights": model.count_params(),
        "bits_per_dim": -float(marginal.mean()) / sub_pixels / math.log(2),
        "accuracy": float(np.mean(scores.argmax(axis=1) == held_out.labels)),
    }
    print(json.dumps(row))


def main():
    from keras_pixelcnnpp.backend import machine
    from keras_pixelcnnpp.files import read_json, write_json

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="as for pixelcnnpp train")
    parser.add_argument("--minutes", type=float, default=3, help="of processor time for each trial")
    parser.add_argument("--trials", default="all", help=f"some of: {'; '.join(TRIALS)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--train", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.train:
        train(given.train, given.data, given.minutes, given.seed)
        return

    names = TRIALS if given.trials == "all" else given.trials.split("; ")
    for name in names:
        if name not in TRIALS:
            parser.error(f"no trial {name!r}; there are: {'; '.join(TRIALS)}")
    for name in names:
        rows = read_json(given.output)["rows"] if given.output.exists() else []
        trial = {"trial": name, "minutes": given.minutes, "seed": given.seed}
        if any(row.items() >= trial.items() for row in rows):
            continue
        command = [sys.executable, __file__, "--train", name, "--minutes", str(given.minutes)]
        command += ["--data", given.data, "--seed", str(given.seed), "--output", str(given.output)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        row = json.loads(done.stdout.splitlines()[-1])
        print(json.dumps(row), flush=True)
        content = {"data": Path(given.data).name, "machine": machine(), "base": BASE}
        write_json(given.output, {**content, "rows": [*rows, row]})


if __name__ == "__main__":
    main()
