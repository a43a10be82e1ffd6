"""How well familiar pictures are told from foreign ones."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_auc_score

from keras_pixelcnnpp.classifiers import BaselineClassifier, PixelCNNClassifier
from keras_pixelcnnpp.data.images import png_bytes, to_pixels
from keras_pixelcnnpp.distributions.logistic_mixture import bits_per_dim
from keras_pixelcnnpp.layers.posterior import log_marginal

DETECTORS = {
    "log_likelihood": "bits/dim of p(x) under PixelCNN++",
    "complexity_corrected": "the same minus the bits/dim of the picture as a PNG file",
    "pixelcnnpp_max_softmax": "minus the largest class probability of PixelCNN++",
    "baseline_max_softmax": "minus the largest class probability of the baseline CNN",
}


@dataclass(frozen=True, eq=False)
class Detection:
    """What each detector says about familiar and about foreign pictures.

    A detector is a number for each picture, larger the more foreign it looks.

    Args:
        familiar: By detector, float `[count]` for the familiar pictures.
        foreign: By the name of the set, then by detector.

    Reference:
        - Serrà et al., *Input complexity and out-of-distribution detection with likelihood-based
          generative models*, 2020, equation 1 (`complexity_corrected`)
        - Hendrycks and Gimpel, *A baseline for detecting misclassified and out-of-distribution
          examples*, 2017 (`…_max_softmax`)
    """

    familiar: dict[str, np.ndarray]
    foreign: dict[str, dict[str, np.ndarray]]

    @classmethod
    def run(
        cls,
        images: np.ndarray,
        foreign: dict[str, np.ndarray],
        model,
        baseline: BaselineClassifier | None = None,
        batch_size: int = 32,
        verbose: int = 0,
    ) -> "Detection":
        """Asks every detector about every picture.

        Args:
            images: uint8 levels `[count, height, width, channels]`, the familiar pictures.
            foreign: The foreign ones by name, as from `foreign_inputs`.
            model: A trained `PixelCNNPlusPlus`.
            baseline: The CNN beside it, if there is one.
            batch_size: Pictures at a time.
            verbose: As in `keras.Model.predict`.
        """
        # In one pass: one progress bar, and nothing is compiled for a set of another size.
        everything = np.concatenate([images, *foreign.values()])
        scores = density_scores(everything, model, batch_size, verbose)
        if baseline is not None:
            scores["baseline_max_softmax"] = -baseline.predict_proba(everything).max(axis=1)
        ends = np.cumsum([len(images), *map(len, foreign.values())])
        parts = {name: np.split(values, ends[:-1]) for name, values in scores.items()}
        sets = [{name: parts[name][index] for name in scores} for index in range(len(foreign) + 1)]
        return cls(sets[0], dict(zip(foreign, sets[1:], strict=True)))

    @property
    def detectors(self) -> list[str]:
        """The names of the detectors, some of `DETECTORS`."""
        return list(self.familiar)

    def auroc(self, name: str) -> dict[str, float]:
        """By detector, the chance that a picture of the set `name` looks more foreign.

        More than a familiar one does, that is: 0.5 is guessing, and below it the foreign pictures
        look more familiar than the familiar ones.
        """
        areas = {}
        for detector in self.detectors:
            familiar, foreign = self.familiar[detector], self.foreign[name][detector]
            is_foreign = np.repeat([0, 1], [len(familiar), len(foreign)])
            areas[detector] = float(roc_auc_score(is_foreign, np.concatenate([familiar, foreign])))
        return areas

    def report(self) -> dict:
        """The numbers of `foreign.json`.

        Returns:
            `{"detectors": {detector: description}, "familiar": {"count", "bits_per_dim"},
            "inputs": {name: {"count", "bits_per_dim", "auroc": {detector: value}}}, "mean_auroc":
            {detector: value}}`; `bits_per_dim` is the mean of that of `p(x)`.
        """

        def numbers(scores: dict[str, np.ndarray]) -> dict:
            bits = scores["log_likelihood"]
            return {"count": len(bits), "bits_per_dim": float(bits.mean())}

        inputs = {
            name: {**numbers(scores), "auroc": self.auroc(name)}
            for name, scores in self.foreign.items()
        }
        return {
            "detectors": {name: DETECTORS[name] for name in self.detectors},
            "familiar": numbers(self.familiar),
            "inputs": inputs,
            "mean_auroc": {
                detector: float(np.mean([given["auroc"][detector] for given in inputs.values()]))
                for detector in self.detectors
            },
        }


def density_scores(
    images: np.ndarray, model, batch_size: int = 32, verbose: int = 0
) -> dict[str, np.ndarray]:
    """The detectors that need a PixelCNN++ alone, from one pass over the pictures.

    Args:
        images: uint8 levels `[count, height, width, channels]`, 1 or 3 channels.
        model: A trained `PixelCNNPlusPlus`; one without classes has no posterior.
        batch_size: Pictures at a time.
        verbose: As in `keras.Model.predict`.

    Returns:
        `log_likelihood` and `complexity_corrected`, both in bits/dim, and with classes
        `pixelcnnpp_max_softmax`: float64 `[count]` each.
    """
    if model.num_classes:
        classifier = PixelCNNClassifier(model, batch_size, verbose)
        scores, probabilities = classifier.class_scores(images)
        log_prob = log_marginal(scores.astype(np.float64))
    else:
        probabilities = None
        log_prob = model.log_prob(images, batch_size=batch_size, verbose=verbose)
    bits = bits_per_dim(log_prob, model.image_shape)
    found = {
        "log_likelihood": bits,
        "complexity_corrected": bits - png_bits(images, model.num_levels) / model.dimensions,
    }
    if probabilities is not None:
        found["pixelcnnpp_max_softmax"] = -probabilities.max(axis=1)
    return found


def png_bits(images: np.ndarray, num_levels: int) -> np.ndarray:
    """The size of each picture as a PNG file.

    Args:
        images: uint8 `[count, height, width, channels]`, levels, with 1 or 3 channels.
        num_levels: The number of levels.

    Returns:
        float64 `[count]`, bits. The header, the same for all, is counted too.

    Raises:
        UserError: if the pictures have another number of channels.
    """
    pixels = to_pixels(images, num_levels)
    return np.array([8.0 * len(png_bytes(picture)) for picture in pixels])
