"""Does a model find the wrong labels among those that it was trained with?

    python benchmarks/wrong_labels.py --share 0.15 --run runs/wrong

A share of the training labels of the digits is made wrong, and the commands train PixelCNN++ (by
likelihood alone) and the CNN. Each gives every training image the probability of the label that it
was given, the smaller the more suspicious. Measured are the AUROC with which that tells wrong
labels from right ones, its 95 % interval, and how many of the most suspicious images, as many as
there are wrong labels, have one.
"""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
from common import argument_parser, pixelcnnpp, save, show, write_dataset

from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.evaluate.metrics.classifiers import auroc_interval
from keras_pixelcnnpp.run import RunFolder


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--share", type=float, default=0.15, help="of the labels, made wrong")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", type=Path, default=Path("runs/wrong"))
    options = parser.parse_args()
    dataset = load_dataset("digits")
    train = dataset.split("train")
    rng = np.random.default_rng(options.seed)
    wrong = np.zeros(len(train), bool)
    wrong[rng.permutation(len(train))[: round(options.share * len(train))]] = True
    given = train.labels.copy()
    given[wrong] = (given[wrong] + rng.integers(1, 10, wrong.sum())) % 10

    run = RunFolder(options.run)
    data = {"data": options.run.with_suffix(".npz"), "run": run.path, "seed": options.seed}
    write_dataset(data["data"], dataset, replace(train, labels=given))
    pixelcnnpp("train", "baseline", "--overwrite", "--no-horizontal-flip", epochs=15, **data)
    likelihood = {"preset": "digits", "label_loss_weight": 0, "epochs": 20, "sample_every": 0}
    pixelcnnpp("train", "pixelcnnpp", "--overwrite", **likelihood, **data)

    models = {}
    for name, file in (("pixelcnnpp", run.model_keras), ("baseline", run.baseline_keras)):
        probabilities = keras.saving.load_model(file).class_probabilities(train.images)
        suspicion = -probabilities[np.arange(len(given)), given]
        area, interval = auroc_interval(suspicion[~wrong], suspicion[wrong])
        most = np.argsort(-suspicion, kind="stable")[: wrong.sum()]
        precision = float(wrong[most].mean())
        models[name] = {"auroc": area, "auroc_ci95": list(interval), "precision": precision}
    show([{"model": name} | numbers for name, numbers in models.items()])
    save({"count": len(given), "wrong": int(wrong.sum()), "models": models}, options.output)


if __name__ == "__main__":
    main()
