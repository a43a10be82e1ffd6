"""`evaluate classification`: PixelCNN++ and the baseline CNN classify the images of a split."""

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from sklearn.metrics import classification_report

from keras_pixelcnnpp.classifiers import BaselineClassifier, PixelCNNClassifier, write_predictions
from keras_pixelcnnpp.data.batches import mean_picture
from keras_pixelcnnpp.distributions.logistic_mixture import bits_per_dim
from keras_pixelcnnpp.errors import argument_errors
from keras_pixelcnnpp.evaluate.classification_figures import (
    confusion_matrix_png,
    reliability_png,
    roc_png,
    selective_accuracy_png,
)
from keras_pixelcnnpp.evaluate.figures import print_table
from keras_pixelcnnpp.evaluate.metrics.classifiers import (
    accuracy_difference_interval,
    classification_metrics,
    cross_fitted_temperature,
    mcnemar_p_value,
    one_vs_rest_auc,
    selective_accuracy,
)
from keras_pixelcnnpp.evaluate.metrics.pictures import PixelHistogram
from keras_pixelcnnpp.evaluate.partial import first_rows, part_rows, partial_png, partial_report
from keras_pixelcnnpp.files import write_bytes, write_json
from keras_pixelcnnpp.layers.posterior import log_marginal
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.run import RunFolder, model_titles, split_words

PREDICTIONS = {"pixelcnnpp": "predictions.csv", "baseline": "predictions_baseline.csv"}
COVERAGES = (0.5, 0.8, 0.9, 0.95)


def judge(
    folder: RunFolder,
    *,
    data: str | None,
    split: str,
    batch_size: int,
    flip_average: bool,
    partial: bool,
    options: dict,
    verbose: int,
) -> None:
    """Both models classify a split, and parts of its images; writes files, prints tables."""
    config = folder.read_config()
    folder.require_model("pixelcnnpp")
    dataset = folder.load_data(data)
    images = dataset.split(split)
    train = folder.training_pictures(dataset).images
    height = dataset.image_shape[0]
    rows = part_rows(height) if partial else np.array([height])
    print(f"Scoring {len(images)} images of the split {split} under every class")
    classifier = load_classifier(folder, batch_size, verbose, flip_average)
    # The last part is the whole.
    (scores, parts), speed = _timed(
        lambda some: classifier.class_scores(some, rows), images.images, batch_size
    )
    judgements = {"pixelcnnpp": Judgement(parts[:, -1], scores[:, -1], speed, parts)}
    if (cnn := load_baseline(folder)) is not None:
        baseline = BaselineClassifier(cnn, verbose=verbose, flip_average=flip_average)
        whole, speed = _timed(baseline.predict_proba, images.images, batch_size)
        seen = (first_rows(images.images, row, mean_picture(train)) for row in rows[:-1])
        parts = np.stack([*map(baseline.predict_proba, seen), whole], axis=1)
        judgements["baseline"] = Judgement(whole, None, speed, parts)
    for name, judgement in judgements.items():
        path = folder.reports / PREDICTIONS[name]
        write_predictions(path, images.paths, images.labels, judgement.probabilities)
    known = images.labels >= 0
    if not known.any():
        print(f"The split {split} has no labels: wrote the predictions only, in {folder.reports}.")
        return

    images = images.labelled()
    judgements = {name: judgement.take(known) for name, judgement in judgements.items()}
    class_names, titles = config["data"]["class_names"], model_titles(config)
    histogram = PixelHistogram(train, dataset.num_levels).log_prob(images.images)
    report = {
        "options": options,
        "split": split,
        "flip_average": flip_average,
        **compare(images.labels, judgements, dataset.image_shape, class_names),
        "pixel_histogram_bits_per_dim": float(bits_per_dim(histogram, dataset.image_shape).mean()),
    }
    write_json(folder.reports / "classification.json", report)
    figures = _figures(images.labels, judgements, class_names, titles)
    if partial:
        parts = {name: judgement.of_parts for name, judgement in judgements.items()}
        of_parts = {"split": split, **partial_report(images.labels, rows, parts)}
        write_json(folder.reports / "partial.json", of_parts)
        figures["partial"] = partial_png(of_parts, titles)
    for name, png in figures.items():
        write_bytes(folder.reports / f"{name}.png", png)
    for name, judgement in judgements.items():
        print(f"\n{titles[name]}")
        print(_classification_report(images.labels, judgement.predicted, class_names, digits=3))
    _print_comparison(report, titles)
    print(
        f"Wrote classification.json, predictions, confusion matrices and curves: {folder.reports}"
    )


