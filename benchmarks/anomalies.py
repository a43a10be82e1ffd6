"""Measures `AnomalyDetector` next to other detectors; writes results/anomalies-PRESET.json.

    python benchmarks/anomalies.py mnist mnist.npz fashion_mnist.npz --fit 400 --count 400

Half of the `--fit` images determine the density, and half calibrate the p-values. Since these are
few, the false alarms of one calibration vary: they are also given as the mean over 20 random
choices of the `--fit` images among all normal images.
"""

from pathlib import Path

import numpy as np
import typer
from common import RESULTS

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.evaluate.ood import (
    FALSE_ALARMS,
    NORMAL,
    OWN,
    auroc_report,
    detector_scores,
    ood_inputs,
)
from keras_pixelcnnpp.utils.files import write_json


def main(preset: str, data: Path, other: Path, fit: int = 300, count: int = 200, each: int = 60):
    """Measure the AUROC of the detectors, and how often p-values are at most 0.05."""
    rng = np.random.default_rng(0)
    others = np.load(other)["x_test"][..., None]
    others = others[rng.permutation(len(others))[:each]]
    images = np.load(data)["x_test"][..., None]
    images = images[rng.permutation(len(images))]
    own = images[fit : fit + count]
    sets = {NORMAL: images[:fit], OWN: own, other.stem: others, **ood_inputs(own[:each])}
    detector = kp.AnomalyDetector(kp.AutoregressiveModel.from_preset(preset))
    features = {name: detector.features(images) for name, images in sets.items()}
    scores = detector_scores(features, detector)
    scores.pop(NORMAL)
    report = auroc_report(scores)
    normal = np.concatenate([features[NORMAL], features[OWN]])
    alarms, rng = [], np.random.default_rng(0)
    for _ in range(20):
        rows = rng.permutation(len(normal))
        detector.fit_features(normal[rows[:fit]])
        p_values = detector.p_values_of(detector.score_features(normal[rows[fit:]]))
        alarms.append(np.mean(p_values <= FALSE_ALARMS))
    report |= {"fit": fit, "false_alarms_mean": float(np.mean(alarms))}
    write_json(RESULTS / f"anomalies-{preset}.json", report)


if __name__ == "__main__":
    typer.run(main)
