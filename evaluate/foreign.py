"""`pixelcnnpp evaluate foreign`."""

import sys

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_sample_images

from keras_pixelcnnpp.classifiers import BaselineClassifier
from keras_pixelcnnpp.data.built_in import load_digits
from keras_pixelcnnpp.data.images import picture_grid, resize_images, to_levels, to_pixels
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.evaluate.detectors import Detection
from keras_pixelcnnpp.evaluate.figures import figure_png, new_figure
from keras_pixelcnnpp.files import atomic_path, write_json
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
from keras_pixelcnnpp.run import RunFolder

HEADINGS = {
    "log_likelihood": "log p(x)",
    "complexity_corrected": "corrected",
    "pixelcnnpp_max_softmax": "p(y|x)",
    "baseline_max_softmax": "CNN p(y|x)",
}


def _baseline(folder: "RunFolder") -> "BaselineClassifier | None":

    if folder.baseline_keras.exists():
        return BaselineClassifier(load_trained_model(folder.baseline_keras, BaselineCNN))
    print(
        f"No {folder.baseline_keras.name} to compare with. "
        f"Train it: pixelcnnpp train baseline --data … --run {folder.path}"
    )
    return None


def _print_report(report: dict) -> None:

    table = Table(
        title="AUROC of foreign pictures against familiar ones; 0.5 is guessing",
        caption="corrected: log p(x) and the size as PNG; p(y|x): the largest probability",
    )
    table.add_column("")
    table.add_column("bits/dim", justify="right")
    for detector in report["detectors"]:
        table.add_column(HEADINGS[detector], justify="right")
    dashes = ["–"] * len(report["detectors"])
    table.add_row(f"split {report['split']}", f"{report['familiar']['bits_per_dim']:.3f}", *dashes)
    for name, numbers in report["inputs"].items():
        areas = [f"{area:.3f}" for area in numbers["auroc"].values()]
        table.add_row(name, f"{numbers['bits_per_dim']:.3f}", *areas)
    table.add_row("mean", "", *(f"{area:.3f}" for area in report["mean_auroc"].values()))
    Console().print(table)


def foreign_inputs(
    images: np.ndarray, num_levels: int, source: str = "", seed: int = 0
) -> dict[str, np.ndarray]:
    """Makes sets of foreign pictures, as many in each as there are familiar ones.

    Two kinds: other pictures (cut-outs of photographs, handwritten digits, noise, one colour), and
    the familiar pictures themselves, spoilt: pixels or rows shuffled, turned upside down, inverted.
    Everything comes with scikit-learn's installation.

    Args:
        images: uint8 `[count, height, width, channels]`, the familiar pictures: levels; 1 or 3
            channels.
        num_levels: The number of levels.
        source: What the familiar pictures are; `"digits"` are not foreign to `"digits"`.
        seed: Of everything that is random.

    Returns:
        uint8 levels `[count, height, width, channels]` by name.

    Raises:
        UserError: if the pictures have neither 1 nor 3 channels.

    Example:

    ```python
    digits = load_dataset("digits").split("test").images
    foreign_inputs(digits, 17, "digits").keys()      # photographs, uniform noise, …
    ```
    """
    if images.shape[-1] not in (1, 3):
        raise UserError(
            f"Foreign pictures can be made for 1 or 3 channels only. These have {images.shape[-1]}."
        )
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
        cut_outs.append(resize_images(cut_out, (height, width), channels)[0])
    return np.stack(cut_outs)


