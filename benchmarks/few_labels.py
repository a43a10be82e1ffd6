r"""Few images have a label: what are the others worth?

    python benchmarks/few_labels.py --data digits --labels-per-class 5,25 --seeds 0,1,2 \
        --output benchmarks/results/few_labels-digits.json

PixelCNN++ learns from the labeled images alone, or from all: p(x) of those without a label. The
CNN learns from the labeled ones alone, or from pseudo-labels too: what it says of the others
itself, first of the half that it is surest of, then of all (curriculum labeling, Cascante-Bonilla
et al. 2021, https://arxiv.org/abs/2001.06001). Which images have a label depends on the seed, and
is the same for all four.

The commands train everything, on data sets that are written into the run folders. The results are
written after each training; the same command goes on after an interruption.
"""

import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import keras
import numpy as np
from common import argument_parser, pixelcnnpp, save, show, timed, write_dataset
from results import WAYS, over_seeds

from keras_pixelcnnpp.backend import machine
from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.files import read_json
from keras_pixelcnnpp.presets import preset_names
from keras_pixelcnnpp.train.options import NOT_MIRRORED

SUREST = (0.5, 1.0)  # shares of the images without a label that the CNN learns from, in turn
SMALL_BATCH = 10  # of PixelCNN++ where the labeled images are all
# Options of `train pixelcnnpp` that are handed on.
OF_PIXELCNNPP = (
    "preset",
    "filters",
    "num_resolutions",
    "dropout_rate",
    "label_loss_weight",
    "learning_rate",
)


def arguments():
    parser = argument_parser(__doc__)
    parser.add_argument("--data", required=True, help="as of pixelcnnpp train")
    parser.add_argument("--image-size", type=int, help="resize images to this size")
    parser.add_argument(
        "--max-examples", type=int, help="train on so many images, with a label or not"
    )
    parser.add_argument("--split", default="test", help="the images to measure on")
    parser.add_argument("--labels-per-class", default="10,25,100")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--preset", help="of PixelCNN++")
    parser.add_argument("--filters")
    parser.add_argument("--num-resolutions", type=int)
    parser.add_argument("--dropout-rate", type=float)
    parser.add_argument("--label-loss-weight", type=float)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--labeled-fraction", type=float, default=0.3, help="of an epoch of all")
    parser.add_argument("--epochs", type=int, default=3, help="of PixelCNN++, over all images")
    parser.add_argument("--batch-size", type=int, default=64, help="of PixelCNN++, of all images")
    parser.add_argument("--cnn-epochs", type=int, default=5, help="over all images")
    parser.add_argument("--shown", type=int, default=5000, help="images, from labeled ones")
    parser.add_argument("--cnn-shown", type=int, default=20_000, help="the same, to the CNN")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--run", type=Path, default=Path("runs/few_labels"))
    parser.set_defaults(output=Path("few_labels.json"))
    return parser.parse_args()


def hide_labels(images, per_class, seed):
    """The images, of which so many of each class, at random, keep their label."""
    rows = np.random.default_rng([seed, per_class]).permutation(len(images))
    labels = np.full_like(images.labels, -1)
    for label in np.unique(images.labels[images.labels >= 0]):
        labels[rows[images.labels[rows] == label][:per_class]] = label
    return replace(images, labels=labels)


def with_repeats(labeled, others, share):
    """Both, the labeled ones as often as makes them this share of all."""
    wanted = round(len(others) * share / (1 - share))
    return np.concatenate([np.resize(labeled, max(len(labeled), wanted)), others])


def train_pixelcnnpp(folder, given, **how):
    """PixelCNN++."""
    how |= {"learning_rate_schedule": "cosine", "likelihood_epochs": 0, "sample_every": 0}
    how |= {name: getattr(given, name) for name in OF_PIXELCNNPP}
    if given.preset is None and given.data in preset_names():
        how["preset"] = given.data
    pixelcnnpp("train", "pixelcnnpp", "--overwrite", run=folder, **how)
    return keras.saving.load_model(folder / "model.keras")


