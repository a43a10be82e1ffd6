"""`evaluate foreign`: foreign pictures made, and how well they are told from familiar ones."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from sklearn.datasets import load_sample_images

from keras_pixelcnnpp.classifiers import BaselineClassifier
from keras_pixelcnnpp.data.built_in import load_digits
from keras_pixelcnnpp.data.images import (
    check_channels,
    picture_grid,
    resize_images,
    to_levels,
    to_pixels,
)
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.evaluate.classification import load_baseline
from keras_pixelcnnpp.evaluate.detectors import DETECTORS, Detection
from keras_pixelcnnpp.evaluate.figures import figure_png, new_figure, print_table, show_pixels
from keras_pixelcnnpp.files import write_bytes, write_json
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.run import RunFolder

EXAMPLES = 6
MARKERS = ("o", "D", "s", "^", "v")  # of the detectors


def detect(
    folder: RunFolder,
    *,
    data: str | None,
    split: str,
    count: int,
    seed: int,
    batch_size: int,
    against: str | None,
    background: Path | None,
    options: dict,
    verbose: int,
) -> None:
    """Scores foreign pictures beside those of a split, draws and writes how well they are told."""
    config = folder.read_config()
    path = folder.require_model("pixelcnnpp")
    dataset = folder.load_data(data)
    images = dataset.split(split).some(count, seed).images
    inputs = foreign_inputs(images, dataset.num_levels, data or config["data"]["source"], seed)
    if against is not None:
        other = folder.load_pictures(against)
        chosen = other.split(split).some(count, seed).images
        # A folder may be called as one of the sets is.
        other_name = other.name if other.name not in inputs else f"{other.name} (--against)"
        inputs = {**inputs, other_name: chosen}
    model = load_trained_model(path)
    of_background = None if background is None else load_background(background, model)
    print(f"Scoring {len(images)} pictures of the split {split} and {len(inputs)} foreign sets")
    cnn = load_baseline(folder)
    baseline = None if cnn is None else BaselineClassifier(cnn, verbose=verbose)
    detection = Detection.run(images, inputs, model, baseline, batch_size, verbose, of_background)
    png = foreign_png(detection, images, inputs, dataset.num_levels, f"split {split}")
    write_bytes(folder.reports / "foreign.png", png)
    report = {"options": options, "split": split, "seed": seed, **detection.report()}
    write_json(folder.reports / "foreign.json", report)
    _print_report(report)
    if against is not None:
        _print_intervals(other_name, report["inputs"][other_name])
    print(f"Wrote foreign.json and foreign.png to {folder.reports}")


def load_background(path: Path, model: AutoregressiveModel) -> AutoregressiveModel:
    """The PixelCNN++ of another run, trained with `--perturb`.

    Raises:
        UserError: If there is none, or it is of pictures of another form than `model`.
    """
    background = load_trained_model(RunFolder(path).require_model("pixelcnnpp"))
    for name in ("image_shape", "num_levels"):
        theirs, ours = getattr(background, name), getattr(model, name)
        if theirs != ours:
            raise UserError(
                f"The background model in {path} is of other pictures: {name} {theirs}, not {ours}."
            )
    return background


def foreign_inputs(
    images: np.ndarray, num_levels: int, source: str = "", seed: int = 0
) -> dict[str, np.ndarray]:
    """Sets of foreign pictures, as many in each as there are familiar ones: levels, by name.

    Other pictures, all from scikit-learn's installation (`source` says what isn't foreign), and the
    familiar ones, spoilt.
    """
    check_channels(images)
    rng = np.random.default_rng(seed)
    shape = images.shape
    sets = {"photographs": to_levels(_photographs(shape, rng), num_levels)}
    if source != "digits":
        sets["digits"] = to_levels(_digits(shape, rng), num_levels)
    return {
        **sets,
        "uniform noise": rng.integers(0, num_levels, shape, dtype=np.uint8),
        "one colour": _one_colour(shape, num_levels, rng),
        "pixels shuffled": _shuffled(images.reshape(len(images), -1, shape[-1]), rng).reshape(
            shape
        ),
        "rows shuffled": _shuffled(images, rng),
        "upside down": images[:, ::-1],
        "inverted": (num_levels - 1 - images).astype(np.uint8),
    }


def _photographs(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Random cut-outs of scikit-learn's two sample photographs, in pixels 0…255."""
    photographs = load_sample_images().images
    count, height, width, channels = shape
    cut_outs = []
    for index in range(count):
        photograph = photographs[index % len(photographs)]
        whole = photograph.shape[:2]
        # From a detail to as much as fits in.
        scale = rng.uniform(0.25, 1) * min(whole[0] / height, whole[1] / width)
        rows, columns = max(1, int(height * scale)), max(1, int(width * scale))
        top = rng.integers(0, whole[0] - rows + 1)
        left = rng.integers(0, whole[1] - columns + 1)
        cut_out = photograph[None, top : top + rows, left : left + columns]
        cut_outs.append(resize_images(cut_out, (height, width), channels, "squeeze")[0])
    return np.stack(cut_outs)


