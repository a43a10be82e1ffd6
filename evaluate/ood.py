"""`evaluate ood`: measures how well out-of-distribution images are detected."""

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.special import logsumexp, softmax
from sklearn.datasets import load_sample_images

from keras_pixelcnnpp.classifiers import PixelCNNClassifier
from keras_pixelcnnpp.data.images import png_bits, resize_images
from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.distributions.bits import bits_per_dim, bits_unit
from keras_pixelcnnpp.distributions.levels import quantize
from keras_pixelcnnpp.evaluate.classification import load_baseline
from keras_pixelcnnpp.evaluate.figures import (
    figure_png,
    maps_figure,
    new_figure,
    print_table,
    show_row,
)
from keras_pixelcnnpp.evaluate.generation import baseline_features
from keras_pixelcnnpp.evaluate.metrics.classifiers import auroc_interval
from keras_pixelcnnpp.files import counted, write_bytes, write_json
from keras_pixelcnnpp.layers.posterior import log_marginal
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.run import RunFolder

EXAMPLES = 6
BLUR, NOISE = 0.7, 8.0  # standard deviations, in pixels and in values of 0 to 255
MADE_FROM_IMAGES = (
    *("pixels shuffled", "rows shuffled", "upside down", "rotated", "inverted"),
    *("blurred", "noisy"),
)

# All are larger out of distribution. Serrà et al. 2020, *Input complexity and out-of-distribution
# detection with likelihood-based generative models*, equation 1; Nalisnick et al. 2019, *Detecting
# out-of-distribution inputs to deep generative models using typicality*, for single images;
# Hendrycks and Gimpel 2017, *A baseline for detecting misclassified and out-of-distribution
# examples*; Liu et al. 2020, *Energy-based out-of-distribution detection*, equation 4 with T = 1.
DETECTORS = {
    "log_likelihood": "bits/dim of p(x) under PixelCNN++",
    "typicality": "the distance of these bits/dim from their mean over training images",
    "complexity_corrected": "these bits/dim less those of the image as a PNG file",
    "pixelcnnpp_max_softmax": "the largest class probability of PixelCNN++, negated",
    "baseline_max_softmax": "the largest class probability of the baseline CNN, negated",
    "baseline_energy": "the energy of the baseline CNN: minus the log-sum-exp of its logits",
}


def evaluate_ood(folder: RunFolder, options: SimpleNamespace) -> None:
    """Scores in-distribution and other images, and writes how well the latter are detected."""
    config = folder.read_config()
    path = folder.require_model("pixelcnnpp")
    dataset = folder.load_data(options.data, options.classes_in_order)
    options.split = dataset.split_to_measure(options.split)
    measured = dataset.split(options.split).some(options.count, options.seed)
    images = measured.images
    training = folder.training_images(dataset).some(options.count, options.seed).images
    if not len(training):
        print("Note: typicality is relative to the in-distribution images themselves.")
        training = images
    sources = (options.data, config["data"]["source"])
    sets = {"in_distribution": images, **ood_inputs(images, sources, options.seed)}
    if options.ood_data is not None:
        other = folder.load_images(options.ood_data)
        # A folder may have the name of one of the sets.
        name = other.name if other.name not in sets else f"{other.name} (--ood-data)"
        sets[name] = other.split(other.split_to_measure()).some(options.count, options.seed).images
    model = load_trained_model(path)
    print(f"Scoring {counted(len(images))} of the split {options.split}, and the other sets")
    cnn = load_baseline(folder)
    scoring = {"batch_size": options.batch_size, "verbose": options.verbose}
    scores = detector_scores(sets, model, training, cnn, **scoring)
    report = {"options": options.given, "split": options.split, "seed": options.seed}
    report |= auroc_report(scores, MADE_FROM_IMAGES)
    bits = scores["in_distribution"]["log_likelihood"]
    rows = np.argsort(-bits)[:EXAMPLES]
    report["most_improbable"] = [
        {"path": measured.paths[row], "bits_per_dim": float(bits[row])} for row in rows
    ]
    maps = -model.pixel_log_probs(images[rows], -1 if model.num_classes else None)
    unit = bits_unit(model.num_levels)
    titles = [f"{measured.paths[row][-60:]}: {bits[row]:.3f} {unit}" for row in rows]
    write_bytes(
        folder.reports / "improbable.png", figure_png(maps_figure(images[rows], maps, titles))
    )
    write_json(folder.reports / "ood.json", report)
    write_bytes(folder.reports / "ood.png", ood_png(sets, scores, report))
    rows = [
        (name, *(f"{area:.3f}" for area in numbers["auroc"].values()))
        for name, numbers in report["inputs"].items()
    ]
    headings = ("", *(name.replace("_", " ") for name in report["detectors"]))
    print_table(headings, rows, title="AUROC against in-distribution images; 0.5 is guessing")
    print(f"Wrote ood.json, ood.png and improbable.png to {folder.reports}")


