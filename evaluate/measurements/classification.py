"""Declares `evaluate classification`."""

from typing import TYPE_CHECKING

from keras_pixelcnnpp.evaluate.measurements import Measurement

if TYPE_CHECKING:
    from keras_pixelcnnpp.evaluate.subject import Subject


class Classification(Measurement):
    """Compare a model and the CNN of its run as classifiers.

    Writes classification.json, confusion matrices, ROC curves, reliability.png,
    selective_accuracy.png, and a row for each image in predictions.csv and
    predictions_baseline.csv.
    """

    name = "classification"
    title = "Classification"
    place = 3
    examples = (
        "--run runs/digits",
        "--preset fashion_mnist --data fashion_mnist --split test",
    )
    writes = (
        *("predictions*.csv", "reliability.png", "selective_accuracy.png"),
        *("confusion_*.png", "roc_*.png"),
    )
    uses_cnn = True

    def reason_against(self, subject: "Subject") -> str | None:
        if subject.num_classes:
            return None
        return "An unconditional model does not classify images"


MEASUREMENT = Classification()
