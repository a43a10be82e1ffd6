"""`evaluate ood`: measures how well out-of-distribution images are detected."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.special import logsumexp, softmax
from sklearn.datasets import load_sample_images

from keras_pixelcnnpp.data.identity import are_among
from keras_pixelcnnpp.data.images import resize_images
from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.distributions.bits import bits_unit
from keras_pixelcnnpp.estimators.anomalies import FEATURES, AnomalyDetector
from keras_pixelcnnpp.evaluate.figures import figure_png, gallery_png, maps_figure
from keras_pixelcnnpp.evaluate.generation import baseline_features
from keras_pixelcnnpp.evaluate.likelihood import two_or_more
from keras_pixelcnnpp.evaluate.measurements import OODOptions
from keras_pixelcnnpp.evaluate.metrics.classifiers import auroc_interval
from keras_pixelcnnpp.evaluate.subject import Subject
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.utils.backend import progress
from keras_pixelcnnpp.utils.errors import say
from keras_pixelcnnpp.utils.files import counted, write_bytes, write_csv

EXAMPLES = 6
BLUR, NOISE = 0.7, 8.0  # standard deviations, in pixels and in values of 0 to 255
MADE_FROM_IMAGES = (
    *("pixels shuffled", "rows shuffled", "upside down", "rotated", "inverted"),
    *("blurred", "noisy"),
)

FALSE_ALARMS = 0.05
SHARED = 0.05  # a set of which more images are among the data is left out
FIT_IMAGES = 1000  # at most, to fit the detectors
OWN, NORMAL = "in_distribution", "normal"

# All are larger out of distribution. Serrà et al. 2020, *Input complexity and out-of-distribution
# detection with likelihood-based generative models*, equation 1; Nalisnick et al. 2019, *Detecting
# out-of-distribution inputs to deep generative models using typicality*, for single images;
# Hendrycks and Gimpel 2017, *A baseline for detecting misclassified and out-of-distribution
# examples*; Liu et al. 2020, *Energy-based out-of-distribution detection*, equation 4 with T = 1.
DETECTORS = {
    "anomaly_detector": "the score of AnomalyDetector, negated",
    "log_likelihood": "bits/dim of p(x) under PixelCNN++",
    "typicality": "the distance of these bits/dim from their mean over normal images",
    "complexity_corrected": "these bits/dim less those of the image as a PNG file",
    "pixelcnnpp_max_softmax": "the largest class probability of PixelCNN++, negated",
    "baseline_max_softmax": "the largest class probability of the baseline CNN, negated",
    "baseline_energy": "the energy of the baseline CNN: minus the log-sum-exp of its logits",
}


def measure(subject: Subject, options: OODOptions, folder: Path) -> dict:
    """Scores in-distribution and other images, and returns how well the latter are detected."""
    images, model = two_or_more(subject), subject.model
    # Other images of the split are the normal images that the detectors are fitted to.
    rows = np.random.default_rng(options.seed).permutation(len(images))
    count = min(options.count, len(images) // 2)
    measured, normal = images.take(rows[:count]), images.take(rows[count : count + FIT_IMAGES])
    sets = {NORMAL: normal.images, OWN: measured.images}
    sets |= _other_sets(subject, measured.images, options)
    total = counted(len(images))
    print(f"Scoring {count:,} of {total} of the split {subject.split}, and the other sets")
    detector = AnomalyDetector(model, FALSE_ALARMS, options.seed, options.batch_size)
    tick, features = progress(len(sets), unit="set"), {}
    for name, pixels in sets.items():
        features[name] = detector.features(pixels)
        tick()
    has_detector = len(normal) >= detector.least_images
    if not has_detector:
        print(
            f"Note: AnomalyDetector is left out. It needs {detector.least_images} images of the "
            f"split besides those measured. There are {len(normal)}: choose a lower --count."
        )
    cnn, size = subject.cnn, options.batch_size
    by_classes = {name: class_detectors(pixels, model, cnn, size) for name, pixels in sets.items()}
    scores = detector_scores(features, detector if has_detector else None, by_classes)
    normal_scores = scores.pop(NORMAL)
    report: dict[str, Any] = {"split": subject.split, "seed": options.seed}
    report |= {"ood_data": options.ood_data, **auroc_report(scores, MADE_FROM_IMAGES)}
    report["thresholds"] = {
        name: float(np.quantile(normal_scores[name], 1 - FALSE_ALARMS))
        for name in report["detectors"]
    }
    if has_detector:
        report["thresholds"]["anomaly_detector"] = float(-detector.offset_)
    _write_rows(folder / "ood.csv", scores, measured.paths)
    own = scores[OWN]
    rows = np.argsort(-own.get("anomaly_detector", own["log_likelihood"]))[:EXAMPLES]
    maps = model.pixel_statistics(measured.images[rows]).surprise_map()
    titles = [
        f"{measured.paths[row][-60:]}: {own['log_likelihood'][row]:.3f} "
        f"{bits_unit(model.num_levels)}"
        + (f", p = {own['p_value'][row]:.3f}" if has_detector else "")
        for row in rows
    ]
    figure = maps_figure(measured.images[rows], maps, titles)
    write_bytes(folder / "improbable.png", figure_png(figure))
    del sets[NORMAL]
    shown = min(EXAMPLES, *map(len, sets.values()))
    overview = np.stack([pixels[:shown] for pixels in sets.values()])
    write_bytes(folder / "ood.png", gallery_png(overview, list(sets), []))
    _print_report(report)
    return report


def _other_sets(subject: Subject, images: np.ndarray, options: OODOptions) -> dict[str, np.ndarray]:
    """Returns out-of-distribution images by set, without sets that share images with the data."""
    sets = ood_inputs(images, options.seed, subject.model.num_values - 1)
    if options.ood_data is not None:
        other = subject.load_images(options.ood_data)
        # A folder may have the name of one of the sets.
        name = f"{other.name} (--ood-data)" if other.name in {NORMAL, OWN, *sets} else other.name
        chosen = other.split(other.split_to_measure()).some(options.count, options.seed)
        sets[name] = chosen.images
    known = [*subject.dataset.listing(), *subject.listing()]
    for name in sets.keys() - MADE_FROM_IMAGES:
        if are_among(known, sets[name]).mean() > SHARED:
            say(f"Note: {name} is left out, because its images are among the data.")
            del sets[name]
    return sets


def _print_report(report: dict) -> None:
    """Prints the AUROC of each detector, and the rates at which p-values detect the sets."""
    print("AUROC against in-distribution images; 0.5 is guessing")
    for name, numbers in report["inputs"].items():
        areas = [f"{d.replace('_', ' ')} {area:.3f}" for d, area in numbers["auroc"].items()]
        say(f"  {name}: {', '.join(areas)}")
        if numbers["detected"] is not None:
            print(f"    p ≤ {FALSE_ALARMS}: {numbers['detected']:.1%}")
    if (share := report[OWN]["detected"]) is not None:
        print(f"False alarms at p ≤ {FALSE_ALARMS}: {share:.1%} of other images of the split")


def _write_rows(
    path: Path, scores: dict[str, dict[str, np.ndarray]], own_paths: Sequence[str]
) -> None:
    """Writes a row for each image: its set, its path or number, and its scores."""
    rows = [["set", "image", *scores[OWN]]]
    for name, of_set in scores.items():
        names = own_paths if name == OWN else range(len(of_set["log_likelihood"]))
        for image, *numbers in zip(names, *of_set.values(), strict=True):
            rows.append([name, image, *(f"{x:.6g}" for x in numbers)])
    write_csv(path, rows)


def ood_inputs(images: np.ndarray, seed: int = 0, white: int = 255) -> dict[str, np.ndarray]:
    """Returns sets of out-of-distribution images by name, each of the same size as `images`.

    They are images that scikit-learn includes (gray or RGB), noise, colors, and corrupted versions
    of `images`. Their highest value is `white`.
    """
    rng = np.random.default_rng(seed)
    count, height, width, channels = shape = images.shape
    sets = {"photographs": _photographs(shape, rng)} if channels in (1, 3) else {}
    if channels in (1, 3):
        digits = load_dataset("digits").split("train").images
        digits = digits[rng.integers(0, len(digits), count)]
        sets["digits"] = resize_images(digits, (height, width), channels, "stretch")
    sets = {name: _with_white(given, white) for name, given in sets.items()}
    dtype = images.dtype
    colors = rng.integers(0, white + 1, (count, 1, 1, channels), dtype=dtype)
    pixels = [rng.permutation(image.reshape(-1, channels)) for image in images]
    return {
        **sets,
        "uniform noise": rng.integers(0, white + 1, shape, dtype=dtype),
        "one color": np.tile(colors, (1, height, width, 1)),
        "pixels shuffled": np.reshape(pixels, shape),
        "rows shuffled": np.stack([rng.permutation(image) for image in images]),
        "upside down": images[:, ::-1],
        **({"rotated": np.rot90(images, axes=(1, 2))} if height == width else {}),
        "inverted": white - images,
        "blurred": gaussian_filter(images, (0, BLUR, BLUR, 0)),
        "noisy": _rounded(images + rng.normal(0, NOISE * (white / 255), shape), white),
    }


def _with_white(images: np.ndarray, white: int) -> np.ndarray:
    """Returns uint8 images with the highest value `white` instead of 255."""
    return images if white == 255 else _rounded(images * (white / 255), white)


def _rounded(values: np.ndarray, white: int) -> np.ndarray:
    return values.round().clip(0, white).astype("uint8" if white <= 255 else "uint16")


def _photographs(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Returns random crops of scikit-learn's two sample photographs."""
    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    count, height, width, channels = shape
    crops = []
    for index in range(count):
        photograph = photographs[index % 2].convert("L" if channels == 1 else "RGB")
        # From a quarter of the maximum size to the maximum size.
        scale = rng.uniform(0.25, 1) * min(photograph.height / height, photograph.width / width)
        left = rng.uniform(0, photograph.width - scale * width)
        top = rng.uniform(0, photograph.height - scale * height)
        box = (left, top, left + scale * width, top + scale * height)
        crop = photograph.resize((width, height), Image.Resampling.BILINEAR, box)
        crops.append(np.asarray(crop))
    return np.stack(crops).reshape(shape)


