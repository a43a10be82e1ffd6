"""Measures p(image | label, map) against an exact law, and against models with one of the two.

    taskset -c 1 python benchmarks/joint.py law --folder runs/law --seed 0

`law` has 3×3 spins with three classes, whose field is the map times a factor of the class, and
whose coupling depends on the class. All 512 lattices are enumerated.

All models are trained for the same processor time. Each run writes
`benchmarks/results/joint-TASK-SEED.json` and keeps its models in `--folder`; with `--resume`, it
continues after the last model that is there.
"""

from functools import partial
from pathlib import Path
from typing import Annotated

import keras
import numpy as np
import typer
from codes import train
from common import RESULTS, facts, save, show
from maps import as_images, kept, model_of
from scipy.special import logsumexp, softmax

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.utils.files import read_json, write_json

FIELDS, COUPLINGS = (0.8, -0.8, 0.4), (0.3, 0.3, -0.5)  # of each class
SIDE, PAIRS, COMPARED = 3, 500_000, 50  # COMPARED maps, each with all classes
LATTICES = (2 * ((np.arange(2**9)[:, None] >> np.arange(9)) & 1) - 1).reshape(-1, SIDE, SIDE)


def law():
    """Returns log p(lattice | class, map), float64 `(3, maps, lattices)`, of all 512 maps."""
    field = LATTICES.reshape(-1, 9) @ LATTICES.reshape(-1, 9).T  # (maps, lattices)
    down = (LATTICES[:, 1:] * LATTICES[:, :-1]).sum(axis=(1, 2))
    coupling = down + (LATTICES[:, :, 1:] * LATTICES[:, :, :-1]).sum(axis=(1, 2))
    energy = np.multiply.outer(FIELDS, field) + np.multiply.outer(COUPLINGS, coupling)[:, None]
    return energy - logsumexp(energy, axis=2, keepdims=True)


def drawn(log_law, count, rng):
    """Returns lattices of the law, with uniform classes and maps: the index of each."""
    classes, maps = rng.integers(3, size=count), rng.integers(512, size=count)
    cumulative = np.exp(log_law).cumsum(axis=2)
    cumulative[..., -1] = 1
    chosen = np.empty(count, int)
    for rows in np.array_split(np.arange(count), 1 + count // 20_000):
        below = cumulative[classes[rows], maps[rows]] < rng.random((len(rows), 1))
        chosen[rows] = below.sum(axis=1)
    return chosen, classes, maps


def divergence(log_p, log_q):
    """Returns KL(p ∥ q) over the last axis, nats."""
    return (np.exp(log_p) * (log_p - log_q)).sum(axis=-1)


def mean_of(values):
    """Returns the mean of independent values, and its standard error."""
    return {"mean": np.mean(values), "standard_error": np.std(values, ddof=1) / len(values) ** 0.5}


def trained(folder, name, make, resume, fit):
    """Returns a model, and the seconds and steps of its training, both from the folder if there."""
    path = folder / f"{name}.json"
    model, took = kept(folder, name, make, resume, fit)
    if took:
        write_json(path, took)
    return model, read_json(path)


def trained_with(runs, make, images, folder, seed, seconds, batch_size, resume):
    """Trains a model for each condition and its values; returns models and their training."""
    models, training = {}, {}
    for name, (conditions, values) in runs.items():

        def fit(model, values=values):
            return train(model, images, values, seconds, 4e-3, batch_size, seed)

        making = partial(make, conditions, label_loss_weight=0.0)
        models[name], training[name] = trained(folder, name, making, resume, fit)
    return models, training


def exact_law(folder, seed, seconds, resume):
    """Compares models of the class, the map, and both with the law."""
    log_law, rng = law(), np.random.default_rng(seed)
    lattices, classes, maps = drawn(log_law, PAIRS, rng)
    images, values = as_images(LATTICES[lattices]), LATTICES[maps][..., None]
    given = kp.Maps((SIDE, SIDE, 1), -1, 1)
    runs = {
        "both": ([kp.Labels(3), given], (classes, values)),
        "map": (given, values),
        "label": (kp.Labels(3), classes),
    }
    keras.utils.set_random_seed(seed)
    options = {"num_levels": 2, "head": "categorical", "num_blocks": 3}
    make = partial(model_of, shape=(SIDE, SIDE, 1), **options)
    models, training = trained_with(runs, make, images, folder, seed, seconds, 256, resume)
    # All lattices, given each of the compared maps, and given each class.
    compared = np.random.default_rng(seed).choice(512, COMPARED, replace=False)
    every = np.tile(as_images(LATTICES), (COMPARED, 1, 1, 1))
    of_map = LATTICES[compared].repeat(512, axis=0)[..., None]
    how = {"batch_size": 5120}

    def shaped(log_prob):
        return log_prob.astype("float64").reshape(COMPARED, 512)

    both = np.stack([shaped(models["both"].log_prob(every, (y, of_map), **how)) for y in range(3)])
    found = {
        "both": both,
        "map": shaped(models["map"].log_prob(every, of_map, **how))[None],
        "label": np.stack([models["label"].log_prob(every[:512], y) for y in range(3)])[:, None],
    }
    best = {
        "map": logsumexp(log_law, axis=0, keepdims=True) - np.log(3),
        "label": logsumexp(log_law, axis=1, keepdims=True) - np.log(512),
    }
    best["map"] = best["map"][:, compared]
    exact = log_law[:, compared]

    def kl(log_q):
        return mean_of(divergence(exact, log_q).mean(axis=0))  # of each map

    # An unknown class is averaged over, and its posterior follows from Bayes' rule.
    averaged = shaped(models["both"].log_prob(every, of_map, **how))
    mean = logsumexp(both, axis=0) - np.log(3)
    posterior = models["both"].class_probabilities(every, condition=of_map, **how)
    posterior = np.moveaxis(posterior.reshape(COMPARED, 512, 3), 2, 0)
    bayes, true = softmax(both, axis=0), softmax(exact, axis=0)
    weights = np.exp(exact).mean(axis=0)  # p(lattice | map)
    away = np.abs(posterior - true).sum(axis=0) / 2
    return {
        "training": training,
        "kl": {name: kl(log_q) for name, log_q in found.items()},
        "best_kl": {name: kl(log_q) for name, log_q in best.items()},
        "difference_from_mean_over_classes": np.abs(averaged - mean).max(),
        "difference_from_bayes_rule": np.abs(posterior - bayes).max(),
        "posterior_distance": (weights * away).sum(axis=1).mean(),  # total variation from the law's
        "entropy": -(np.exp(exact) * exact).sum(axis=-1).mean(),
    }


def main(
    task: str,
    folder: Annotated[Path, typer.Option()],
    seed: int = 0,
    seconds: float = 20,
    resume: bool = False,
):
    folder.mkdir(parents=True, exist_ok=True)
    found = {"law": exact_law}[task](folder, seed, seconds, resume)
    save(
        {"task": task, "training_seconds": seconds, "seed": seed, **found, **facts()},
        RESULTS / f"joint-{task}-{seed}.json",
    )
    show([{name: value for name, value in found.items() if isinstance(value, float)}])


if __name__ == "__main__":
    typer.run(main)
