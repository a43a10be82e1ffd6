"""`evaluate likelihood`: shows where and how a model differs from the images."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from matplotlib.axes import Axes
from scipy.stats import norm
from sklearn.utils import gen_batches

from keras_pixelcnnpp.data.dataset import LabeledImages
from keras_pixelcnnpp.data.identity import trained_on_text
from keras_pixelcnnpp.distributions.bits import bits_per_dim, bits_unit
from keras_pixelcnnpp.evaluate.figures import figure_png, new_figure
from keras_pixelcnnpp.evaluate.measurements import LikelihoodOptions
from keras_pixelcnnpp.evaluate.subject import Subject
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.models.statistics import PixelStatistics
from keras_pixelcnnpp.utils.errors import UserError
from keras_pixelcnnpp.utils.files import counted, write_bytes

BINS = 20
COVERAGES = (0.5, 0.9)


def measure(subject: Subject, options: LikelihoodOptions, folder: Path) -> dict:
    """Compares the conditional distributions of the sub-pixels with the images of a split."""
    images = two_or_more(subject)
    total, images = len(images), images.some(options.count, options.seed)
    model = subject.model
    values = model.conditions.from_data(images) if model.conditions.needs_values else None
    trained_on, images = subject.trained_on(images, subject.dataset), images.images
    print(f"Scoring {len(images):,} of {counted(total)} of the split {subject.split}")
    how: Any = {"batch_size": options.batch_size, "verbose": "auto"}
    statistics = model.pixel_statistics(images, values, seed=options.seed, **how)
    report = {"split": subject.split, "seed": options.seed}
    report["trained_on"] = None if trained_on is None else int(trained_on.sum())
    train = subject.training_images(subject.dataset).images
    report |= likelihood_report(statistics, independent_bits(model, train, images))
    if report["trained_on"]:
        words = f"{trained_on_text(trained_on)}. {report['interpretation']}"
        report["interpretation"] = words
    subject_of = "p(x)" if values is None else "p(x | h)"
    figure = likelihood_png(statistics, report, bits_unit(model.num_levels), subject_of)
    write_bytes(folder / "likelihood.png", figure)
    print(report["interpretation"])
    return report


def two_or_more(subject: Subject) -> LabeledImages:
    """Returns the images to measure on, of which one is not enough."""
    if len(subject.images) < 2:
        raise UserError(
            f"Expected at least two images in the split {subject.split}. "
            f"Received: {len(subject.images)}"
        )
    return subject.images


def independent_bits(
    model: AutoregressiveModel, train: np.ndarray, images: np.ndarray
) -> np.ndarray | None:
    """Returns the bits/dim of images under independent sub-pixels, float64 `(N,)`.

    The probabilities of a sub-pixel's levels are their frequencies in the training images, with one
    more of each level (Laplace's rule of succession). Without training images, returns `None`.
    """
    if not len(train):
        return None
    seen, asked = (model.to_levels(some).reshape(len(some), -1) for some in (train, images))
    # The levels of sub-pixel i start at place i L of one array.
    places = np.arange(seen.shape[1]) * model.num_levels
    counts = np.ones(places.size * model.num_levels)
    for rows in gen_batches(len(seen), 1000):  # bounds the memory
        counts += np.bincount((places + seen[rows]).ravel(), minlength=counts.size)
    log_probs = np.log(counts / (len(seen) + model.num_levels))
    return bits_per_dim(log_probs[places + asked].sum(axis=1), model.image_shape)


def likelihood_report(statistics: PixelStatistics, independent: np.ndarray | None = None) -> dict:
    """Returns the content of `likelihood.json`.

    `independent` are the bits/dim of the images under `independent_bits`.
    """
    count, *image_shape = statistics.pit.shape
    nats = statistics.log_prob.sum(axis=(1, 2, 3), dtype="float64")
    bits, z = bits_per_dim(nats, tuple(image_shape)), statistics.standardized_surprisal
    excess = statistics.excess_surprisal
    report = {
        "count": count,
        "bits_per_dim": bits.mean(),
        "bits_per_dim_ci95": mean_interval(bits),
        "independent_bits_per_dim": None if independent is None else independent.mean(),
        "gain_ci95": None if independent is None else mean_interval(independent - bits),
        "entropy_bits_per_dim": statistics.entropy.mean(dtype="float64") / np.log(2),
        **_report_of_pit(statistics),
        "excess_mean": excess.mean(),
        "excess_mean_ci95": mean_interval(excess),
        "z_mean": z.mean(),
        "z_std": z.std(ddof=1),
        **_report_of_residuals(statistics),
    }
    report = keras.tree.map_structure(lambda x: np.asarray(x).tolist(), report)
    return {**report, "interpretation": interpretation(report)}


def has_order(statistics: PixelStatistics) -> bool:
    """Returns whether the sub-pixels have an order, without which they have no `pit`."""
    return not np.isnan(statistics.pit).any()


def _report_of_pit(statistics: PixelStatistics) -> dict:
    if not has_order(statistics):
        return {}
    distance = np.abs(statistics.pit - 0.5)
    covered = {str(c): np.mean(distance <= c / 2, axis=(1, 2, 3)) for c in COVERAGES}
    return {
        "pit_histogram": np.histogram(statistics.pit, BINS, (0, 1))[0] / statistics.pit.size,
        "coverage": {share: of_images.mean() for share, of_images in covered.items()},
        "coverage_ci95": {share: mean_interval(x) for share, x in covered.items()},
    }


def _report_of_residuals(statistics: PixelStatistics) -> dict:
    if not has_order(statistics):
        return {}
    right, below = neighbor_correlations(statistics)
    return {"correlation_right": right.mean(), "correlation_below": below.mean()}


def mean_interval(values: np.ndarray) -> np.ndarray:
    """Returns the 95% interval of the mean of values of independent images `(N,)`."""
    error = values.std(ddof=1) / np.sqrt(len(values))
    return values.mean() + norm.isf([0.975, 0.025]) * error


def neighbor_correlations(statistics: PixelStatistics) -> tuple[np.ndarray, np.ndarray]:
    """Returns the correlation of the normal scores of each pixel and its right or lower neighbor.

    They are float arrays `(height, width - 1)` and `(height - 1, width)`, and 0 for samples of the
    model, up to `1 / sqrt(images * channels)`. Mean and standard deviation are those of all scores.
    """
    scores = norm.ppf(np.clip(statistics.pit.astype("float64"), 1e-6, 1 - 1e-6))
    scores = (scores - scores.mean()) / scores.std()
    right = (scores[:, :, 1:] * scores[:, :, :-1]).mean(axis=(0, 3))
    return right, (scores[:, 1:] * scores[:, :-1]).mean(axis=(0, 3))


def interpretation(report: dict) -> str:
    """Returns a text that says what the figure shows."""
    count, (lowest, highest) = report["count"], report["excess_mean_ci95"]
    differ = ("images are less surprising than samples", "images are more surprising than samples")
    differ += (f"{count} images show no difference",)
    return (
        f"{_beside_independent(report)}{_about_intervals(report)}The mean of -log p - H of the "
        f"images is {report['excess_mean']:.2f} nats ({lowest:.2f} to {highest:.2f}), for samples "
        f"of the model 0: {_compared((lowest, highest), 0, differ)}. Standardized surprisal has "
        f"mean {report['z_mean']:.2f} and standard deviation {report['z_std']:.2f}. "
        f"{_about_residuals(report)}"
    )


def _about_intervals(report: dict) -> str:
    """Returns a sentence on the intervals of ordered sub-pixels."""
    if "coverage" not in report:
        return ""
    low, high = report["coverage_ci95"]["0.9"]
    too = ("they are too narrow", "they are too wide", f"{report['count']} images show no error")
    return (
        f"Intervals of 90 % contain {report['coverage']['0.9']:.1%} ({low:.1%}–{high:.1%}) of the "
        f"sub-pixels: {_compared((low, high), 0.9, too)}. "
    )


def _about_residuals(report: dict) -> str:
    """Returns a sentence on the residuals of ordered sub-pixels."""
    if "correlation_right" not in report:
        return "Codes have no order, so they have no intervals and no residuals."
    return (
        f"Neighboring residuals correlate by {report['correlation_right']:.3f} (right) and "
        f"{report['correlation_below']:.3f} (below), for samples 0: where the map is not white, "
        "the model has not learned a dependence."
    )


def _beside_independent(report: dict) -> str:
    """Returns a sentence that compares the model with independent sub-pixels, if it can be."""
    if report["gain_ci95"] is None:
        return ""
    low, high = report["gain_ci95"]
    words = ("Warning: the model is worse", "The model is better", "The model is no better")
    return (
        f"{_compared((low, high), 0, words)} than independent pixels, whose values are as frequent "
        f"as in the training images: {report['bits_per_dim']:.3f} instead of "
        f"{report['independent_bits_per_dim']:.3f} bits/dim, a gain of {low:.3f} to {high:.3f}. "
    )


def _compared(interval: Sequence[float], expected: float, words: Sequence[str]) -> str:
    """Returns the words for an interval below, above or around the expected value."""
    low, high = interval
    below, above, around = words
    return below if high < expected else above if low > expected else around


def likelihood_png(
    statistics: PixelStatistics, report: dict, unit: str, subject_of: str = "p(x)"
) -> bytes:
    """Plots calibration, standardized surprisal and the correlation of residuals, as PNG data."""
    figure = new_figure(11, 4.2)
    if has_order(statistics):
        left, middle, right = figure.subplots(1, 3)
        _plot_calibration(left, report)
        _plot_correlations(right, statistics)
    else:
        middle = figure.subplots()
    middle.hist(statistics.standardized_surprisal, 30, density=True, alpha=0.6)
    middle.set(title="Standardized surprisal of images", xlabel="z", yticks=[])
    low, high = report["bits_per_dim_ci95"]
    bits = f"{subject_of}: {report['bits_per_dim']:.3f} {unit}"
    figure.suptitle(f"{bits}, 95% interval {low:.3f}–{high:.3f}")
    figure.supxlabel(textwrap.fill(report["interpretation"], 150), fontsize=9)
    return figure_png(figure)


def _plot_calibration(axes: Axes, report: dict) -> None:
    edges = np.linspace(0, 1, BINS + 1)
    axes.stairs(np.multiply(report["pit_histogram"], BINS), edges, fill=True, alpha=0.6)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set(title="Calibration of sub-pixels", xlabel="PIT: flat if the model is right")
    axes.set(ylabel="density", ylim=(0, None), xlim=(0, 1))


def _plot_correlations(axes: Axes, statistics: PixelStatistics) -> None:
    right, below = neighbor_correlations(statistics)
    height, width = statistics.pit.shape[1:3]
    total = np.zeros((height, width))
    total[:, :-1] += right / 2
    total[:-1] += below / 2
    limit = max(0.1, np.percentile(np.abs(total), 99))
    shown = axes.imshow(total, "RdBu_r", vmin=-limit, vmax=limit)
    axes.set(xticks=[], yticks=[], title="Correlation of neighbors")
    axes.figure.colorbar(shown, ax=axes, shrink=0.8)
