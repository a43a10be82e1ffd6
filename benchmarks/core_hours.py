"""Measures bits/dim of p(x) against processor time, and plots it with published models.

    python benchmarks/core_hours.py binarize mnist.npz binarized_mnist.npz
    SNAPSHOTS=runs/mine/snapshots taskset -c 1 pixelcnnpp train --data fashion_mnist.npz \
        --run runs/mine --callback core_hours:snapshots
    python benchmarks/core_hours.py measure runs/mine --data fashion_mnist.npz
    python benchmarks/core_hours.py figure

The callback saves the averaged weights of a training when its processor time doubles. `measure`
evaluates these weights and the trained model on the test images. `figure` plots the files of
`benchmarks/results/core_hours` with the values in `benchmarks/published.csv`.
"""

import csv
import os
import time
from pathlib import Path

import keras
import numpy as np
import typer
from common import RESULTS, ROOT, Data, save
from matplotlib.ticker import NullLocator

from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.evaluate.figures import figure_png, new_figure
from keras_pixelcnnpp.files import read_json, write_bytes, write_json
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.optimizers import averaged_weights
from keras_pixelcnnpp.run import RunFolder

FOLDER = RESULTS / "core_hours"
HOURS = (0.125, 0.25, 0.5, 1, 2, 4, 8, 16)  # of the snapshots
PIXELS = 28 * 28  # of an image of MNIST
TITLES = {
    "fashion_mnist": "Fashion-MNIST, 256 levels",
    "mnist": "MNIST, 256 levels",
    "binarized_mnist": "MNIST, binarized",
}

app = typer.Typer(help="Bits/dim against core-hours.", no_args_is_help=True)


class Snapshots(keras.callbacks.Callback):
    """Saves the averaged weights whenever the processor time of a training has doubled.

    The processor time is that of all threads of the process, with imports, compilation and
    validation. It continues when a training is resumed.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder
        self._clock = folder / "core_hours.json"
        self._before = read_json(self._clock)["core_hours"] if self._clock.exists() else 0.0

    def core_hours(self) -> float:
        """Returns the processor time of the training until now, in hours."""
        return self._before + time.process_time() / 3600

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        due = [hours for hours in HOURS if hours <= self.core_hours()]
        if due and not (path := self.folder / f"{due[-1]:g}.npz").exists():
            with averaged_weights(self.model):
                np.savez(path, *self.model.get_weights())
        if batch % 100 == 0:
            write_json(self._clock, {"core_hours": self.core_hours()})

    def on_train_end(self, logs: dict | None = None) -> None:
        write_json(self._clock, {"core_hours": self.core_hours()})


def snapshots() -> Snapshots:
    """Returns the callback, for `--callback`; the variable SNAPSHOTS names its folder."""
    folder = Path(os.environ["SNAPSHOTS"])
    folder.mkdir(parents=True, exist_ok=True)
    return Snapshots(folder)


def _bits(model: keras.Model, images: np.ndarray) -> float:
    """Returns the mean bits/dim of p(x), in which all classes are equally likely."""
    return float(model.bits_per_dim(images, batch_size=100, verbose=0).mean())


@app.command()
def measure(folder: Path, data: Data, split: str = "test", name: str | None = None):
    """Evaluate the snapshots and the trained model of a run on the images of a split."""
    run = RunFolder(folder)
    images = load_dataset(data).split(split).images
    model = load_trained_model(run.model_keras)
    trained, points = model.get_weights(), []
    saved = sorted((folder / "snapshots").glob("*.npz"), key=lambda path: float(path.stem))
    for path in saved:
        with np.load(path) as archive:
            model.set_weights([archive[key] for key in archive.files])
        points.append({"core_hours": float(path.stem), "bits_per_dim": _bits(model, images)})
        print(points[-1], flush=True)
    model.set_weights(trained)
    hours = read_json(folder / "snapshots" / "core_hours.json")["core_hours"]
    points.append({"core_hours": hours, "bits_per_dim": _bits(model, images)})
    section = run.read_config()["pixelcnnpp"]
    result = {
        "data": name or Path(data).stem,
        "title": section["title"],
        "parameters": section["parameters"],
        "classes": model.num_classes,
        "split": split,
        "count": len(images),
        "points": points,
    }
    save(result, FOLDER / f"{folder.name}.json")


@app.command()
def binarize(source: Path, target: Path, seed: int = 0):
    """Write MNIST in which a pixel is white with a probability of its brightness, drawn once."""
    rng = np.random.default_rng(seed)
    with np.load(source) as archive:
        arrays = dict(archive)
    for name in ("x_train", "x_test"):
        arrays[name] = np.uint8(255 * (rng.random(arrays[name].shape) < arrays[name] / 255))
    np.savez_compressed(target, **arrays)


@app.command()
def figure():
    """Plot the results with the published values."""
    with (ROOT / "benchmarks" / "published.csv").open(newline="", encoding="utf-8") as file:
        published = list(csv.DictReader(file))
    results = [read_json(path) for path in sorted(FOLDER.glob("*.json"))]
    names = [name for name in TITLES if any(result["data"] == name for result in results)]
    drawn = new_figure(3.6 * len(names), 3.4)
    for axes, name in zip(drawn.subplots(1, len(names), squeeze=False).flat, names, strict=True):
        for result in results:
            if result["data"] == name:
                _plot(axes, result)
        for row in published:
            if row["dataset"] == f"{TITLES[name]}, test":
                _line(axes, row)
        axes.set(xscale="log", xlabel="hours on one core", title=TITLES[name])
        axes.set_ylabel("bits/dim of p(x), test images")
        axes.set_xticks(HOURS, [f"{hours:g}" for hours in HOURS])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    path = ROOT / "docs" / "images" / "core_hours.png"
    write_bytes(path, figure_png(drawn, dpi=160))
    print(f"Wrote {path}")


def _plot(axes, result):
    """Plots the learning curve of a training."""
    points = result["points"]
    hours = [point["core_hours"] for point in points]
    label = f"{result['title']}, {result['parameters'] / 1e6:.2f} M weights"
    axes.plot(hours, [point["bits_per_dim"] for point in points], "o-", markersize=4, label=label)


def _line(axes, row):
    """Draws a published value as a horizontal line with a name."""
    value = float(row["value"])
    bits = value / (PIXELS * np.log(2)) if row["unit"] == "nats" else value
    axes.axhline(bits, color="gray", linestyle="--", linewidth=1)
    place = axes.get_yaxis_transform()
    axes.text(0.02, bits, row["model"], transform=place, va="bottom", fontsize=7, color="gray")


if __name__ == "__main__":
    app()
