"""`pixelcnnpp evaluate classification`."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import numpy as np

    from keras_pixelcnnpp.classification.evaluation import Evaluation
    from keras_pixelcnnpp.datasets.labelled_images import LabelledImages
    from keras_pixelcnnpp.run_folder import RunFolder

TITLES = {"pixelcnnpp": "PixelCNN++", "baseline": "Baseline CNN"}


def classification(
    context: typer.Context,
    run: Annotated[Path, typer.Option(help="The run folder.")],
    data: Annotated[str | None, typer.Option(help="Other data than the run's own.")] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "validation",
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures per step.")] = 32,
    flip_average: Annotated[
        bool,
        typer.Option(
            "--flip-average",
            help="Judge each picture together with its mirror image; twice the work.",
        ),
    ] = False,
) -> None:
    """Compare PixelCNN++ and the baseline CNN as classifiers.

    Writes reports/classification.json, confusion matrices, ROC curves, reliability.png,
    selective_accuracy.png, and per picture predictions.csv (PixelCNN++) and
    predictions_baseline.csv.
    """
    from keras_pixelcnnpp.classification.evaluation import compare, histogram_bits_per_dim
    from keras_pixelcnnpp.evaluate.given_options import given_options
    from keras_pixelcnnpp.run_data import load_run_data
    from keras_pixelcnnpp.run_folder import RunFolder

    folder = RunFolder(run)
    config = folder.read_config()
    folder.require_model("pixelcnnpp")
    dataset = load_run_data(config, data)
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
        "options": given_options(context),
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


def _evaluate_models(
    folder: "RunFolder", pictures: "LabelledImages", batch_size: int, flip_average: bool
) -> dict[str, "Evaluation"]:
    from keras_pixelcnnpp.classification import BaselineClassifier, PixelCNNClassifier
    from keras_pixelcnnpp.classification.evaluation import Evaluation
    from keras_pixelcnnpp.errors import argument_errors
    from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
    from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
    from keras_pixelcnnpp.models.trained_model import load_trained_model

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
    from keras_pixelcnnpp.classification import write_predictions

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
    from sklearn.metrics import classification_report

    from keras_pixelcnnpp.classification.figures import confusion_matrix_png, roc_png

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
    from keras_pixelcnnpp.classification.figures import reliability_png, selective_accuracy_png

    known = labels >= 0
    labels = labels[known]
    models = {
        TITLES[name]: evaluation.probabilities[known] for name, evaluation in evaluations.items()
    }
    if len(labels) > 1:
        _write_png(folder, "reliability.png", reliability_png(labels, models))
    _write_png(folder, "selective_accuracy.png", selective_accuracy_png(labels, models))


def _write_png(folder, name, content) -> None:
    from keras_pixelcnnpp.atomic import atomic_path

    with atomic_path(folder.reports / name) as temporary:
        temporary.write_bytes(content)


def _print_comparison(report: dict) -> None:
    from rich.console import Console
    from rich.table import Table

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
    from rich.table import Table

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
    from keras_pixelcnnpp.atomic import write_json

    write_json(folder.reports / "classification.json", report)
    print(
        f"Wrote classification.json, predictions, confusion matrices and curves: {folder.reports}"
    )