def detector_scores(
    features: dict[str, np.ndarray],
    detector: AnomalyDetector | None = None,
    by_classes: dict[str, dict[str, np.ndarray]] | None = None,
) -> dict[str, dict[str, np.ndarray]]:
    """Returns the scores of all detectors, float `[count]`, by set and then by detector.

    `features` are those of an `AnomalyDetector` by set, and `by_classes` the scores of
    `class_detectors`. The detectors are fitted to the set `NORMAL`. With `detector`, its p-values
    come first, as `p_value`.
    """
    bits, png = (FEATURES.index(name) for name in ("bits_per_dim", "png_bits_per_dim"))
    mean = features[NORMAL][:, bits].mean()
    if detector is not None:
        detector.fit_features(features[NORMAL])
    scores: dict[str, dict] = {name: {} for name in features}
    for name, found in features.items():
        if detector is not None:
            normality = detector.score_features(found)
            scores[name]["p_value"] = detector.p_values_of(normality)
            scores[name]["anomaly_detector"] = -normality
        scores[name]["log_likelihood"] = found[:, bits]
        scores[name]["typicality"] = np.abs(found[:, bits] - mean)
        # The complexity of the quantized image, which the model sees.
        scores[name]["complexity_corrected"] = found[:, bits] - found[:, png]
        if by_classes is not None:
            scores[name] |= by_classes[name]
    return scores