def _digits(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """scikit-learn's handwritten digits, in pixels 0…255."""
    digits = load_digits().split("train").images
    chosen = digits[rng.choice(len(digits), shape[0], replace=shape[0] > len(digits))]
    return resize_images(to_pixels(chosen, 17), shape[1:3], shape[3], "squeeze")


def _one_colour(shape: tuple[int, ...], num_levels: int, rng: np.random.Generator) -> np.ndarray:
    count, _, _, channels = shape
    colours = rng.integers(0, num_levels, (count, 1, 1, channels), dtype=np.uint8)
    return np.broadcast_to(colours, shape).copy()


def _shuffled(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each picture's first axis in an order of its own."""
    places = np.tile(np.arange(images.shape[1]), (len(images), 1))
    return images[np.arange(len(images))[:, None], rng.permuted(places, axis=1)]


def foreign_png(
    detection: Detection,
    images: np.ndarray,
    foreign: dict[str, np.ndarray],
    num_levels: int,
    familiar_name: str = "familiar",
) -> bytes:
    """Draws a row for each set: some of its pictures, their bits/dim, and how well it is detected.

    `images` are the familiar pictures. The content of a PNG file.
    """
    figure = new_figure(12, 1.05 * (len(foreign) + 1) + 0.6)
    grid = figure.subplots(len(foreign) + 1, 3, width_ratios=(2.6, 2, 2), squeeze=False)
    sets = (detection.familiar, *detection.foreign.values())
    edges = _edges([scores["log_likelihood"] for scores in sets])
    _draw_examples(grid[0, 0], familiar_name, images, num_levels)
    _draw_bits(grid[0, 1], edges, detection.familiar, None)
    for row, (name, given) in zip(grid[1:], foreign.items(), strict=True):
        _draw_examples(row[0], name, given, num_levels)
        _draw_bits(row[1], edges, detection.familiar, detection.foreign[name])
        areas = {detector: area for detector, (area, _) in detection.auroc(name).items()}
        points = _draw_areas(row[2], areas)
    grid[0, 2].set_axis_off()
    titles = [DETECTORS[name].title for name in detection.familiar]
    grid[0, 2].legend(points, titles, loc="center", title="detector", fontsize=8, title_fontsize=8)
    for axes in grid[:-1, 1:].flat:
        axes.tick_params(labelbottom=False)
    grid[-1, 1].set_xlabel("bits/dim of p(x); familiar pictures grey")
    grid[-1, 2].set_xlabel("AUROC; 0.5 is guessing")
    return figure_png(figure)


def _edges(bits: list[np.ndarray]) -> np.ndarray:
    low, high = min(map(np.min, bits)), max(map(np.max, bits))
    margin = 0.03 * max(high - low, 1e-3)
    return np.linspace(low - margin, high + margin, 60)


def _draw_examples(axes: Axes, name: str, images: np.ndarray, num_levels: int) -> None:
    examples = to_pixels(images[:EXAMPLES], num_levels)
    show_pixels(axes, picture_grid(examples, columns=EXAMPLES))
    axes.set(xticks=[], yticks=[])
    axes.set_frame_on(False)
    axes.set_ylabel(name, rotation=0, ha="right", va="center")


def _draw_bits(axes: Axes, edges: np.ndarray, familiar: dict, foreign: dict | None) -> None:
    shared = {"bins": edges, "density": True}
    axes.hist(familiar["log_likelihood"], color="grey", alpha=0.5, **shared)
    if foreign is not None:
        axes.hist(foreign["log_likelihood"], color="tab:red", alpha=0.6, **shared)
    axes.set(xlim=(edges[0], edges[-1]), yticks=[])


def _draw_areas(axes: Axes, areas: dict[str, float]) -> list:
    axes.axvline(0.5, color="grey", linestyle=":")
    places = np.linspace(1, 0, len(areas))
    points = [
        axes.plot(area, place, marker, color=f"C{index}", markersize=6, clip_on=False)[0]
        for index, (area, place, marker) in enumerate(
            zip(areas.values(), places, MARKERS, strict=False)
        )
    ]
    for area, place in zip(areas.values(), places, strict=True):
        side = {"ha": "left", "x": area + 0.03} if area < 0.5 else {"ha": "right", "x": area - 0.03}
        axes.text(**side, y=place, s=f"{area:.2f}", va="center", fontsize=7)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.4, 1.4), yticks=[])
    return points


def _print_report(report: dict) -> None:
    familiar = f"split {report['split']}", f"{report['familiar']['bits_per_dim']:.3f}"
    rows = [(*familiar, *["–"] * len(report["detectors"]))]
    for name, numbers in report["inputs"].items():
        areas = [f"{area:.3f}" for area in numbers["auroc"].values()]
        rows.append((name, f"{numbers['bits_per_dim']:.3f}", *areas))
    rows.append(("mean", "", *(f"{area:.3f}" for area in report["mean_auroc"].values())))
    print_table(
        ("", "bits/dim", *(DETECTORS[name].heading for name in report["detectors"])),
        rows,
        title="AUROC of foreign pictures against familiar ones; 0.5 is guessing",
        caption="corrected: log p(x) and the size as PNG; p(y|x): the largest probability",
    )


def _print_intervals(name: str, numbers: dict) -> None:
    rows = [
        (DETECTORS[detector].title, f"{area:.3f}", "–".join(f"{end:.3f}" for end in ends))
        for (detector, area), ends in zip(
            numbers["auroc"].items(), numbers["auroc_ci95"].values(), strict=True
        )
    ]
    title = f"{numbers['count']} pictures of {name} against the familiar ones"
    print_table(("detector", "AUROC", "95 % interval"), rows, title=title)
