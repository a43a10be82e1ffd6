"""Anomaly detection by statistics of an exact likelihood."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import eigh
from scipy.stats import norm
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.covariance import MinCovDet
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from keras_pixelcnnpp.data.images import png_bits
from keras_pixelcnnpp.distributions.levels import quantize
from keras_pixelcnnpp.models.statistics import PixelStatistics
from keras_pixelcnnpp.utils.checks import require_number
from keras_pixelcnnpp.utils.errors import UserError

#: Images of one size `(N, height, width, channels)`, or a sequence of frames of several sizes.
Frames = np.ndarray | Sequence[np.ndarray]
FEATURES = (
    "standardized_surprisal",
    "bits_per_dim",
    "entropy",
    "score_mean",
    "score_std",
    "score_right",
    "score_below",
    "png_bits_per_dim",
    "largest_surprise",
)
PARTS = (0.5, 0.75)  # height and width of the crops that teach how features depend on the size
LEAST_FRAMES = 2 * len(FEATURES)  # of which there are crops


class AnomalyDetector(OutlierMixin, BaseEstimator):
    """scikit-learn detector of images that are unusual for an autoregressive model.

    A model's log p(x) alone is a poor detector, because simple images are probable whatever they
    show. The conditional distributions of the sub-pixels say more. For images of the model,
    standardized surprisal is about standard normal, and the normal scores of the probability
    integral transform are white noise. `fit` estimates mean and covariance of these statistics,
    the `FEATURES`, from one half of the images, robustly. The score is the Mahalanobis distance.
    The other half of the images calibrates p-values: for a normal image, the p-value is at most α
    with probability α at most, if the image is exchangeable with those of `fit`. Images of series,
    such as one night or one detector each, are not, because those of one series resemble each
    other. With `groups`, each series is scored by a detector that was fitted to the others, counts
    as one in p-values, and only needs to be exchangeable with the other series.

    The images of an `AutoregressiveModel` have one size. Frames of a `TiledModel` may have any, in
    `fit` and later, as an array or a list. Means and standard deviations of the statistics depend
    on the size of a frame: an average over many pixels varies less, unless the frames themselves
    differ. `fit` learns this from the frames and from random crops of them. P-values are therefore
    exact for frames of one size, the one of `fit`, and approximate for others, if these resemble
    crops of the frames of `fit`, or frames that can be cropped to them.

    With the argument `condition` of its methods, the statistics are those of p(x | condition), and
    say whether an image is unusual for its label, vector, or map. It is that of
    `AutoregressiveModel.pixel_statistics`, one value for each image, or one for all. A model of
    `Vectors` or `Maps` needs it.

    Args:
        model: An `AutoregressiveModel`, or another object with its method `pixel_statistics`, such
            as a `TiledModel`. It should not have been trained on the images of `fit`.
        contamination: Number in (0, 0.5], the rate of false alarms of `predict`.
        seed: Integer, random seed of the two halves and of `pixel_statistics`.
        batch_size: Integer, number of images per batch.

    Attributes:
        sizes_: Set of the heights and widths of the images of `fit`; `None` after `fit_features`.
        size_law_: How the features depend on the size of a frame; `None` after `fit_features`, or
            if fewer than 18 frames were larger than the model's images.
        offset_: The threshold of `score_samples`. Images below it are outliers.
        scaler_: The `sklearn.preprocessing.StandardScaler` of the features.
        covariance_: The `sklearn.covariance.MinCovDet` of the scaled features.
        calibration_scores_: Scores of the images that calibrate p-values, ascending.
        calibration_weights_: The weight of each of them, 1, or the inverse size of its series.

    Raises:
        ValueError: In `fit`, if there are too few different images for the rate of false alarms, or
            the model is one of codes (`ordered_levels=False`). In other methods, if images have
            another size than those of `fit`, and fewer than 18 of these were larger than the
            model's images.

    Example:

    ```python
    detector = kp.AnomalyDetector(model).fit(validation_images)
    detector.p_values(images)             # small for anomalies
    detector.predict(images)              # -1 for anomalies, 1 for normal images
    ```

    Reference:
        Morningstar et al. 2021, Density of States Estimation for Out-of-Distribution Detection,
        https://arxiv.org/abs/2006.09273; Bates et al. 2023, Testing for Outliers with Conformal
        p-values, https://arxiv.org/abs/2104.08279; Dunn et al. 2022, Distribution-Free Prediction
        Sets for Two-Layer Hierarchical Models, https://arxiv.org/abs/1809.07441
    """

    def __init__(
        self, model: Any, contamination: float = 0.05, seed: int = 0, batch_size: int = 32
    ):
        self.model = model
        self.contamination = contamination
        self.seed = seed
        self.batch_size = batch_size

    def fit(
        self,
        X: Frames,  # noqa: N803
        y: Any = None,
        condition: Any = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Learns how the statistics of normal images are distributed.

        Args:
            X: uint8 array `(N, height, width, channels)`, normal images that the model was not
                trained on: some hundreds. With a `TiledModel`, also a list of frames `(height,
                width, channels)` of several sizes.
            y: Ignored; a warning is issued if it has repeated values, which may be `groups`.
            condition: The condition of the images; see the class.
            groups: Optional array `(N,)`, integers or strings, the series of each image. For a rate
                of false alarms of 0.05, 19 series are needed.
        """
        if y is not None and len(np.unique(y)) < np.size(y):
            warnings.warn(
                "AnomalyDetector.fit ignores y, which has repeated values. If these are the series "
                "of the images, pass them as groups: fit(images, groups=y)",
                stacklevel=2,
            )
        features = self.features(X, condition)
        different = len({(np.shape(image), np.asarray(image).tobytes()) for image in X})
        if different < self.least_images <= len(X):
            expected = f"at least {self.least_images} different images"
            expected += f" for contamination={self.contamination}"
            raise UserError(f"Expected {expected}. Received: {different} of {len(X)}")
        sizes, law = set(_sizes(X)), self._law_of_sizes(X, condition, features)
        self.fit_features(_of_one_size(features, X, law), groups)
        self.sizes_, self.size_law_ = sizes, law
        return self

    def _law_of_sizes(
        self,
        X: Frames,  # noqa: N803
        condition: Any,
        features: np.ndarray,
    ) -> "SizeLaw | None":
        """Learns how features depend on the size, from frames and random crops of them."""
        window = getattr(self.model, "window", None)
        if window is None:
            return None
        rng, crops, rows = np.random.default_rng(self.seed), [], []
        for row, frame in enumerate(X):
            sides = np.shape(frame)[:2]
            if sides == window:
                continue
            for part in PARTS:
                size = np.maximum(window, [round(part * side) for side in sides])
                top, left = rng.integers(sides - size + 1)
                crops.append(np.asarray(frame)[top : top + size[0], left : left + size[1]])
                rows.append(row)
        if len(set(rows)) < LEAST_FRAMES:
            return None
        of_crops = self.features(crops, _of_rows(condition, rows, len(X)))
        return SizeLaw.learned(features, _pixels(X), of_crops, _pixels(crops), np.array(rows))

    def features(self, X: Frames, condition: Any = None) -> np.ndarray:  # noqa: N803
        """Returns the `FEATURES` of images, float64 `(N, 9)`.

        Args:
            X: uint8 array `(N, height, width, channels)`, or, with a `TiledModel`, a list of frames
                `(height, width, channels)`.
            condition: The condition of the images; see the class.
        """
        if not getattr(self.model, "ordered_levels", True):
            raise UserError(
                "Anomalies are found by statistics that depend on the order of the levels. "
                "Expected a model of images. Received: a model with ordered_levels=False"
            )
        how: dict[str, Any] = {"seed": self.seed, "batch_size": self.batch_size}
        num_levels, sizes = getattr(self.model, "num_levels", 256), _sizes(X)
        found = np.zeros((len(X), len(FEATURES)))
        for size in dict.fromkeys(sizes):
            rows = [row for row, other in enumerate(sizes) if other == size]
            images = X if len(rows) == len(X) else [X[row] for row in rows]
            if condition is not None:
                how["condition"] = _of_rows(condition, rows, len(X))
            statistics = self.model.pixel_statistics(images, **how)
            found[rows] = image_features(statistics, images, num_levels)
        return found

    @property
    def least_images(self) -> int:
        """The smallest number of images that `fit` accepts."""
        return 2 * max(2 * len(FEATURES), int(np.ceil(1 / self.contamination)))

    def fit_features(self, features: np.ndarray, groups: ArrayLike | None = None) -> Self:
        """Fits the detector to the result of `features` instead of images.

        Args:
            features: Float64 array `(N, 9)`.
            groups: Optional array `(N,)`, integers or strings, the series of each image. For a rate
                of false alarms of 0.05, 19 series are needed.
        """
        require_number("contamination", self.contamination, "(0, 0.5]")
        if len(features) < self.least_images:
            expected = f"at least {self.least_images} images"
            expected += f" for contamination={self.contamination}"
            raise UserError(f"Expected {expected}. Received: {len(features)}")
        if groups is None:
            rows = np.random.default_rng(self.seed).permutation(len(features))
            parts = [np.array_split(rows, 2)]
        else:
            count = len(np.unique(groups))
            if count < (least := math.ceil(1 / self.contamination - 1e-9) - 1):
                expected = f"at least {max(2, least)} groups for contamination={self.contamination}"
                raise UserError(f"Expected {expected}. Received: {count}")
            parts = GroupKFold(min(10, count)).split(features, groups=groups)
        # The same distances, but `MinCovDet` warns if a variance is small, not relatively small.
        self.scaler_ = StandardScaler(with_mean=False).fit(features)
        scaled = self.scaler_.transform(features)
        series = np.arange(len(features)) if groups is None else groups
        _, series, sizes = np.unique(series, return_inverse=True, return_counts=True)
        scored = []
        for density, others in parts:
            self.covariance_ = MinCovDet(random_state=self.seed).fit(scaled[density])
            scored.append((self.score_features(features[others]), 1 / sizes[series[others]]))
        if groups is not None:
            self.covariance_ = MinCovDet(random_state=self.seed).fit(scaled)
        scores, weights = np.concatenate(scored, axis=1)
        order = np.argsort(scores)
        self.calibration_scores_, self.calibration_weights_ = scores[order], weights[order]
        # A p-value is at most `contamination` if the score is lower than this one.
        p_values = self.p_values_of(self.calibration_scores_)
        self.offset_ = self.calibration_scores_[p_values > self.contamination + 1e-9][0]
        self.sizes_ = self.size_law_ = None
        return self

    def score_features(self, features: np.ndarray) -> np.ndarray:
        """Returns `score_samples` of the result of `features` instead of images.

        Args:
            features: Float64 array `(N, 9)`.
        """
        check_is_fitted(self)
        return -np.log(self.covariance_.mahalanobis(self.scaler_.transform(features)))

    def score_samples(self, X: Frames, condition: Any = None) -> np.ndarray:  # noqa: N803
        """Returns minus the logarithm of the squared Mahalanobis distance, `(N,)`.

        Lower values are more anomalous.

        Args:
            X: uint8 array `(N, height, width, channels)`, or, with a `TiledModel`, a list of frames
                `(height, width, channels)`.
            condition: The condition of the images; see the class.
        """
        check_is_fitted(self)
        others = set(_sizes(X)) - (self.sizes_ or set(_sizes(X)))
        if self.size_law_ is None and others:
            known, received = ("×".join(map(str, min(sizes))) for sizes in (self.sizes_, others))
            raise UserError(
                f"AnomalyDetector learns how statistics depend on the size from {LEAST_FRAMES} or "
                "more frames that are larger than the model's images. Expected images of "
                f"{known} pixels, as in `fit`. Received: {received}"
            )
        features = _of_one_size(self.features(X, condition), X, self.size_law_)
        return self.score_features(features)

    def decision_function(self, X: Frames, condition: Any = None) -> np.ndarray:  # noqa: N803
        """Returns `score_samples` minus the threshold: negative for outliers, `(N,)`.

        Args:
            X: uint8 array `(N, height, width, channels)`, or, with a `TiledModel`, a list of frames
                `(height, width, channels)`.
            condition: The condition of the images; see the class.
        """
        return self.score_samples(X, condition) - self.offset_

    def predict(self, X: Frames, condition: Any = None) -> np.ndarray:  # noqa: N803
        """Returns -1 for outliers, whose p-value is at most `contamination`, and 1 for others.

        Args:
            X: uint8 array `(N, height, width, channels)`, or, with a `TiledModel`, a list of frames
                `(height, width, channels)`.
            condition: The condition of the images; see the class.
        """
        return np.where(self.decision_function(X, condition) < 0, -1, 1)

    def p_values(self, X: Frames, condition: Any = None) -> np.ndarray:  # noqa: N803
        """Returns conformal p-values, `(1 + calibration scores ≤ score) / (1 + n)`.

        n is the number of calibration scores, half of the N images of `fit`. The smallest possible
        p-value is therefore `1 / (1 + N / 2)`. With `groups`, the share of a series in scores ≤
        score is added for each series, and n is the number of series.

        Args:
            X: uint8 array `(N, height, width, channels)`, or, with a `TiledModel`, a list of frames
                `(height, width, channels)`.
            condition: The condition of the images; see the class.
        """
        return self.p_values_of(self.score_samples(X, condition))

    def p_values_of(self, scores: np.ndarray) -> np.ndarray:
        """Returns the p-values of scores of `score_samples`.

        Args:
            scores: Float array `(N,)`.
        """
        lower = np.searchsorted(self.calibration_scores_, scores, side="right")
        total = np.concatenate([[0], np.cumsum(self.calibration_weights_)])
        return (1 + total[lower]) / (1 + total[-1])


