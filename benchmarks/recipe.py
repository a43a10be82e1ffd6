"""Which way of training gives most for a core-minute: trials that differ in a few options.

    python benchmarks/recipe.py likelihood --data IMAGES --minutes 3 \
        --output benchmarks/results/recipe-likelihood.json
    python benchmarks/recipe.py hybrid --data IMAGES --minutes 6 \
        --output benchmarks/results/recipe-hybrid.json

The first group learns p(x|y) of 256 levels, the second p(x|y) of 16 levels and the cross-entropy
over the classes. A trial's name lists what it changes (`CHANGES`). Each is a process of its own,
trains for so many minutes of processor time (from the second step on, so that compiling isn't
counted), and is measured on a tenth of the split `train`, which it doesn't learn from. The rate
follows the share of the time that is spent. Results are added to the file after each trial, and a
trial that is there already isn't repeated: rank all of them briefly, then call again with more
minutes and the best ones.
"""

import argparse
import json
import math
import subprocess
import sys
import time
from pathlib import Path

from common import RESULTS, argument_parser, save

from keras_pixelcnnpp.backend import machine
from keras_pixelcnnpp.files import read_json

# What `cpen455-256` was trained with, but for its length.
FIRST = {
    "filters": (24, 48, 96),
    "num_blocks": (1, 1, 2),
    "num_mixtures": 5,
    "dropout_rate": 0.2,
    "schedule": "decay",
    "peak": 1e-3,
    "beta_2": 0.999,
    "batch_size": 16,
    "likelihood_first": 1.0,  # share of the time that is spent without the cross-entropy
    "warmup_again": 300,  # steps, where the cross-entropy joins
}
GROUPS = {
    "likelihood": {**FIRST, "num_levels": 256, "label_loss_weight": 0.0},
    "hybrid": {
        **FIRST,
        "num_levels": 16,
        "label_loss_weight": 0.3,
        "num_blocks": (2, 1, 1),
        "dropout_rate": 0.1,
        "schedule": "cosine",
        "likelihood_first": 0.0,
    },
}
CHANGES = {
    "first recipe": {"num_blocks": (1, 1, 2), "dropout_rate": 0.2},
    "cosine": {"schedule": "cosine", "dropout_rate": 0.0},
    "peak 0.002": {"peak": 2e-3},
    "peak 0.004": {"peak": 4e-3},
    "peak 0.008": {"peak": 8e-3},
    "batches of 4": {"batch_size": 4},
    "batches of 8": {"batch_size": 8},
    "beta_2 0.99": {"beta_2": 0.99},
    "10 mixtures": {"num_mixtures": 10},
    "32,64,128 filters": {"filters": (32, 64, 128), "num_blocks": (1, 1, 1)},
    "48,48,48 filters": {"filters": (48, 48, 48), "num_blocks": (1, 1, 1)},
    "2,1,1 blocks": {"num_blocks": (2, 1, 1)},
    "half by likelihood": {"likelihood_first": 0.5},
    "no second warm-up": {"warmup_again": 1},
}
WARMUP = 0.03  # of the time
END = 0.01  # of the peak, a cosine's last rate
STEPS_OF_DECAY = 10_000  # after which the decaying rate is at 0.13 of its peak
HELD_OUT = 0.1


def trial_options(group, name):
    """The options of a trial, from its name."""
    options = dict(GROUPS[group])
    for change in name.split(", "):
        options |= CHANGES[change]
    return options


def rate(schedule, peak, spent, step):
    """The learning rate at a share of the time spent."""
    warm = min(1.0, (spent + 1e-6) / WARMUP)
    if schedule == "decay":
        return peak * warm * math.exp(-2 * step / STEPS_OF_DECAY)
    return peak * warm * (END + (1 - END) * (1 + math.cos(math.pi * spent)) / 2)


