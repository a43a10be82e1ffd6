"""A preset and the tuned CNN classify the same images.

    python benchmarks/classifiers.py photographs runs/photographs --data images

The run has the CNN that `pixelcnnpp train-baseline` trained. The temperature that scales the
probabilities of one half of the images is fitted on the other half. Where the CNN was trained on
mirrored images, both classifiers are also measured with the mean of their probabilities for an
image and for its mirror image.
"""

from pathlib import Path
from typing import Annotated

import typer
from common import RESULTS, Split, show
from typer import Argument, Option

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.backend import machine
from keras_pixelcnnpp.evaluate.metrics import classifiers as metrics
from keras_pixelcnnpp.files import write_json
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.run import RunFolder


def measure(labels, probabilities):
    """Accuracy, log loss and calibration error, and both of them with a fitted temperature."""
    scaled, _ = metrics.cross_fitted_temperature(labels, probabilities)
    return {
        **metrics.classification_metrics(labels, probabilities),
        "scaled_log_loss": metrics.mean_log_loss(labels, scaled),
        "scaled_ece": metrics.expected_calibration_error(labels, scaled),
    }


def compare(labels, by_model):
    """The numbers of both classifiers, and what tells them apart."""
    model, cnn = (by_model[name].argmax(axis=1) == labels for name in ("pixelcnnpp", "baseline"))
    return {
        **{name: measure(labels, probabilities) for name, probabilities in by_model.items()},
        "accuracy_difference": float(model.mean() - cnn.mean()),
        "accuracy_difference_ci95": list(metrics.accuracy_difference_interval(model, cnn)),
        "mcnemar_p": metrics.mcnemar_p_value(model, cnn),
    }


def main(
    preset: Annotated[str, Argument(help="Name of a preset.")],
    folder: Annotated[Path, Argument(help="Run of the CNN.")],
    data: Annotated[str | None, Option(help="Default: the data of the run.")] = None,
    split: Split = "test",
    batch_size: int = 32,
):
    """Compare the classifiers; write `benchmarks/results/classifiers-PRESET.json`."""
    run = RunFolder(folder)
    options = run.read_config()["baseline"]["options"]
    unseen = run.load_data(data).images(split, with_labels=True)
    classifier = kp.PixelCNNClassifier(kp.PixelCNNPlusPlus.from_preset(preset), batch_size)
    cnn = load_trained_model(run.baseline_keras, kp.BaselineCNN)
    asked = {"pixelcnnpp": classifier.predict_proba, "baseline": cnn.class_probabilities}
    found = {name: ask(unseen.images) for name, ask in asked.items()}
    results = {"plain": compare(unseen.labels, found)}
    if options["horizontal_flip"]:
        mirrored = unseen.images[:, :, ::-1]
        both = {name: (found[name] + ask(mirrored)) / 2 for name, ask in asked.items()}
        results["mirrored"] = compare(unseen.labels, both)
    report = {
        "preset": preset,
        "split": split,
        "count": len(unseen),
        "training": options,
        "parameters": {
            "pixelcnnpp": classifier.model.count_params(),
            "baseline": cnn.count_params(),
        },
        "minutes": sum(row["seconds"] for row in run.history("baseline")) / 60,
        "machine": machine(),
        "results": results,
    }
    write_json(RESULTS / f"classifiers-{preset}.json", report)
    for way, numbers in results.items():
        print(f"{way}: p = {numbers['mcnemar_p']:.2g}, {numbers['accuracy_difference_ci95']}")
        show([{"": name, **numbers[name]} for name in asked])


if __name__ == "__main__":
    typer.run(main)
