"""Accuracy by Bayes' rule alone: the class with the largest log p(x | y).

    python benchmarks/bayes.py digits --data digits --split test

The posterior of `predict` scales log p(x | y) and adds class biases; both rules are measured. The
results also have the bits/dim of p(x) and of p(x | y).
"""

import numpy as np
import typer
from common import RESULTS, Data, Split, show
from scipy.special import softmax

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.distributions.bits import bits_per_dim
from keras_pixelcnnpp.evaluate.metrics.classifiers import classification_metrics
from keras_pixelcnnpp.layers.posterior import log_marginal
from keras_pixelcnnpp.utils.files import read_json, write_json


def main(preset: str, data: Data, split: Split = "test"):
    """Measure a preset; update `benchmarks/results/bayes.json`."""
    model = kp.AutoregressiveModel.from_preset(preset)
    height, width, channels = shape = model.image_shape
    loaded = kp.data.load_dataset(data, image_size=(height, width), channels=channels)
    unseen = loaded.images(split, with_labels=True)
    log_prob = model.class_log_likelihoods(unseen.images).astype("float64")
    given = log_prob[np.arange(len(unseen)), unseen.labels]
    rules = {"posterior": model.posterior.class_logits(log_prob), "bayes": log_prob}
    found = {
        name: classification_metrics(unseen.labels, softmax(scores, axis=1))
        for name, scores in rules.items()
    }
    show([{"rule": name, **numbers} for name, numbers in found.items()])
    found |= {
        "split": split,
        "count": len(unseen),
        "bits_per_dim": bits_per_dim(log_marginal(log_prob), shape).mean(),
        "bits_per_dim_given_label": bits_per_dim(given, shape).mean(),
    }
    path = RESULTS / "bayes.json"
    write_json(path, {**(read_json(path) if path.exists() else {}), preset: found})


if __name__ == "__main__":
    typer.run(main)