@dataclass(frozen=True, eq=False)
class Judgement:
    """What one model says about images: probabilities, float `[count, num_classes]`, and how fast.

    `log_likelihood` is log p(x | y) in nats, of the same shape, `None` from a model that is no
    density; `of_parts` are probabilities by parts of the images, `[count, parts, num_classes]`.
    """

    probabilities: np.ndarray
    log_likelihood: np.ndarray | None = None
    pictures_per_second: float | None = None
    of_parts: np.ndarray | None = None

    @property
    def predicted(self) -> np.ndarray:
        """The most probable classes, int `[count]`."""
        return self.probabilities.argmax(axis=1)

    def take(self, rows: np.ndarray) -> Self:
        """What is said about some of the images."""
        probabilities, scores, of_parts = (
            None if values is None else values[rows]
            for values in (self.probabilities, self.log_likelihood, self.of_parts)
        )
        return Judgement(probabilities, scores, self.pictures_per_second, of_parts)


def _timed(ask: Callable, images: np.ndarray, batch_size: int) -> tuple:
    """What is said about the images, and how many of them are judged in a second."""
    ask(images[:batch_size])  # compiles
    start = time.perf_counter()
    answer = ask(images)
    return answer, len(images) / (time.perf_counter() - start)


def load_classifier(
    folder: RunFolder, batch_size: int, verbose: int, flip_average: bool = False
) -> PixelCNNClassifier:
    """The run's PixelCNN++ as a classifier; `UserError` if it is not there, or knows no labels."""
    model = load_trained_model(folder.require_model("pixelcnnpp"))
    with argument_errors():
        return PixelCNNClassifier(model, batch_size, verbose, flip_average)


def load_baseline(folder: RunFolder) -> BaselineCNN | None:
    """The run's baseline CNN; without one it says how to train it."""
    if folder.baseline_keras.exists():
        return load_trained_model(folder.baseline_keras, BaselineCNN)
    print(
        f"No {folder.baseline_keras.name} to compare with. "
        f"Train it: {train_baseline_command(folder)}"
    )
    return None


def train_baseline_command(folder: RunFolder) -> str:
    """What to type for the run's baseline CNN."""
    words = [*split_words(folder.read_config()["data"]), "--run", str(folder.path)]
    return f"pixelcnnpp train baseline {shlex.join(words)}"


def compare(
    labels: np.ndarray,
    judgements: dict[str, Judgement],
    image_shape: tuple[int, int, int],
    class_names: Sequence[str] | None = None,
) -> dict:
    """The numbers of `classification.json`: those of each model, and what tells two of them apart.

    `labels` are known ones, int `[count]`. `bits_per_dim` is the mean of that of p(x), over equally
    likely classes. Names of classes add what `classifier_details` gives.
    """
    models = {}
    for name, judgement in judgements.items():
        bits = None
        if judgement.log_likelihood is not None:
            log_prob = log_marginal(judgement.log_likelihood)
            bits = float(np.mean(bits_per_dim(log_prob, image_shape)))
        models[name] = {
            **classification_metrics(labels, judgement.probabilities),
            "bits_per_dim": bits,
            "pictures_per_second": judgement.pictures_per_second,
        }
        if class_names is not None:
            models[name] |= classifier_details(labels, judgement.probabilities, class_names)
    report = {
        "count": len(labels),
        "models": models,
        "mcnemar_p": None,
        "accuracy_difference": None,
    }
    if len(judgements) == 2:
        a, b = (judgement.predicted == labels for judgement in judgements.values())
        interval = list(accuracy_difference_interval(a, b))
        difference = {"value": float(a.mean() - b.mean()), "ci95": interval}
        report |= {"mcnemar_p": mcnemar_p_value(a, b), "accuracy_difference": difference}
    return report


