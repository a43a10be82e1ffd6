"""Measures whether a model finds wrong labels in its own training data.

    python benchmarks/wrong_labels.py --share 0.15

A fraction of the training labels of the digits is replaced by wrong ones, and PixelCNN++ (on the
likelihood alone) and the CNN are trained on them. The probability that a trained model gives to the
label of a training image is a score: the lower, the more suspicious the label. The script reports
the AUROC of this score with its 95 % interval, and its precision: if the number of suspicious
images equals that of wrong labels, the fraction that has a wrong label.
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
    """Train with wrong labels, and measure how well they are found."""
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