def train(group, name, data, minutes, seed):
    """What the fresh process does: trains, measures, prints a row."""
    import keras
    import numpy as np

    import keras_pixelcnnpp as kp
    from keras_pixelcnnpp.classifiers import refit_class_bias
    from keras_pixelcnnpp.data.batches import ImageSequence, SetEpoch
    from keras_pixelcnnpp.data.load import load_dataset
    from keras_pixelcnnpp.distributions.logistic_mixture import bits_per_dim
    from keras_pixelcnnpp.layers.posterior import log_marginal
    from keras_pixelcnnpp.optimizers import use_averages

    options = trial_options(group, name)
    kp.keep_freed_memory()
    keras.utils.set_random_seed(seed)
    dataset = load_dataset(data, image_size=32)
    learned, held_out = dataset.split("train").labeled().hold_out(HELD_OUT, seed=0)
    keras.config.set_dtype_policy("mixed_bfloat16")
    network = ("filters", "num_blocks", "num_mixtures", "dropout_rate")
    model = kp.PixelCNNPlusPlus(
        dataset.image_shape,
        dataset.num_classes,
        num_levels=options["num_levels"],
        num_resolutions=3,
        conditioning="bias+film",
        conditioned_blocks="up_left",
        label_loss_weight=options["label_loss_weight"],
        initial_logit_scale=0.1,
        **{argument: options[argument] for argument in network},
    )
    optimizer = keras.optimizers.Adam(
        options["peak"], beta_2=options["beta_2"], use_ema=True, ema_momentum=0.99
    )
    model.compile(optimizer, jit_compile=False)
    sample = learned.some(64)
    model.initialize(sample.images, sample.labels)
    steps, joined, before, start = 0, 0, 0.0, None

    def spent():
        return before if start is None else before + (time.process_time() - start) / (60 * minutes)

    def set_label_loss_weight(weight):
        nonlocal before, start, joined
        before, start, joined = spent(), None, steps  # compiling isn't counted
        model.label_loss_weight = weight
        model.make_train_function(force=True)

    def before_step(step, logs=None):
        if not model.label_loss_weight and weight and spent() >= options["likelihood_first"]:
            set_label_loss_weight(weight)
        now = rate(options["schedule"], options["peak"], min(1.0, spent()), steps)
        if joined:
            now *= min(1.0, (steps - joined + 1) / options["warmup_again"])
        optimizer.learning_rate.assign(now)

    def after_step(step, logs=None):
        nonlocal start, steps
        steps += 1
        start = start or time.process_time()
        model.stop_training = spent() >= 1.0

    timed = keras.callbacks.LambdaCallback(
        on_train_batch_begin=before_step, on_train_batch_end=after_step
    )
    weight = model.label_loss_weight
    if options["likelihood_first"]:
        set_label_loss_weight(0.0)
    batches = ImageSequence(
        learned.images,
        learned.labels,
        batch_size=options["batch_size"],
        num_classes=dataset.num_classes,
        seed=seed,
        horizontal_flip=True,
    )
    callbacks = [timed, SetEpoch(batches)]
    model.fit(batches, epochs=10_000, shuffle=False, verbose=0, callbacks=callbacks)
    use_averages(model)
    scores = model.class_log_likelihoods(held_out.images)
    if options["label_loss_weight"]:
        refit_class_bias(model, learned.images, learned.labels, 32, seed)
        predicted = model.class_probabilities(held_out.images)
    else:
        predicted = scores
    row = {
        "trial": name,
        "minutes": minutes,
        "seed": seed,
        "steps": steps,
        "images": steps * options["batch_size"],
        "weights": model.count_params(),
        "bits_per_dim": float(bits_per_dim(log_marginal(scores), dataset.image_shape).mean()),
        "accuracy": float(np.mean(predicted.argmax(axis=1) == held_out.labels)),
    }
    print(json.dumps(row))


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("group", choices=GROUPS)
    parser.add_argument("--data", required=True, help="as for pixelcnnpp train")
    parser.add_argument("--minutes", type=float, default=3, help="of processor time for each trial")
    parser.add_argument(
        "--trials", nargs="+", metavar="NAME", help="default: those in benchmarks/results"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.train:
        train(given.group, given.train, given.data, given.minutes, given.seed)
        return

    content = {"data": Path(given.data).name, "group": given.group, "machine": machine()}
    rows = []
    if given.output and given.output.exists():
        known = read_json(given.output)
        if content != {key: known[key] for key in content}:
            parser.error(f"{given.output} is of another group, data or machine; name another file")
        rows = known["rows"]
    measured = read_json(RESULTS / f"recipe-{given.group}.json")["rows"]
    for name in given.trials or dict.fromkeys(row["trial"] for row in measured):
        trial = {"trial": name, "minutes": given.minutes, "seed": given.seed}
        if any(row.items() >= trial.items() for row in rows):
            continue
        command = [sys.executable, __file__, given.group, "--train", name, "--data", given.data]
        command += ["--minutes", str(given.minutes), "--seed", str(given.seed)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1], flush=True)
        save({**content, "rows": rows}, given.output)


if __name__ == "__main__":
    main()
