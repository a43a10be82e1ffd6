"""Does a model find the wrong labels among those that it was trained with?

    python benchmarks/wrong_labels.py --share 0.15

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
import typer
from common import Output, pixelcnnpp, save, show, write_dataset

from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.evaluate.metrics.classifiers import auroc_interval
from keras_pixelcnnpp.run import RunFolder


def main(
    share: float = 0.15,
    seed: int = 0,
    max_examples: int | None = None,
    run: Path = Path("runs/wrong"),
    output: Output = None,
):
    """Make a share of the labels wrong, train with them, and look for them."""
    dataset = load_dataset("digits")
    train = dataset.split("train").some(max_examples)
    rng = np.random.default_rng(seed)
    wrong = np.zeros(len(train), bool)
    wrong[rng.permutation(len(train))[: round(share * len(train))]] = True
    given = train.labels.copy()
    given[wrong] = (given[wrong] + rng.integers(1, 10, wrong.sum())) % 10

    how = {"data": run.with_suffix(".npz"), "run": run, "seed": seed, "overwrite": True}
    write_dataset(how["data"], dataset, replace(train, labels=given))
    pixelcnnpp("train-baseline", **how, horizontal_flip=False, epochs=15)
    by_likelihood = {"preset": "digits", "label_loss_weight": 0, "epochs": 20, "sample_every": 0}
    pixelcnnpp("train", **how, **by_likelihood)

    models = {}
    for name in ("pixelcnnpp", "baseline"):
        model = keras.saving.load_model(RunFolder(run).model(name))
        probabilities = model.class_probabilities(train.images)
        suspicion = -probabilities[np.arange(len(given)), given]
        area, interval = auroc_interval(suspicion[~wrong], suspicion[wrong])
        most = np.argsort(-suspicion, kind="stable")[: wrong.sum()]
        precision = float(wrong[most].mean())
        models[name] = {"auroc": area, "auroc_ci95": list(interval), "precision": precision}
    show([{"model": name} | numbers for name, numbers in models.items()])
    save({"count": len(given), "wrong": int(wrong.sum()), "models": models}, output)


if __name__ == "__main__":
    typer.run(main)