def ood_inputs(
    images: np.ndarray, sources: Sequence[str | None] = (), seed: int = 0
) -> dict[str, np.ndarray]:
    """Returns sets of out-of-distribution images by name, each of the same size as `images`.

    They are images that scikit-learn includes, except data sets in `sources`, and corrupted
    versions of `images`. If `images` are neither gray nor RGB, all sets except noise and colors are
    such versions.
    """
    rng = np.random.default_rng(seed)
    count, height, width, channels = shape = images.shape
    sets = {"photographs": _photographs(shape, rng)} if channels in (1, 3) else {}
    if "digits" not in sources and channels in (1, 3):
        digits = load_dataset("digits").split("train").images
        digits = digits[rng.integers(0, len(digits), count)]
        sets["digits"] = resize_images(digits, (height, width), channels, "stretch")
    colors = rng.integers(0, 256, (count, 1, 1, channels), dtype=np.uint8)
    pixels = [rng.permutation(image.reshape(-1, channels)) for image in images]
    return {
        **sets,
        "uniform noise": rng.integers(0, 256, shape, dtype=np.uint8),
        "one color": np.tile(colors, (1, height, width, 1)),
        "pixels shuffled": np.reshape(pixels, shape),
        "rows shuffled": np.stack([rng.permutation(image) for image in images]),
        "upside down": images[:, ::-1],
        **({"rotated": np.rot90(images, axes=(1, 2))} if height == width else {}),
        "inverted": 255 - images,
        "blurred": gaussian_filter(images, (0, BLUR, BLUR, 0)),
        "noisy": (images + rng.normal(0, NOISE, shape)).round().clip(0, 255).astype("uint8"),
    }


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
        crops.append(photograph.resize((width, height), Image.Resampling.BILINEAR, box))
    return np.stack(crops).reshape(shape)


def detector_scores(
    sets: dict[str, np.ndarray],
    model: AutoregressiveModel,
    training: np.ndarray,
    baseline: BaselineCNN | None = None,
    batch_size: int = 32,
    verbose: int = 0,
) -> dict[str, dict[str, np.ndarray]]:
    """Returns the scores of all detectors, float `[count]`, by set and then by detector.

    The typicality is relative to the images `training`. A model without classes has no posterior,
    so no `pixelcnnpp_max_softmax`.
    """
    # In one pass: one progress bar, and nothing is compiled for a set of another size.
    images = np.concatenate([*sets.values(), training])
    scoring = {"batch_size": batch_size, "verbose": verbose}
    found = {}
    if model.num_classes:
        log_likelihoods, probabilities = PixelCNNClassifier(
            model, **scoring
        ).likelihoods_and_probabilities(images)
        bits = bits_per_dim(log_marginal(log_likelihoods), model.image_shape)
        found["pixelcnnpp_max_softmax"] = -probabilities.max(axis=1)
    else:
        bits = model.bits_per_dim(images, **scoring)
    found["log_likelihood"] = bits
    found["typicality"] = np.abs(bits - bits[len(images) - len(training) :].mean())
    # The complexity of the quantized image, which the model sees.
    complexity = png_bits(quantize(images, model.num_levels)) / images[0].size
    found["complexity_corrected"] = bits - complexity
    if baseline is not None:
        kernel, bias = baseline.probabilities.get_weights()
        logits = baseline_features(baseline, images) @ kernel + bias
        found["baseline_max_softmax"] = -softmax(logits, axis=1).max(axis=1)
        found["baseline_energy"] = -logsumexp(logits, axis=1)
    ends = np.cumsum([len(given) for given in sets.values()])
    split = {name: np.split(found[name], ends) for name in DETECTORS if name in found}
    return {
        name: {detector: parts[index] for detector, parts in split.items()}
        for index, name in enumerate(sets)
    }


def auroc_report(
    scores: dict[str, dict[str, np.ndarray]], made_from_images: Sequence[str] = ()
) -> dict:
    """Returns the content of `ood.json` from `detector_scores` of all sets.

    The AUROC is the probability that an image of a set has a higher score than an image of the set
    `"in_distribution"`. At 0.5, the detector guesses; below, the set looks more typical. The sets
    `made_from_images` are modified in-distribution images in the same order.
    """
    in_distribution, inputs = scores["in_distribution"], {}
    for name, of_set in scores.items():
        paired = name in made_from_images
        areas = {d: auroc_interval(in_distribution[d], of_set[d], paired) for d in in_distribution}
        inputs[name] = {
            "count": len(of_set["log_likelihood"]),
            "bits_per_dim": float(of_set["log_likelihood"].mean()),
            "auroc": {detector: area for detector, (area, _) in areas.items()},
            "auroc_ci95": {detector: list(ends) for detector, (_, ends) in areas.items()},
        }
    own = inputs.pop("in_distribution")
    return {
        "detectors": {detector: DETECTORS[detector] for detector in in_distribution},
        "in_distribution": {name: own[name] for name in ("count", "bits_per_dim")},
        "inputs": inputs,
    }


def ood_png(
    sets: dict[str, np.ndarray],
    scores: dict[str, dict[str, np.ndarray]],
    report: dict,
) -> bytes:
    """Plots some images and histograms of scores for each set, one set per row, as PNG data."""
    detectors = report["detectors"]
    everything = {d: np.concatenate([of_set[d] for of_set in scores.values()]) for d in detectors}
    figure = new_figure(4 + 1.9 * len(detectors), len(sets) + 0.6)
    widths = [2.4, *[1] * len(detectors)]
    grid = figure.subplots(len(sets), len(widths), width_ratios=widths)
    for row, (name, images) in zip(grid, sets.items(), strict=True):
        show_row(row[0], images[:EXAMPLES], name)
        for axes, detector in zip(row[1:], detectors, strict=True):
            edges = np.histogram_bin_edges(everything[detector], 40)
            axes.hist(scores["in_distribution"][detector], edges, color="gray", alpha=0.5)
            axes.set(yticks=[])
            axes.tick_params(labelbottom=name == list(sets)[-1], labelsize=7)
            if name != "in_distribution":
                axes.hist(scores[name][detector], edges, color="tab:red", alpha=0.6)
                area = report["inputs"][name]["auroc"][detector]
                axes.set_ylabel(f"AUROC\n{area:.2f}", fontsize=7, rotation=0, labelpad=16)
    for axes, detector in zip(grid[0, 1:], detectors, strict=True):
        axes.set_title(detector.replace("_", " "), fontsize=8)
    figure.supxlabel("OOD scores: gray is in distribution, red is the set of the row", fontsize=9)
    return figure_png(figure)
