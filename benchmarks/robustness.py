"""Evaluates both classifiers of a run on corrupted images, and log p(x) as a corruption detector.

    python benchmarks/robustness.py runs/digits --max-examples 300

There are eight corruptions with five severities, after Hendrycks and Dietterich 2019, *Benchmarking
Neural Network Robustness to Common Corruptions and Perturbations*,
https://arxiv.org/abs/1903.12261. They only need Pillow, SciPy and NumPy, and support images of any
size, so the severities are not those of CIFAR-10-C. The script writes accuracies, calibration
errors and the AUROC of each score for corrupted against clean images to reports/robustness.json,
and prints means over the severities.
"""

import io
from pathlib import Path

import numpy as np
import typer
from common import Output, Split, save, show
from PIL import Image
from scipy.ndimage import gaussian_filter, shift

from keras_pixelcnnpp.classifiers import PixelCNNClassifier
from keras_pixelcnnpp.data.images import as_image
from keras_pixelcnnpp.distributions.bits import bits_per_dim
from keras_pixelcnnpp.evaluate.classification import load_baseline
from keras_pixelcnnpp.evaluate.metrics.classifiers import classification_metrics
from keras_pixelcnnpp.evaluate.ood import auroc_report
from keras_pixelcnnpp.layers.posterior import log_marginal
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.run import RunFolder

# Arguments of each corruption: pixels in [0, 255] `(height, width, channels)`, strength, generator.


def gaussian_noise(pixels, deviation, rng):
    return pixels + deviation * rng.normal(size=pixels.shape)


def blur(pixels, sigma, rng):
    return gaussian_filter(pixels.astype(float), (sigma, sigma, 0), mode="nearest")


def contrast(pixels, share, rng):
    return share * pixels + (1 - share) * pixels.mean(axis=(0, 1))


def brightness(pixels, added, rng):
    return pixels.astype(float) + added


def jpeg(pixels, quality, rng):
    buffer = io.BytesIO()
    as_image(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer)).reshape(pixels.shape)


def pixelate(pixels, share, rng):
    image = as_image(pixels)
    small = image.resize([max(1, round(share * side)) for side in image.size], Image.Resampling.BOX)
    return np.asarray(small.resize(image.size, Image.Resampling.NEAREST)).reshape(pixels.shape)


def occlude(pixels, share, rng):
    sides = np.maximum(1, np.rint(share * np.array(pixels.shape[:2])).astype(int))
    top, left = (rng.random(2) * (np.array(pixels.shape[:2]) - sides + 1)).astype(int)
    occluded = pixels.copy()
    occluded[top : top + sides[0], left : left + sides[1]] = 128
    return occluded


def translate(pixels, share, rng):
    distance = np.maximum(1, np.rint(share * np.array(pixels.shape[:2]))) * rng.choice([-1, 1], 2)
    return shift(pixels, (*distance, 0), order=0, mode="nearest")


CORRUPTIONS = {
    "gaussian noise": (gaussian_noise, (10, 20, 30, 45, 65)),
    "blur": (blur, (0.4, 0.6, 0.8, 1.1, 1.5)),
    "contrast": (contrast, (0.75, 0.5, 0.4, 0.3, 0.15)),
    "brightness": (brightness, (25, 50, 75, 100, 125)),
    "JPEG": (jpeg, (80, 50, 25, 15, 7)),
    "pixelation": (pixelate, (0.75, 0.6, 0.5, 0.4, 0.25)),
    "occlusion": (occlude, (0.2, 0.3, 0.4, 0.5, 0.6)),
    "translation": (translate, (0.06, 0.12, 0.19, 0.25, 0.31)),
}


def corrupt(images, name, severity, seed=0):
    """Corrupts images `(N, height, width, channels)` with severity 1 (mildest) to 5 (worst)."""
    corruption, strengths = CORRUPTIONS[name]
    rng = np.random.default_rng(seed)
    corrupted = np.stack([corruption(each, strengths[severity - 1], rng) for each in images])
    return np.rint(np.clip(corrupted, 0, 255)).astype("uint8")


def score(images, model, baseline):
    """Returns class probabilities by classifier, and scores by detector as in `evaluate ood`."""
    log_likelihoods, probabilities = PixelCNNClassifier(model).class_scores(images)
    by_classifier = {"pixelcnnpp": probabilities}
    if baseline is not None:
        by_classifier["baseline"] = baseline.class_probabilities(images)
    scores = {"log_likelihood": bits_per_dim(log_marginal(log_likelihoods), model.image_shape)}
    scores |= {f"{name}_max_softmax": -p.max(axis=1) for name, p in by_classifier.items()}
    return by_classifier, scores


def measure(folder, split="test", max_examples=300, seed=0):
    """Returns the content of robustness.json."""
    dataset = folder.load_data()
    test = dataset.images(split, with_labels=True, max_examples=max_examples, seed=seed)
    models = load_trained_model(folder.require_model("pixelcnnpp")), load_baseline(folder)

    def metrics(probabilities):
        return {name: classification_metrics(test.labels, p) for name, p in probabilities.items()}

    clean, clean_scores = score(test.images, *models)
    report = {"split": split, "count": len(test), "clean": {"models": metrics(clean)}}
    report["corruptions"] = {name: [] for name in CORRUPTIONS}
    for name, measured in report["corruptions"].items():
        for severity in range(1, 6):
            corrupted = corrupt(test.images, name, severity, seed)
            probabilities, scores = score(corrupted, *models)
            detected = auroc_report({"in_distribution": clean_scores, name: scores}, [name])
            measured.append({"models": metrics(probabilities), **detected["inputs"][name]})
    return report


def main(folder: Path, split: Split = "test", max_examples: int = 300, output: Output = None):
    """Evaluate both classifiers of a run on corrupted images."""
    run = RunFolder(folder)
    report = measure(run, split, max_examples)
    rows = []
    for name, measured in report["corruptions"].items():
        row = {
            model: np.mean([at["models"][model]["accuracy"] for at in measured])
            for model in report["clean"]["models"]
        }
        area = np.mean([at["auroc"]["log_likelihood"] for at in measured])
        rows.append({"corruption": name} | row | {"AUROC of log p(x)": area})
    show(rows)
    save(report, output or run.reports / "robustness.json")


if __name__ == "__main__":
    typer.run(main)
