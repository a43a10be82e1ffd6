"""`evaluate classification`: PixelCNN++ and the baseline CNN judge the pictures of a split."""

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from sklearn.metrics import classification_report

from keras_pixelcnnpp.classifiers import BaselineClassifier, PixelCNNClassifier, write_predictions
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
from keras_pixelcnnpp.evaluate.partial import Parts, partial_png, partial_report, print_partial
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
    """Both models judge a split, and parts of its pictures; writes files, prints tables."""
    config = folder.read_config()
    folder.require_model("pixelcnnpp")
    dataset = folder.load_data(data)
    if flip_average and not config.get("pixelcnnpp", {}).get("options", {}).get("horizontal_flip"):
        print("Note: trained without mirror images, a model may not know what to make of them.")
    pictures = dataset.split(split)
    train = folder.training_pictures(dataset).images
    parts = Parts.of(train) if partial else None
    judgements = _judgements(folder, pictures.images, batch_size, flip_average, verbose, parts)
    for name, judgement in judgements.items():
        path = folder.reports / PREDICTIONS[name]
        write_predictions(path, pictures.paths, pictures.labels, judgement.probabilities)
    known = pictures.labels >= 0
    if not known.any():
        print(f"The split {split} has no labels: wrote the predictions only, in {folder.reports}.")
        return

    class_names = config["data"]["class_names"]
    labels = pictures.labels[known]
    if missing := [name for label, name in enumerate(class_names) if label not in labels]:
        print(
            f"Note: the split {split} has no pictures of {', '.join(missing)}: without ROC and AUC."
        )
    judgements = {name: judgement.take(known) for name, judgement in judgements.items()}
    histogram = PixelHistogram(train, dataset.num_levels)
    report = {
        "options": options,
        "split": split,
        "flip_average": flip_average,
        **compare(labels, judgements, dataset.image_shape, class_names),
        "pixel_histogram_bits_per_dim": _mean_bits(
            histogram.log_prob(pictures.images[known]), dataset.image_shape
        ),
    }
    titles = model_titles(config)
    for name, png in _figures(labels, judgements, class_names, titles).items():
        write_bytes(folder.reports / f"{name}.png", png)
    write_json(folder.reports / "classification.json", report)
    _print_classes(labels, judgements, class_names, titles)
    _print_comparison(report, titles)
    if parts is not None:
        of_parts = {name: judgement.of_parts for name, judgement in judgements.items()}
        by_part = {"split": split, **partial_report(labels, parts.rows, of_parts)}
        write_json(folder.reports / "partial.json", by_part)
        write_bytes(folder.reports / "partial.png", partial_png(by_part, titles))
        print_partial(by_part, titles)
    print(
        f"Wrote classification.json, predictions, confusion matrices and curves: {folder.reports}"
    )


