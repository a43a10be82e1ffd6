"""Where in the pictures a PixelCNN++'s decisions come from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_pixelcnnpp.classification.pixelcnn_classifier import PixelCNNClassifier
from keras_pixelcnnpp.datasets.labelled_images import LabelledImages


@dataclass(frozen=True, eq=False)
class Evidence:
    """Evidence maps of some pictures, each for its true class.

    Args:
        pictures: The pictures, all of them labelled.
        predicted: int `[count]`, the most probable class.
        against: int `[count]`, the most probable class other than the true one.
        maps: float `[count, height, width]`, `log p(x_i | x_<i, true) - log p(x_i | x_<i,
            against)`, nats.
    """

    pictures: LabelledImages
    predicted: np.ndarray
    against: np.ndarray
    maps: np.ndarray

    @classmethod
    def gather(
        cls, classifier: PixelCNNClassifier, pictures: LabelledImages, per_class: int
    ) -> "Evidence":
        """Classifies pictures and maps the evidence in some of each class.

        Args:
            classifier: Over a trained model.
            pictures: Those without label are left out.
            per_class: How many of each class: mistakes make up to half of them, the others are the
                first ones of the split that are classified correctly.

        Returns:
            The evidence, in the order of the classes; within one, correct pictures first.
        """
        pictures = pictures.labelled()
        probabilities = classifier.predict_proba(pictures.images)
        chosen = choose(pictures.labels, probabilities.argmax(axis=1), per_class)
        pictures, probabilities = pictures.take(chosen), probabilities[chosen]
        predicted = probabilities.argmax(axis=1)
        others = probabilities.copy()
        others[np.arange(len(others)), pictures.labels] = -1
        against = others.argmax(axis=1)
        maps = classifier.model.evidence_map(
            pictures.images,
            pictures.labels,
            against,
            batch_size=classifier.batch_size,
            verbose=classifier.verbose,
        )
        return cls(pictures, predicted, against, maps)

    def __len__(self) -> int:
        return len(self.pictures)

    def report(self, class_names: Sequence[str]) -> dict:
        """The numbers of `evidence.json`: one entry for each picture, in order.

        Args:
            class_names: The name of each class.

        Returns:
            `{"count", "pictures": [{"path", "label", "predicted", "against", "nats",
            "half_within"}]}`, classes by name. `nats` is the sum of the map; `half_within` the
            share of the pixels that hold half of its absolute values.
        """
        half = half_within(self.maps)
        totals = self.maps.sum(axis=(1, 2), dtype=np.float64)
        rows = [
            {
                "path": self.pictures.paths[index],
                "label": class_names[self.pictures.labels[index]],
                "predicted": class_names[self.predicted[index]],
                "against": class_names[self.against[index]],
                "nats": float(totals[index]),
                "half_within": float(half[index]),
            }
            for index in range(len(self))
        ]
        return {"count": len(self), "pictures": rows}


def choose(labels: np.ndarray, predicted: np.ndarray, per_class: int) -> np.ndarray:
    """Rows of up to `per_class` pictures of each class; up to half of those are mistakes."""
    rows = []
    for label in np.unique(labels):
        right = np.flatnonzero((labels == label) & (predicted == label))
        wrong = np.flatnonzero((labels == label) & (predicted != label))
        mistakes = min(len(wrong), max(per_class // 2, per_class - len(right)))
        rows.extend([*right[: per_class - mistakes], *wrong[:mistakes]])
    return np.array(rows, dtype=int)


def half_within(maps: np.ndarray) -> np.ndarray:
    """The smallest share of the pixels that together hold half of a map's absolute values.

    Args:
        maps: float `[count, height, width]`.

    Returns:
        float64 `[count]`, in (0, 1]; a half if all pixels count alike, little if the decision comes
        from a few. A map of zeros counts as alike.
    """
    weights = np.sort(np.abs(maps.reshape(len(maps), -1).astype(np.float64)), axis=1)[:, ::-1]
    weights[weights.sum(axis=1) == 0] = 1
    held = np.cumsum(weights, axis=1)
    # A little less than half: rounding must not cost a pixel.
    return (np.sum(held < held[:, -1:] * (0.5 - 1e-9), axis=1) + 1) / weights.shape[1]