def class_detectors(
    images: np.ndarray,
    model: AutoregressiveModel,
    baseline: BaselineCNN | None = None,
    batch_size: int = 32,
) -> dict[str, np.ndarray]:
    """Returns the scores of the detectors that use class scores, float `[count]`, by detector.

    A model without classes has no posterior, so no `pixelcnnpp_max_softmax`.
    """
    found = {}
    if model.num_classes:
        probabilities = model.class_probabilities(images, batch_size=batch_size)
        found["pixelcnnpp_max_softmax"] = -probabilities.max(axis=1)
    if baseline is not None:
        kernel, bias = baseline.probabilities.get_weights()
        logits = baseline_features(baseline, images) @ kernel + bias
        found["baseline_max_softmax"] = -softmax(logits, axis=1).max(axis=1)
        found["baseline_energy"] = -logsumexp(logits, axis=1)
    return found


def auroc_report(
    scores: dict[str, dict[str, np.ndarray]], made_from_images: Sequence[str] = ()
) -> dict:
    """Returns the content of `ood.json` from `detector_scores` of all sets.

    The sets `made_from_images` are modified in-distribution images in the same order.
    """
    own, inputs = scores[OWN], {}
    detectors = {name: meaning for name, meaning in DETECTORS.items() if name in own}
    for name, of_set in scores.items():
        paired = name in made_from_images
        areas = {d: auroc_interval(own[d], of_set[d], paired) for d in detectors}
        p_values = of_set.get("p_value")
        inputs[name] = {
            "count": len(of_set["log_likelihood"]),
            "bits_per_dim": float(of_set["log_likelihood"].mean()),
            "detected": None if p_values is None else float(np.mean(p_values <= FALSE_ALARMS)),
            "auroc": {detector: area for detector, (area, _) in areas.items()},
            "auroc_ci95": {detector: list(ends) for detector, (_, ends) in areas.items()},
        }
    return {"detectors": detectors, OWN: inputs.pop(OWN), "inputs": inputs}
