r"""Few pictures have a label: what are the others worth?

    python benchmarks/few_labels.py --data digits --labels-per-class 5,25 --seeds 0,1,2 \
        --output benchmarks/results/few_labels-digits.json

PixelCNN++ learns from the labelled pictures alone, or from all: p(x) of those without a label. The
CNN learns from the labelled ones alone, or from pseudo-labels too: what it says of the others
itself, first of the half that it is surest of, then of all (curriculum labelling, Cascante-Bonilla
et al. 2021, https://arxiv.org/abs/2001.06001). Which pictures have a label depends on the seed, and
is the same for all four.

The results are written after each training. The same command goes on after an interruption.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from results import WAYS, over_seeds

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.backend import machine
from keras_pixelcnnpp.classifiers import PixelCNNClassifier
from keras_pixelcnnpp.evaluate.figures import print_table
from keras_pixelcnnpp.files import read_json, write_json
from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.train.baseline import train_baseline
from keras_pixelcnnpp.train.command_line import overrides
from keras_pixelcnnpp.train.data import load_preset, load_training_data
from keras_pixelcnnpp.train.options import NOT_MIRRORED, PixelCNNOptions, resolve_options
from keras_pixelcnnpp.train.pixelcnnpp import train_pixelcnnpp

SUREST = (0.5, 1.0)  # shares of the pictures without a label that the CNN learns from, in turn
SMALL_BATCH = 10  # of PixelCNN++ where the labelled pictures are all


def settings():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="as of pixelcnnpp train")
    parser.add_argument("--image-size", type=int, help="resize pictures to this size")
    parser.add_argument("--limit", type=int, help="train on so many pictures, with a label or not")
    parser.add_argument("--split", default="test", help="the pictures to measure on")
    parser.add_argument("--labels-per-class", default="10,25,100")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--ways", default=",".join(WAYS), help="which to train")
    parser.add_argument("--preset", help="of PixelCNN++")
    parser.add_argument("--filters")
    parser.add_argument("--num-resolutions", type=int)
    parser.add_argument("--dropout-rate", type=float)
    parser.add_argument("--label-loss-weight", type=float)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--labelled-share", type=float, default=0.3, help="of an epoch of all")
    parser.add_argument("--epochs", type=int, default=3, help="of PixelCNN++, over all pictures")
    parser.add_argument("--batch-size", type=int, default=64, help="of PixelCNN++, of all pictures")
    parser.add_argument("--cnn-epochs", type=int, default=5, help="over all pictures")
    parser.add_argument("--shown", type=int, default=5000, help="pictures, from labelled ones")
    parser.add_argument("--cnn-shown", type=int, default=20_000, help="the same, to the CNN")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--run", type=Path, default=Path("runs/few_labels"))
    parser.add_argument("--output", type=Path, default=Path("few_labels.json"))
    return parser.parse_args()


def train(way, given, labels_per_class, seed):
    """Trains in one way: a function that gives the class probabilities of pictures; the data."""
    keras.utils.clear_session()
    everything = way == "pixelcnnpp_all"
    options = PixelCNNOptions(
        data=given.data,
        image_size=given.image_size,
        labels_per_class=labels_per_class,
        limit=given.limit,
        seed=seed,
        preset=given.preset,
        filters=given.filters and [int(width) for width in given.filters.split(",")],
        num_resolutions=given.num_resolutions,
        dropout_rate=given.dropout_rate,
        label_loss_weight=given.label_loss_weight,
        unlabelled_weight=1.0 if everything else 0.0,
        labelled_share=given.labelled_share if everything else None,
        warmup_epochs=0,
        epochs=given.epochs if everything else 1,
        learning_rate=given.learning_rate,
        learning_rate_schedule="cosine",
        batch_size=given.batch_size if everything else SMALL_BATCH,
        precision=given.precision,
        sample_every=0,
        run=given.run / f"{way}-{labels_per_class}-{seed}",
    )
    preset = load_preset(options.preset, options.data)
    dataset, config = load_training_data(options, preset)
    pictures = dataset.split("train").some(given.limit, seed)
    labelled, others = np.flatnonzero(pictures.labels >= 0), np.flatnonzero(pictures.labels < 0)
    watching = {"figures_every": 0, "validation_limit": 100}

    def taught(pictures):
        return replace(dataset, splits={**dataset.splits, "train": pictures})

    if way.startswith("pixelcnnpp"):
        chosen = {**overrides(options), **watching, "limit": None}
        model_options, training = resolve_options(preset, chosen, dataset.num_classes, False)
        model = train_pixelcnnpp(
            taught(pictures if everything else pictures.take(np.resize(labelled, given.shown))),
            RunFolder(options.run),
            model_options,
            training,
            config,
            overwrite=True,
            verbose=2,
        )
        return PixelCNNClassifier(model, batch_size=100, verbose=0).predict_proba, dataset

    def cnn_taught(pictures, step):
        training = {"epochs": 1, "seed": seed, "precision": given.precision, **watching}
        return train_baseline(
            taught(pictures),
            RunFolder(options.run / step),
            training,
            config,
            horizontal_flip=given.data not in NOT_MIRRORED,
            overwrite=True,
            verbose=2,
        ).class_probabilities

    judge = cnn_taught(pictures.take(np.resize(labelled, given.cnn_shown)), "labelled")
    for share in SUREST if way == "cnn_pseudo_labels" else ():
        probabilities = judge(pictures.images[others])
        surest = np.argsort(-probabilities.max(axis=1))[: round(share * len(others))]
        labels = pictures.labels.copy()
        labels[others[surest]] = probabilities[surest].argmax(axis=1)
        # The true labels come as often as to PixelCNN++.
        repeated = round(len(surest) * given.labelled_share / (1 - given.labelled_share))
        rows = np.concatenate([np.resize(labelled, max(len(labelled), repeated)), others[surest]])
        times = max(given.cnn_epochs, -(-given.cnn_shown // len(rows)))
        chosen = replace(pictures, labels=labels).take(np.tile(rows, times))
        judge = cnn_taught(chosen, f"pseudo-labels-{share}")
    return judge, dataset


def main():
    kp.keep_freed_memory()
    given = settings()
    asked = {
        name: value
        for name, value in vars(given).items()
        if name not in ("seeds", "labels_per_class", "ways", "run", "output")
    }
    asked["data"] = Path(given.data).name  # not where it lies
    rows = []
    if given.output.exists():
        known = read_json(given.output)
        if known["options"] != asked:
            sys.exit(f"{given.output} has results of other options; name another file")
        rows = known["rows"]
    numbers = [int(number) for number in given.labels_per_class.split(",")]
    seeds = [int(seed) for seed in given.seeds.split(",")]
    for seed, labels_per_class, way in product(seeds, numbers, given.ways.split(",")):
        trial = {"way": way, "labels_per_class": labels_per_class, "seed": seed}
        if any(row.items() >= trial.items() for row in rows):
            continue
        print(f"\n{WAYS[way]}, {labels_per_class} labels a class, seed {seed}", flush=True)
        start = time.perf_counter()
        judge, dataset = train(way, given, labels_per_class, seed)
        seconds = time.perf_counter() - start
        unseen = dataset.pictures(given.split, with_labels=True)
        accuracy = float(np.mean(judge(unseen.images).argmax(axis=1) == unseen.labels))
        rows.append({**trial, "accuracy": accuracy, "seconds": round(seconds, 1)})
        print(json.dumps(rows[-1]), flush=True)
        report = {"options": asked, "count": len(unseen), "machine": machine(), "rows": rows}
        write_json(given.output, report)
    print_table(
        ("labels a class", *map(str, numbers)),
        [
            (title, *(over_seeds(rows, way=way, labels_per_class=number) for number in numbers))
            for way, title in WAYS.items()
        ],
        title=f"Mean accuracy on pictures of {given.split}, and its range over the seeds",
    )


if __name__ == "__main__":
    main()
