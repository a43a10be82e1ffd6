"""`pixelcnnpp evaluate classification`."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.metrics import classification_report

from keras_pixelcnnpp.classifiers import BaselineClassifier, PixelCNNClassifier, write_predictions
from keras_pixelcnnpp.data.dataset import LabelledImages
from keras_pixelcnnpp.distributions.logistic_mixture import bits_per_dim
from keras_pixelcnnpp.errors import argument_errors
from keras_pixelcnnpp.evaluate.classification_figures import (
    confusion_matrix_png,
    reliability_png,
    roc_png,
    selective_accuracy_png,
)
from keras_pixelcnnpp.evaluate.metrics.classifiers import (
    accuracy_difference_interval,
    classification_metrics,
    cross_fitted_temperature,
    mcnemar_p_value,
    one_vs_rest_auc,
    selective_accuracy,
)
from keras_pixelcnnpp.evaluate.metrics.pictures import PixelHistogram
from keras_pixelcnnpp.files import atomic_path, write_json
from keras_pixelcnnpp.layers.posterior import log_marginal
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
from keras_pixelcnnpp.run import RunFolder

TITLES = {"pixelcnnpp": "PixelCNN++", "baseline": "Baseline CNN"}


def _evaluate_models(
    folder: "RunFolder", pictures: "LabelledImages", batch_size: int, flip_average: bool
) -> dict[str, "Evaluation"]:

    both = " and their mirror images" if flip_average else ""
    print(f"PixelCNN++ scores {len(pictures)} pictures{both} under every class")
    model = load_trained_model(folder.model_keras, PixelCNNPlusPlus)
    with argument_errors():
        classifier = PixelCNNClassifier(
            model,
            batch_size=batch_size,
            verbose=int(sys.stdout.isatty()),
            flip_average=flip_average,
        )
    (scores, probabilities), speed = _timed(classifier.class_scores, pictures.images, batch_size)
    evaluations = {"pixelcnnpp": Evaluation(probabilities, scores, speed)}
    if not folder.baseline_keras.exists():
        print(
            f"No {folder.baseline_keras.name} to compare with. "
            f"Train it: pixelcnnpp train baseline --data … --run {folder.path}"
        )
        return evaluations
    baseline = BaselineClassifier(
        load_trained_model(folder.baseline_keras, BaselineCNN), flip_average=flip_average
    )
    probabilities, speed = _timed(baseline.predict_proba, pictures.images, batch_size)
    evaluations["baseline"] = Evaluation(probabilities, None, speed)
    return evaluations


def _timed(judge, images: "np.ndarray", batch_size: int) -> tuple:
    """What `judge` says about the pictures, and how many of them it judges in a second."""
    judge(images[:batch_size])  # compiles
    start = time.perf_counter()
    result = judge(images)
    return result, len(images) / (time.perf_counter() - start)


def _write_predictions(folder, pictures, evaluations) -> None:

    files = {"pixelcnnpp": "predictions.csv", "baseline": "predictions_baseline.csv"}
    for name, evaluation in evaluations.items():
        write_predictions(
            folder.reports / files[name],
            pictures.paths,
            pictures.labels,
            evaluation.probabilities,
        )


def _name_missing_classes(split, pictures, class_names) -> None:
    missing = [
        name for label, name in enumerate(class_names) if not (pictures.labels == label).any()
    ]
    if missing:
        print(
            f"Note: the split {split} has no pictures of {', '.join(missing)}: without ROC and AUC."
        )


def _report_model(folder, name, labels, evaluation, class_names) -> None:

    known = labels >= 0
    labels, predicted = labels[known], evaluation.predicted[known]
    probabilities = evaluation.probabilities[known]
    print(f"\n{TITLES[name]}")
    print(
        classification_report(
            labels,
            predicted,
            labels=range(len(class_names)),
            target_names=class_names,
            digits=3,
            zero_division=0,
        )
    )
    matrix = confusion_matrix_png(labels, predicted, class_names, TITLES[name])
    _write_png(folder, f"confusion_{name}.png", matrix)
    _write_png(folder, f"roc_{name}.png", roc_png(labels, probabilities, class_names, TITLES[name]))


def _draw_comparison(folder, labels, evaluations) -> None:

    known = labels >= 0
    labels = labels[known]
    models = {
        TITLES[name]: evaluation.probabilities[known] for name, evaluation in evaluations.items()
    }
    if len(labels) > 1:
        _write_png(folder, "reliability.png", reliability_png(labels, models))
    _write_png(folder, "selective_accuracy.png", selective_accuracy_png(labels, models))


def _write_png(folder, name, content) -> None:

    with atomic_path(folder.reports / name) as temporary:
        temporary.write_bytes(content)


def _print_comparison(report: dict) -> None:

    table = Table(title=f"{report['count']} pictures of the split {report['split']}")
    table.add_column("")
    for heading in ("accuracy", "95 % interval (%)", "log-loss", "ECE", "bits/dim"):
        table.add_column(heading, justify="right")
    for name, numbers in report["models"].items():
        low, high = numbers["accuracy_ci95"]
        bits = numbers["bits_per_dim"]
        table.add_row(
            TITLES[name],
            f"{numbers['accuracy']:.2%}",
            f"{100 * low:.1f}–{100 * high:.1f}",
            f"{numbers['log_loss']:.4f}",
            f"{numbers['ece']:.4f}",
            "–" if bits is None else f"{bits:.4f}",
        )
    floor = report["pixel_histogram_bits_per_dim"]
    table.add_row("pixel histograms", "–", "–", "–", "–", f"{floor:.4f}")
    Console().print(table)
    Console().print(_confidence_table(report))
    if report["flip_average"]:
        print("Flip average: each picture was judged together with its mirror image.")
    if report["mcnemar_p"] is not None:
        difference = report["accuracy_difference"]
        low, high = difference["ci95"]
        print(
            f"PixelCNN++ minus baseline: {100 * difference['value']:+.1f} points of accuracy, 95 % "
            f"interval {100 * low:+.1f} to {100 * high:+.1f} (paired bootstrap)"
        )
        print(f"McNemar's exact test, are the two different? p = {report['mcnemar_p']:.4g}")


def _confidence_table(report: dict):

    table = Table(
        title="Confidence", caption="scaled: by the temperature of the split's other half"
    )
    table.add_column("")
    for heading in ("ECE, scaled", "log-loss, scaled", "ROC AUC", "accuracy of the surest 80 %"):
        table.add_column(heading, justify="right")
    for name, numbers in report["models"].items():
        table.add_row(
            TITLES[name],
            _number(numbers["temperature_scaling"], "ece"),
            _number(numbers["temperature_scaling"], "log_loss"),
            _number(numbers["roc_auc"], "macro"),
            f"{numbers['selective_accuracy']['at_coverage']['0.8']:.2%}",
        )
    return table


def _number(numbers: dict | None, key: str) -> str:
    return "–" if numbers is None or numbers[key] is None else f"{numbers[key]:.4f}"


def _write_report(folder: "RunFolder", report: dict) -> None:

    write_json(folder.reports / "classification.json", report)
    print(
        f"Wrote classification.json, predictions, confusion matrices and curves: {folder.reports}"
    )


@dataclass(frozen=True)
class Evaluation:
    """What one model says about the pictures of a split.

    Args:
        probabilities: float `[count, num_classes]`.
        log_likelihood: float `[count, num_classes]`, `log p(x | y)` in nats; `None` from a model
            that is no density.
        pictures_per_second: How fast it judged them; `None` if that wasn't measured.
    """

    probabilities: np.ndarray
    log_likelihood: np.ndarray | None = None
    pictures_per_second: float | None = None

    @property
    def predicted(self) -> np.ndarray:
        """Int `[count]`, the most probable classes."""
        return self.probabilities.argmax(axis=1)


def compare(
    labels: np.ndarray,
    evaluations: dict[str, Evaluation],
    image_shape: tuple[int, int, int],
    class_names: Sequence[str] | None = None,
) -> dict:
    """The numbers of `classification.json`, apart from the split's name.

    Args:
        labels: int `[count]`; pictures with the label -1 are left out.
        evaluations: By model, `"pixelcnnpp"` and perhaps `"baseline"`.
        image_shape: `(height, width, channels)`.
        class_names: The name of each class; `None` leaves out what `classifier_details` gives.

    Returns:
        `{"count", "models": {name: {"accuracy", "accuracy_ci95", "log_loss", "ece",
        "bits_per_dim", "pictures_per_second", …}}, "mcnemar_p", "accuracy_difference"}`; under each
        model also what `classifier_details` gives. `bits_per_dim` is the mean over pictures of that
        of `p(x)`, with equally likely classes, and `None` for a model that is no density.
        `mcnemar_p` and `accuracy_difference` (the first model minus the second:
        `{"value", "ci95"}`) are `None` where there is one model only.
    """
    known = labels >= 0
    labels = labels[known]
    models, correct = {}, []
    for name, evaluation in evaluations.items():
        probabilities = evaluation.probabilities[known]
        models[name] = classification_metrics(labels, probabilities)
        models[name]["bits_per_dim"] = _mean_bits(evaluation.log_likelihood, known, image_shape)
        models[name]["pictures_per_second"] = evaluation.pictures_per_second
        if class_names is not None:
            models[name].update(classifier_details(labels, probabilities, class_names))
        correct.append(evaluation.predicted[known] == labels)
    two = len(correct) == 2
    return {
        "count": len(labels),
        "models": models,
        "mcnemar_p": mcnemar_p_value(*correct) if two else None,
        "accuracy_difference": _accuracy_difference(*correct) if two else None,
    }


def _accuracy_difference(correct_a: np.ndarray, correct_b: np.ndarray) -> dict:
    return {
        "value": float(correct_a.mean() - correct_b.mean()),
        "ci95": list(accuracy_difference_interval(correct_a, correct_b)),
    }


def histogram_bits_per_dim(train: np.ndarray, images: np.ndarray, num_levels: int) -> float:
    """Mean bits/dim of `images` under independent pixel histograms fitted to `train`."""
    log_prob = PixelHistogram(train, num_levels).log_prob(images)
    return float(np.mean(bits_per_dim(log_prob, images.shape[1:])))


def _mean_bits(log_likelihood, known, image_shape) -> float | None:
    if log_likelihood is None:
        return None

    scores = np.asarray(log_likelihood, np.float64)[known]
    log_prob = log_marginal(scores.astype(np.float64))
    return float(np.mean(bits_per_dim(log_prob, image_shape)))


COVERAGES = (0.5, 0.8, 0.9, 0.95)


def classifier_details(
    labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]
) -> dict:
    """The numbers of one classifier that go beyond accuracy, log-loss and calibration error.

    Args:
        labels: int `[count]`, the true classes, all of them in `[0, num_classes)`.
        probabilities: float `[count, num_classes]`, each row sums to 1.
        class_names: The name of each class.

    Returns:
        A dictionary, ready for JSON:
        `classification_report`, scikit-learn's, by class name;
        `roc_auc`: `{"macro", "classes": {name: area}}`, one-vs-rest, `None` for a class without
        pictures, which `macro` leaves out;
        `temperature_scaling`: `{"temperatures", "ece", "log_loss"}` after each half of the pictures
        was scaled by the temperature fitted on the other half, `None` for a single picture;
        `selective_accuracy`: `{"area", "at_coverage": {"0.5": accuracy, …}}`, of the most confident
        pictures only.
    """
    return {
        "classification_report": classification_report(
            labels,
            probabilities.argmax(axis=1),
            labels=range(len(class_names)),
            target_names=class_names,
            output_dict=True,
            zero_division=0,
        ),
        "roc_auc": _roc_auc(labels, probabilities, class_names),
        "temperature_scaling": _temperature_scaling(labels, probabilities),
        "selective_accuracy": _selective_accuracy(labels, probabilities),
    }


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


def judge(
    folder: RunFolder,
    *,
    data: str | None,
    split: str,
    batch_size: int,
    flip_average: bool,
    options: dict,
) -> None:
    """Both models judge a split; writes files, prints tables."""
    config = folder.read_config()
    folder.require_model("pixelcnnpp")
    dataset = folder.load_data(data)
    if flip_average and not config.get("pixelcnnpp", {}).get("options", {}).get("horizontal_flip"):
        print("Note: trained without mirror images, PixelCNN++ may not know what to make of them.")
    pictures = dataset.split(split)
    evaluations = _evaluate_models(folder, pictures, batch_size, flip_average)
    _write_predictions(folder, pictures, evaluations)
    if not (pictures.labels >= 0).any():
        print(f"The split {split} has no labels: wrote the predictions only, in {folder.reports}.")
        return

    class_names = config["data"]["class_names"]
    _name_missing_classes(split, pictures, class_names)
    report = {
        "options": options,
        "split": split,
        "flip_average": flip_average,
        **compare(pictures.labels, evaluations, dataset.image_shape, class_names),
    }
    report["pixel_histogram_bits_per_dim"] = histogram_bits_per_dim(
        dataset.split("train").images, pictures.images, dataset.num_levels
    )
    for name, evaluation in evaluations.items():
        _report_model(folder, name, pictures.labels, evaluation, class_names)
    _draw_comparison(folder, pictures.labels, evaluations)
    _print_comparison(report)
    _write_report(folder, report)