def _digits(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """scikit-learn's handwritten digits, in pixels 0…255."""
    digits = load_digits().split("train").images
    chosen = digits[rng.choice(len(digits), shape[0], replace=shape[0] > len(digits))]
    return resize_images(to_pixels(chosen, 17), shape[1:3], shape[3])


def _one_colour(shape: tuple[int, ...], num_levels: int, rng: np.random.Generator) -> np.ndarray:
    count, _, _, channels = shape
    colours = rng.integers(0, num_levels, (count, 1, 1, channels), dtype=np.uint8)
    return np.broadcast_to(colours, shape).copy()


def _shuffled(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each picture's first axis in an order of its own."""
    places = np.tile(np.arange(images.shape[1]), (len(images), 1))
    return images[np.arange(len(images))[:, None], rng.permuted(places, axis=1)]


TITLES = {
    "log_likelihood": "log p(x)",
    "complexity_corrected": "log p(x), complexity-corrected",
    "pixelcnnpp_max_softmax": "PixelCNN++, largest p(y | x)",
    "baseline_max_softmax": "baseline CNN, largest p(y | x)",
}


MARKERS = ("o", "D", "s", "^")


EXAMPLES = 6


def foreign_png(
    detection: Detection,
    images: np.ndarray,
    foreign: dict[str, np.ndarray],
    num_levels: int,
    familiar_name: str = "familiar",
) -> bytes:
    """Draws a row for each set: some of its pictures, their bits/dim, and how well it is detected.

    Args:
        detection: What the detectors said about them.
        images: uint8 levels `[count, height, width, channels]`, the familiar pictures.
        foreign: The foreign ones by name.
        num_levels: The number of levels.
        familiar_name: What the familiar pictures are called.

    Returns:
        The content of a PNG file.
    """
    figure = new_figure(12, 1.05 * (len(foreign) + 1) + 0.6)
    grid = figure.subplots(len(foreign) + 1, 3, width_ratios=(2.6, 2, 2), squeeze=False)
    sets = {"": detection.familiar, **detection.foreign}
    edges = _edges([scores["log_likelihood"] for scores in sets.values()])
    _draw_examples(grid[0, 0], familiar_name, images, num_levels)
    _draw_bits(grid[0, 1], edges, detection.familiar, None)
    for row, (name, given) in zip(grid[1:], foreign.items(), strict=True):
        _draw_examples(row[0], name, given, num_levels)
        _draw_bits(row[1], edges, detection.familiar, detection.foreign[name])
        points = _draw_areas(row[2], detection.auroc(name))
    grid[0, 2].set_axis_off()
    names = [TITLES[detector] for detector in detection.detectors]
    grid[0, 2].legend(points, names, loc="center", title="detector", fontsize=8, title_fontsize=8)
    for axes in grid[:-1, 1:].flat:
        axes.tick_params(labelbottom=False)
    grid[-1, 1].set_xlabel("bits/dim of p(x); familiar pictures grey")
    grid[-1, 2].set_xlabel("AUROC; 0.5 is guessing")
    return figure_png(figure)


def _edges(bits: list[np.ndarray]) -> np.ndarray:
    low, high = min(map(np.min, bits)), max(map(np.max, bits))
    margin = 0.03 * max(high - low, 1e-3)
    return np.linspace(low - margin, high + margin, 60)


def _draw_examples(axes, name, images, num_levels) -> None:
    examples = to_pixels(images[:EXAMPLES], num_levels)
    grid = picture_grid(examples, columns=EXAMPLES)
    grey = grid.shape[-1] == 1
    axes.imshow(grid[..., 0] if grey else grid, cmap="gray" if grey else None, vmin=0, vmax=255)
    axes.set(xticks=[], yticks=[])
    axes.set_frame_on(False)
    axes.set_ylabel(name, rotation=0, ha="right", va="center")


def _draw_bits(axes, edges, familiar, foreign) -> None:
    shared = {"bins": edges, "density": True}
    axes.hist(familiar["log_likelihood"], color="grey", alpha=0.5, **shared)
    if foreign is not None:
        axes.hist(foreign["log_likelihood"], color="tab:red", alpha=0.6, **shared)
    axes.set(xlim=(edges[0], edges[-1]), yticks=[])


def _draw_areas(axes, areas) -> list:
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


def detect(
    folder: RunFolder,
    *,
    data: str | None,
    split: str,
    count: int,
    seed: int,
    batch_size: int,
    options: dict,
) -> None:
    """Scores foreign pictures beside those of a split, draws and writes how well they are told."""
    config = folder.read_config()
    path = folder.require_model("pixelcnnpp")
    dataset = folder.load_data(data)
    images = dataset.split(split).images
    # A split may be sorted by class.
    order = np.random.default_rng(seed).permutation(len(images))
    images = images[order[:count]]
    inputs = foreign_inputs(images, dataset.num_levels, config["data"]["source"], seed)
    model = load_trained_model(path, PixelCNNPlusPlus)
    print(f"Scoring {len(images)} pictures of the split {split} and {len(inputs)} foreign sets")
    detection = Detection.run(
        images, inputs, model, _baseline(folder), batch_size, int(sys.stdout.isatty())
    )
    png = foreign_png(detection, images, inputs, dataset.num_levels, f"split {split}")
    with atomic_path(folder.reports / "foreign.png") as temporary:
        temporary.write_bytes(png)
    report = {
        "options": options,
        "split": split,
        "seed": seed,
        **detection.report(),
    }
    write_json(folder.reports / "foreign.json", report)
    _print_report(report)
    print(f"Wrote foreign.json and foreign.png to {folder.reports}")