def classifier_details(
    labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]
) -> dict:
    """What goes beyond accuracy, log-loss and calibration error, ready for JSON.

    scikit-learn's `classification_report` by class, `roc_auc` (one against the rest),
    `temperature_scaling` (`None` for a single image) and `selective_accuracy`.
    """
    predicted = probabilities.argmax(axis=1)
    areas = one_vs_rest_auc(labels, probabilities)
    defined = [area for area in areas if area is not None]
    scaling = None
    if len(labels) > 1:
        scaled, temperatures = cross_fitted_temperature(labels, probabilities)
        numbers = classification_metrics(labels, scaled)
        scaling = {
            "temperatures": temperatures,
            "fitted_on": "the other half of the split",
            "ece": numbers["ece"],
            "log_loss": numbers["log_loss"],
        }
    coverage, accuracy = selective_accuracy(labels, probabilities)
    return {
        "classification_report": _classification_report(
            labels, predicted, class_names, output_dict=True
        ),
        "roc_auc": {
            "macro": float(np.mean(defined)) if defined else None,
            "classes": dict(zip(class_names, areas, strict=True)),
        },
        "temperature_scaling": scaling,
        "selective_accuracy": {
            "area": float(accuracy.mean()),
            "at_coverage": {
                str(share): float(accuracy[np.searchsorted(coverage, share)]) for share in COVERAGES
            },
        },
    }


def _classification_report(labels, predicted, class_names, **form) -> dict | str:
    known = {"labels": range(len(class_names)), "target_names": class_names, "zero_division": 0}
    return classification_report(labels, predicted, **known, **form)


def _figures(labels, judgements: dict[str, Judgement], class_names, titles) -> dict[str, bytes]:
    """The contents of the PNG files, by their names."""
    models = {titles[name]: judgement.probabilities for name, judgement in judgements.items()}
    figures = {"selective_accuracy": selective_accuracy_png(labels, models)}
    if len(labels) > 1:
        figures["reliability"] = reliability_png(labels, models)
    for name, judgement in judgements.items():
        of_model = class_names, titles[name]
        figures[f"confusion_{name}"] = confusion_matrix_png(labels, judgement.predicted, *of_model)
        figures[f"roc_{name}"] = roc_png(labels, judgement.probabilities, *of_model)
    return figures


def _print_comparison(report: dict, titles: dict[str, str]) -> None:
    rows = [
        (
            titles[name],
            f"{numbers['accuracy']:.2%}",
            "–".join(f"{100 * bound:.1f}" for bound in numbers["accuracy_ci95"]),
            f"{numbers['log_loss']:.4f}",
            f"{numbers['ece']:.4f}",
            "–" if numbers["bits_per_dim"] is None else f"{numbers['bits_per_dim']:.4f}",
        )
        for name, numbers in report["models"].items()
    ]
    floor = f"{report['pixel_histogram_bits_per_dim']:.4f}"
    print_table(
        ("", "accuracy", "95 % interval (%)", "log-loss", "ECE", "bits/dim"),
        [*rows, ("pixel histograms", "–", "–", "–", "–", floor)],
        title=f"{report['count']} images of the split {report['split']}",
    )
    if report["mcnemar_p"] is not None:
        difference = report["accuracy_difference"]
        low, high = difference["ci95"]
        print(
            f"{titles['pixelcnnpp']} minus baseline: {100 * difference['value']:+.1f} points of "
            f"accuracy, 95 % interval {100 * low:+.1f} to {100 * high:+.1f} (paired bootstrap)"
        )
        print(f"McNemar's exact test, are the two different? p = {report['mcnemar_p']:.4g}")