@dataclass(frozen=True)
class SizeLaw:
    """Mean and covariance of features as functions of the number of pixels n.

    The mean is a + b / √n + c / n, because the edge of a frame is proportional to √n and the header
    of a PNG file is constant. Linear combinations of the features, which are uncorrelated in frames
    and in crops of them, have standard deviations that are proportional to a power of n: about -1/2
    for averages of independent pixels, and 0 where the frames themselves differ.

    Args:
        slopes: Float array `(2, 9)`, b and c of each feature.
        components: Float array `(9, 9)`, a combination of the features in each column.
        center: Float array `(9,)`, the mean of each combination without b and c.
        exponents: Float array `(9,)`, the exponent of each standard deviation.
    """

    slopes: np.ndarray
    components: np.ndarray
    center: np.ndarray
    exponents: np.ndarray

    @classmethod
    def learned(
        cls,
        of_frames: np.ndarray,
        pixels: np.ndarray,
        of_crops: np.ndarray,
        pixels_of_crops: np.ndarray,
        rows: np.ndarray,
    ) -> Self:
        """Learns the law from features of frames, and of crops of the frames `rows`."""
        # Those of one frame, so that its content makes no difference.
        differences = _basis(pixels_of_crops) - _basis(pixels[rows])
        slopes = np.linalg.lstsq(differences, of_crops - of_frames[rows])[0]
        of_frames = of_frames - _basis(pixels) @ slopes
        of_crops = of_crops - _basis(pixels_of_crops) @ slopes
        scaler = StandardScaler().fit(of_frames)
        frames, crops = (
            MinCovDet(random_state=0).fit(scaler.transform(part)).covariance_
            for part in (of_frames, of_crops)
        )
        components = eigh(crops, frames)[1] / scaler.scale_[:, None]
        found = np.concatenate([of_frames, of_crops]) @ components
        center = np.median(found, axis=0)
        deviations = np.maximum(np.abs(found - center), np.finfo("float64").tiny)
        sizes = np.concatenate([pixels, pixels_of_crops])
        exponents = np.polyfit(np.log(sizes), np.log(deviations), 1)[0]
        return cls(slopes, components, center, exponents)

    def standardized(self, features: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        """Returns deviations of the combinations, `(N, 9)`, as large as those of a single pixel."""
        found = (features - _basis(pixels) @ self.slopes) @ self.components
        return (found - self.center) / pixels[:, None] ** self.exponents


def _of_one_size(features: np.ndarray, images: Frames, law: SizeLaw | None) -> np.ndarray:
    """Returns features, or with a law, numbers that do not depend on the size of the images."""
    return features if law is None else law.standardized(features, _pixels(images))


def _of_rows(condition: Any, rows: list[int], count: int) -> Any:
    """Returns the condition of some of `count` images; one label or vector is that of all."""
    if condition is None or rows == list(range(count)):
        return condition
    if isinstance(condition, dict):  # of the parts of the conditions, or of components
        return {name: _of_rows(one, rows, count) for name, one in condition.items()}
    if isinstance(condition, tuple) and any(map(np.ndim, condition)):  # of the parts
        return tuple(_of_rows(one, rows, count) for one in condition)
    if hasattr(condition, "iloc"):  # a table, whose columns have names
        return condition.iloc[rows] if len(condition) == count else condition
    if np.shape(condition)[:1] != (count,):
        return condition
    return np.asarray(condition)[rows]


def _basis(pixels: np.ndarray) -> np.ndarray:
    return np.stack([pixels**-0.5, 1 / pixels], axis=1)


def _sizes(images: Frames) -> list[tuple[int, int]]:
    return [tuple(np.shape(image)[:2]) for image in images]


def _pixels(images: Frames) -> np.ndarray:
    return np.prod(_sizes(images), axis=1).astype("float64")


def image_features(
    statistics: PixelStatistics, images: Frames, num_levels: int = 256
) -> np.ndarray:
    """Returns the `FEATURES` of images, float64 `(N, 9)`, from their `PixelStatistics`.

    They are standardized surprisal, divided by the square root of the number of sub-pixels;
    bits/dim; entropy per dimension in nats; mean and standard
    deviation of the normal scores of the probability integral transform, and their correlation with
    the right and with the lower neighbor; bits per dimension as a PNG file; and the largest
    surprise in 3×3 pixels.
    """
    axes, images = (1, 2, 3), np.reshape(np.asarray(images), statistics.pit.shape)
    scores = norm.ppf(np.clip(statistics.pit.astype("float64"), 1e-6, 1 - 1e-6))
    found = {
        "standardized_surprisal": statistics.standardized_surprisal / np.sqrt(images[0].size),
        "bits_per_dim": -statistics.log_prob.mean(axis=axes, dtype="float64") / np.log(2),
        "entropy": statistics.entropy.mean(axis=axes, dtype="float64"),
        "score_mean": scores.mean(axis=axes),
        "score_std": scores.std(axis=axes),
        "score_right": _correlation(scores[:, :, 1:], scores[:, :, :-1]),
        "score_below": _correlation(scores[:, 1:], scores[:, :-1]),
        "png_bits_per_dim": png_bits(quantize(images, num_levels)) / images[0].size,
        "largest_surprise": statistics.surprise_map().max(axis=(1, 2)),
    }
    return np.stack([found[name] for name in FEATURES], axis=1)


def _correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the correlation of two arrays of each image `(N, ...)`, whose means are 0."""
    first, second = (values.reshape(len(values), -1) for values in (first, second))
    squares = (first**2).mean(axis=1) * (second**2).mean(axis=1)
    return (first * second).mean(axis=1) / np.sqrt(squares)