@dataclass(frozen=True)
class Judgement:
    """What one model says about pictures: float `[count, num_classes]` twice, and how fast.

    The second is log p(x | y) in nats, `None` from a model that is no density. `of_parts` are
    probabilities by parts of the pictures, `[count, parts, num_classes]`, if they were asked for.
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
        """What is said about some of the pictures."""
        scores = None if self.log_likelihood is None else self.log_likelihood[rows]
        of_parts = None if self.of_parts is None else self.of_parts[rows]
        return Judgement(self.probabilities[rows], scores, self.pictures_per_second, of_parts)


def _judgements(
    folder: RunFolder,
    images: np.ndarray,
    batch_size: int,
    flip_average: bool,
    verbose: int,
    parts: Parts | None,
) -> dict[str, Judgement]:
    both = " and their mirror images" if flip_average else ""
    classifier = load_classifier(folder, batch_size, verbose, flip_average)
    print(f"{classifier.model.title} scores {len(images)} pictures{both} under every class")
    known_rows, of_parts = None if parts is None else parts.rows, None
    (scores, probabilities), speed = _timed(
        lambda some: classifier.class_scores(some, known_rows), images, batch_size
    )
    if parts is not None:  # the last part is the whole
        scores, probabilities, of_parts = scores[:, -1], probabilities[:, -1], probabilities
    judgements = {"pixelcnnpp": Judgement(probabilities, scores, speed, of_parts)}
    if (model := load_baseline(folder)) is not None:
        baseline = BaselineClassifier(model, verbose=verbose, flip_average=flip_average)
        probabilities, speed = _timed(baseline.predict_proba, images, batch_size)
        if parts is not None:
            of_parts = np.stack([baseline.predict_proba(p) for p in parts.pictures(images)], axis=1)
        judgements["baseline"] = Judgement(probabilities, None, speed, of_parts)
    return judgements


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


def _timed(judge: Callable, images: np.ndarray, batch_size: int) -> tuple:
    """What `judge` says about the pictures, and how many of them it judges in a second."""
    judge(images[:batch_size])  # compiles
    start = time.perf_counter()
    result = judge(images)
    return result, len(images) / (time.perf_counter() - start)


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
        models[name] = {
            **classification_metrics(labels, judgement.probabilities),
            "bits_per_dim": _bits_of_classes(judgement.log_likelihood, image_shape),
            "pictures_per_second": judgement.pictures_per_second,
        }
        if class_names is not None:
            models[name] |= classifier_details(labels, judgement.probabilities, class_names)
    correct = [judgement.predicted == labels for judgement in judgements.values()]
    two = len(correct) == 2
    return {
        "count": len(labels),
        "models": models,
        "mcnemar_p": mcnemar_p_value(*correct) if two else None,
        "accuracy_difference": _accuracy_difference(*correct) if two else None,
    }


def _bits_of_classes(log_likelihood: np.ndarray | None, image_shape) -> float | None:
    if log_likelihood is None:
        return None
    return _mean_bits(log_marginal(log_likelihood), image_shape)


def _mean_bits(log_prob: np.ndarray, image_shape: tuple[int, int, int]) -> float:
    return float(np.mean(bits_per_dim(log_prob, image_shape)))


def _accuracy_difference(correct_a: np.ndarray, correct_b: np.ndarray) -> dict:
    return {
        "value": float(correct_a.mean() - correct_b.mean()),
        "ci95": list(accuracy_difference_interval(correct_a, correct_b)),
    }


def classifier_details(
    labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]
) -> dict:
    """What goes beyond accuracy, log-loss and calibration error, ready for JSON.

    scikit-learn's `classification_report` by class, `roc_auc` (one against the rest),
    `temperature_scaling` (`None` for a single picture) and `selective_accuracy`.
    """
    return {
        "classification_report": _classification_report(
            labels, probabilities.argmax(axis=1), class_names, output_dict=True
        ),
        "roc_auc": _roc_auc(labels, probabilities, class_names),
        "temperature_scaling": _temperature_scaling(labels, probabilities),
        "selective_accuracy": _selective_accuracy(labels, probabilities),
    }


def _classification_report(labels, predicted, class_names, **form) -> dict | str:
    return classification_report(
        labels,
        predicted,
        labels=range(len(class_names)),
        target_names=class_names,
        zero_division=0,
        **form,
    )


def _roc_auc(labels, probabilities, class_names) -> dict:
    areas = one_vs_rest_auc(labels, probabilities)
    defined = [area for area in areas if area is not None]
    return {
        "macro": float(np.mean(defined)) if defined else None,
        "classes": dict(zip(class_names, areas, strict=True)),
    }


def _temperature_scaling(labels, probabilities) -> dict | None:
    if len(labels) < 2:
        return None
    scaled, temperatures = cross_fitted_temperature(labels, probabilities)
    numbers = classification_metrics(labels, scaled)
    return {
        "temperatures": temperatures,
        "fitted_on": "the other half of the split",
        "ece": numbers["ece"],
        "log_loss": numbers["log_loss"],
    }


def _selective_accuracy(labels, probabilities) -> dict:
    coverage, accuracy = selective_accuracy(labels, probabilities)
    at = {str(wanted): float(accuracy[np.searchsorted(coverage, wanted)]) for wanted in COVERAGES}
    return {"area": float(accuracy.mean()), "at_coverage": at}


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


def _print_classes(labels, judgements: dict[str, Judgement], class_names, titles) -> None:
    for name, judgement in judgements.items():
        print(f"\n{titles[name]}")
        print(_classification_report(labels, judgement.predicted, class_names, digits=3))


def _print_comparison(report: dict, titles: dict[str, str]) -> None:
    accuracies = [
        (
            titles[name],
            f"{numbers['accuracy']:.2%}",
            "–".join(f"{100 * bound:.1f}" for bound in numbers["accuracy_ci95"]),
            _number(numbers, "log_loss"),
            _number(numbers, "ece"),
            _number(numbers, "bits_per_dim"),
        )
        for name, numbers in report["models"].items()
    ]
    floor = _number(report, "pixel_histogram_bits_per_dim")
    print_table(
        ("", "accuracy", "95 % interval (%)", "log-loss", "ECE", "bits/dim"),
        [*accuracies, ("pixel histograms", "–", "–", "–", "–", floor)],
        title=f"{report['count']} pictures of the split {report['split']}",
    )
    confidences = [
        (
            titles[name],
            _number(numbers["temperature_scaling"], "ece"),
            _number(numbers["temperature_scaling"], "log_loss"),
            _number(numbers["roc_auc"], "macro"),
            f"{numbers['selective_accuracy']['at_coverage']['0.8']:.2%}",
        )
        for name, numbers in report["models"].items()
    ]
    print_table(
        ("", "ECE, scaled", "log-loss, scaled", "ROC AUC", "accuracy of the surest 80 %"),
        confidences,
        title="Confidence",
        caption="scaled: by the temperature of the split's other half",
    )
    if report["flip_average"]:
        print("Flip average: each picture was judged together with its mirror image.")
    if report["mcnemar_p"] is not None:
        difference = report["accuracy_difference"]
        low, high = difference["ci95"]
        print(
            f"{titles['pixelcnnpp']} minus baseline: {100 * difference['value']:+.1f} points of "
            f"accuracy, 95 % interval {100 * low:+.1f} to {100 * high:+.1f} (paired bootstrap)"
        )
        print(f"McNemar's exact test, are the two different? p = {report['mcnemar_p']:.4g}")


def _number(numbers: dict | None, key: str) -> str:
    return "–" if numbers is None or numbers[key] is None else f"{numbers[key]:.4f}"
