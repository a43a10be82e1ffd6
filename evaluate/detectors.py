"""What tells foreign pictures from familiar ones: a number for each, larger the more foreign."""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from keras_pixelcnnpp.classifiers import BaselineClassifier, PixelCNNClassifier
from keras_pixelcnnpp.data.images import png_bytes, to_pixels
from keras_pixelcnnpp.distributions.logistic_mixture import bits_per_dim
from keras_pixelcnnpp.evaluate.metrics.classifiers import auroc_interval
from keras_pixelcnnpp.layers.posterior import log_marginal
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel


class Detector(NamedTuple):
    """What a detector's number is, and what tables and plots call it."""

    meaning: str
    heading: str
    title: str


# Serrà et al. 2020, *Input complexity and out-of-distribution detection with likelihood-based
# generative models*, equation 1; Ren et al. 2019, *Likelihood Ratios for Out-of-Distribution
# Detection*, equation 5; Hendrycks and Gimpel 2017, *A baseline for detecting misclassified
# and out-of-distribution examples*.
DETECTORS = {
    "log_likelihood": Detector("bits/dim of p(x) under PixelCNN++", "log p(x)", "log p(x)"),
    "complexity_corrected": Detector(
        "the same minus the bits/dim of the picture as a PNG file",
        "corrected",
        "log p(x), complexity-corrected",
    ),
    "likelihood_ratio": Detector(
        "bits/dim of p(x), minus those under the background model",
        "ratio",
        "log p(x), against the background's",
    ),
    "pixelcnnpp_max_softmax": Detector(
        "minus the largest class probability of PixelCNN++",
        "p(y|x)",
        "largest p(y | x), by Bayes' rule",
    ),
    "baseline_max_softmax": Detector(
        "minus the largest class probability of the baseline CNN",
        "CNN p(y|x)",
        "baseline CNN, largest p(y | x)",
    ),
}


@dataclass(frozen=True, eq=False)
class Detection:
    """What each detector says, float `[count]`, about familiar pictures and about foreign sets.

    `familiar` by detector; `foreign` by the name of the set, then by detector.
    """

    familiar: dict[str, np.ndarray]
    foreign: dict[str, dict[str, np.ndarray]]

    @classmethod
    def run(
        cls,
        images: np.ndarray,
        foreign: dict[str, np.ndarray],
        model: AutoregressiveModel,
        baseline: BaselineClassifier | None = None,
        batch_size: int = 32,
        verbose: int = 0,
        background: AutoregressiveModel | None = None,
    ) -> Self:
        """Asks every detector about every picture; all are uint8 levels of the same shape.

        A `background` model was trained on perturbed pictures.
        """
        # In one pass: one progress bar, and nothing is compiled for a set of another size.
        everything = np.concatenate([images, *foreign.values()])
        scores = density_scores(everything, model, batch_size, verbose)
        if background is not None:
            bits = density_scores(everything, background, batch_size, verbose)["log_likelihood"]
            scores["likelihood_ratio"] = scores["log_likelihood"] - bits
        if baseline is not None:
            scores["baseline_max_softmax"] = -baseline.predict_proba(everything).max(axis=1)
        ends = np.cumsum([len(images), *map(len, foreign.values())])
        parts = {name: np.split(values, ends[:-1]) for name, values in scores.items()}
        sets = [{name: parts[name][index] for name in scores} for index in range(len(foreign) + 1)]
        return cls(sets[0], dict(zip(foreign, sets[1:], strict=True)))

    def auroc(self, name: str) -> dict[str, tuple[float, tuple[float, float]]]:
        """By detector, the chance that a picture of the set looks more foreign than a familiar one.

        And its 95 % interval. 0.5 is guessing; below it the foreign pictures look more familiar
        than the familiar ones.
        """
        return {
            detector: auroc_interval(familiar, self.foreign[name][detector])
            for detector, familiar in self.familiar.items()
        }

    def report(self) -> dict:
        """The numbers of `foreign.json`; `bits_per_dim` is the mean of that of p(x)."""

        def numbers(scores: dict[str, np.ndarray]) -> dict:
            bits = scores["log_likelihood"]
            return {"count": len(bits), "bits_per_dim": float(bits.mean())}

        inputs = {}
        for name, scores in self.foreign.items():
            areas = self.auroc(name)
            inputs[name] = {
                **numbers(scores),
                "auroc": {detector: area for detector, (area, _) in areas.items()},
                "auroc_ci95": {detector: list(ends) for detector, (_, ends) in areas.items()},
            }
        return {
            "detectors": {name: DETECTORS[name].meaning for name in self.familiar},
            "familiar": numbers(self.familiar),
            "inputs": inputs,
            "mean_auroc": {
                detector: float(np.mean([given["auroc"][detector] for given in inputs.values()]))
                for detector in self.familiar
            },
        }


def density_scores(
    images: np.ndarray, model: AutoregressiveModel, batch_size: int = 32, verbose: int = 0
) -> dict[str, np.ndarray]:
    """The detectors that need a PixelCNN++ alone, float64 `[count]` each, from one pass.

    A model without classes has no posterior, so no `pixelcnnpp_max_softmax`.
    """
    found = {}
    if model.num_classes:
        classifier = PixelCNNClassifier(model, batch_size, verbose)
        scores, probabilities = classifier.class_scores(images)
        log_prob = log_marginal(scores)
        found["pixelcnnpp_max_softmax"] = -probabilities.max(axis=1)
    else:
        log_prob = model.log_prob(images, batch_size=batch_size, verbose=verbose)
    bits = bits_per_dim(log_prob, model.image_shape)
    complexity = png_bits(images, model.num_levels) / model.dimensions
    return {"log_likelihood": bits, "complexity_corrected": bits - complexity, **found}


def png_bits(images: np.ndarray, num_levels: int) -> np.ndarray:
    """The size of each picture as a PNG file: float64 `[count]`, bits, with the files' header."""
    pixels = to_pixels(images, num_levels)
    return np.array([8.0 * len(png_bytes(picture)) for picture in pixels])
