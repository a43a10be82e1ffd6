"""Accuracy by Bayes' rule alone: the class with the largest log p(x | y).

    python benchmarks/bayes.py digits --data digits --split test

The posterior of `predict` scales log p(x | y) and adds class biases; both rules are measured. The
results also have the bits/dim of p(x) and of p(x | y).
"""

import numpy as np
import typer
from common import RESULTS, Data, Split, show
from scipy.special import log_softmax, logsumexp

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.evaluate.metrics.classifiers import accuracy_interval
from keras_pixelcnnpp.files import read_json, write_json


def rule(scores, labels):
    """Returns accuracy and log loss of the class probabilities softmax(scores)."""
    correct = int(np.sum(scores.argmax(axis=1) == labels))
    nats = -log_softmax(scores, axis=1)[np.arange(len(labels)), labels]
    return {
        "accuracy": correct / len(labels),
        "accuracy_ci95": list(accuracy_interval(correct, len(labels))),
        "log_loss": nats.mean(),
    }


def main(preset: str, data: Data, split: Split = "test"):
    """Measure a preset; update `benchmarks/results/bayes.json`."""
    model = kp.AutoregressiveModel.from_preset(preset)
    height, width, channels = model.image_shape
    loaded = kp.data.load_dataset(data, image_size=(height, width), channels=channels)
    unseen = loaded.images(split, with_labels=True)
    log_prob = np.asarray(model.class_log_likelihoods(unseen.images), "float64")
    nats = height * width * channels * np.log(2)
    given = log_prob[np.arange(len(unseen)), unseen.labels]
    marginal = logsumexp(log_prob, axis=1) - np.log(model.num_classes)
    found = {
        "split": split,
        "count": len(unseen),
        "posterior": rule(model.logit_scale * log_prob + model.class_bias, unseen.labels),
        "bayes": rule(log_prob, unseen.labels),
        "bits_per_dim": -marginal.mean() / nats,
        "bits_per_dim_given_label": -given.mean() / nats,
    }
    path = RESULTS / "bayes.json"
    write_json(path, {**(read_json(path) if path.exists() else {}), preset: found})
    show([{"rule": name, **found[name]} for name in ("posterior", "bayes")])


if __name__ == "__main__":
    typer.run(main)