def train_cnn(folder, given, **how):
    """The CNN."""
    flip = "--no-horizontal-flip" if given.data in NOT_MIRRORED else "--horizontal-flip"
    pixelcnnpp("train", "baseline", "--overwrite", flip, run=folder, **how)
    return keras.saving.load_model(folder / "baseline.keras")


def train(way, given, labels_per_class, seed):
    """Trains in one way; returns the model, and the images to measure it on."""
    folder = given.run / f"{way}-{labels_per_class}-{seed}"
    dataset = load_dataset(given.data, image_size=given.image_size)
    images = dataset.split("train").some(given.max_examples, seed)
    images = hide_labels(images, labels_per_class, seed)
    labeled = np.random.default_rng(seed).permutation(np.flatnonzero(images.labels >= 0))
    others = np.flatnonzero(images.labels < 0)

    def data(rows, labels=images.labels, name="data"):
        path = folder / f"{name}.npz"
        write_dataset(path, dataset, replace(images, labels=labels).take(rows))
        return {"data": path, "seed": seed, "precision": given.precision}

    if way == "pixelcnnpp_all":
        how = data(with_repeats(labeled, others, given.labeled_fraction)) | {"unlabeled_weight": 1}
        how |= {"epochs": given.epochs, "batch_size": given.batch_size}
        model = train_pixelcnnpp(folder, given, **how)
    elif way == "pixelcnnpp":
        how = {"epochs": max(1, round(given.shown / len(labeled))), "batch_size": SMALL_BATCH}
        model = train_pixelcnnpp(folder, given, **data(labeled), **how)
    else:
        epochs = max(1, round(given.cnn_shown / len(labeled)))
        model = train_cnn(folder, given, epochs=epochs, **data(labeled))
    for share in SUREST if way == "cnn_pseudo_labels" else ():
        guessed = model.class_probabilities(images.images[others])
        surest = np.argsort(-guessed.max(axis=1))[: round(share * len(others))]
        labels = images.labels.copy()
        labels[others[surest]] = guessed[surest].argmax(axis=1)
        # The true labels come as often as to PixelCNN++.
        rows = with_repeats(labeled, others[surest], given.labeled_fraction)
        epochs = max(given.cnn_epochs, -(-given.cnn_shown // len(rows)))
        of_data = data(rows, labels, f"pseudo_labels-{share}")
        model = train_cnn(folder / f"pseudo_labels-{share}", given, epochs=epochs, **of_data)
    return model, dataset.images(given.split, with_labels=True)


def main():
    given = arguments()
    told = ("seeds", "labels_per_class", "run", "output")
    asked = {name: value for name, value in vars(given).items() if name not in told}
    asked["data"] = Path(given.data).name  # not where it lies
    rows = []
    if given.output.exists():
        known = read_json(given.output)
        if known["options"] != asked:
            sys.exit(f"{given.output} has results of other options; name another file")
        rows = known["rows"]
    numbers = [int(number) for number in given.labels_per_class.split(",")]
    seeds = [int(seed) for seed in given.seeds.split(",")]
    for seed, labels_per_class, way in product(seeds, numbers, WAYS):
        trial = {"way": way, "labels_per_class": labels_per_class, "seed": seed}
        if any(row.items() >= trial.items() for row in rows):
            continue
        (model, unseen), seconds = timed(lambda trial=trial: train(given=given, **trial))
        accuracy = float(
            np.mean(model.class_probabilities(unseen.images).argmax(axis=1) == unseen.labels)
        )
        rows.append({**trial, "accuracy": accuracy, "seconds": round(seconds, 1)})
        report = {"options": asked, "count": len(unseen), "machine": machine(), "rows": rows}
        save(report, given.output)
    table = [
        {"": title} | {str(n): over_seeds(rows, way=way, labels_per_class=n) for n in numbers}
        for way, title in WAYS.items()
    ]
    show(table)


if __name__ == "__main__":
    main()
