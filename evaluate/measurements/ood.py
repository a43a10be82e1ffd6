"""Declares `evaluate ood`."""

from dataclasses import dataclass

from keras_pixelcnnpp.commands.helpers import option
from keras_pixelcnnpp.evaluate.measurements import BatchOptions, Measurement


@dataclass(frozen=True, kw_only=True)
class OODOptions(BatchOptions):
    """Options of `evaluate ood`."""

    count: int = option("Maximum number of images of each kind.", 200, min=2)
    seed: int = option("Random seed.", 0, min=0)
    ood_data: str | None = option(
        "Further out-of-distribution images, as --data in pixelcnnpp train."
    )


class OOD(Measurement):
    """Measure how well out-of-distribution images are detected.

    Half of the split, at most --count images, is compared with other sets. The others, at most
    1,000, fit the detectors: AnomalyDetector, log p(x), its distance from the mean over normal
    images (typicality), log p(x) corrected for complexity (the size as a PNG file), the largest
    class probability of both classifiers, and the energy of the CNN. Writes ood.csv with a row for
    each image and its p-value; ood.json, also with thresholds that give 5% false alarms; ood.png;
    and improbable.png, the most anomalous images with maps of standardized surprisal.
    """

    name = "ood"
    title = "Out-of-distribution inputs"
    place = 6
    options = OODOptions
    examples = ("--run runs/digits", "--run runs/digits --ood-data other_images")
    writes = ("ood.csv", "ood.png", "improbable.png")
    uses_cnn = True


MEASUREMENT = OOD()
