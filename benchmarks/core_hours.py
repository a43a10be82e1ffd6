"""Measures bits/dim of p(x) against processor time, and plots it with published models.

    python benchmarks/core_hours.py binarize mnist.npz binarized_mnist.npz
    taskset -c 1 python benchmarks/core_hours.py train --data fashion_mnist.npz --run runs/mine
    python benchmarks/core_hours.py measure runs/mine --data fashion_mnist.npz

`train` is `pixelcnnpp train` with a callback, which saves the averaged weights of a training when
its processor time doubles. `measure` evaluates these weights on some test images, and the trained
model on all of them, and writes `benchmarks/results/core_hours-RUN.json`.
"""

import sys
import time
from pathlib import Path

import keras
import numpy as np
import typer
from common import RESULTS, Data, save

import pixelcnnpp
from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.training.optimizers import averaged_weights
from keras_pixelcnnpp.training.run import RunFolder
from keras_pixelcnnpp.utils.files import read_json, write_json

HOURS = (0.0625, 0.125, 0.25, 0.5, 1, 2, 4, 8, 16)  # of the snapshots

app = typer.Typer(help="Bits/dim against core-hours.", no_args_is_help=True)


class Snapshots(keras.callbacks.Callback):
    """Saves the averaged weights whenever the processor time of a training run has doubled.

    The processor time is that of all threads of the process, with imports, compilation and
    validation. It continues when a training run is resumed.
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


def _point(hours: float, model: keras.Model, images: np.ndarray) -> dict:
    """Returns the mean bits/dim of p(x), in which all classes are equally likely."""
    bits = np.asarray(model.bits_per_dim(images, batch_size=100, verbose=0), "float64")
    error = bits.std(ddof=1) / len(bits) ** 0.5
    found = {"core_hours": hours, "bits_per_dim": bits.mean(), "standard_error": error}
    print(found, flush=True)
    return found | {"count": len(bits)}


@app.command()
def measure(
    folder: Path, data: Data, split: str = "test", count: int = 1000, last: int | None = None
):
    """Evaluate snapshots on `count` images of a split, and the trained model on `last`, or all."""
    run = RunFolder(folder)
    images = load_dataset(data).split(split).images
    images = images[np.random.default_rng(0).permutation(len(images))]
    model = load_trained_model(run.model_keras)
    trained, points = model.get_weights(), []
    saved = sorted((folder / "snapshots").glob("*.npz"), key=lambda path: float(path.stem))
    for path in saved:
        with np.load(path) as archive:
            model.set_weights([archive[key] for key in archive.files])
        points.append(_point(float(path.stem), model, images[:count]))
    model.set_weights(trained)
    hours = read_json(folder / "snapshots" / "core_hours.json")["core_hours"]
    points.append(_point(hours, model, images[:last]))
    config = run.read_config()
    config["data"]["source"] = f"{Path(data).stem}.npz"
    result = {
        "data": Path(data).stem,
        "title": config["pixelcnnpp"]["title"],
        "parameters": config["pixelcnnpp"]["parameters"],
        "classes": model.num_classes,
        "split": split,
        "command": config["pixelcnnpp"]["command"],
        "points": points,
    }
    save(result, RESULTS / f"core_hours-{folder.name}.json")


@app.command()
def binarize(source: Path, target: Path, seed: int = 0):
    """Write MNIST in which a pixel is white with a probability of its brightness, drawn once."""
    rng = np.random.default_rng(seed)
    with np.load(source) as archive:
        arrays = dict(archive)
    for name in ("x_train", "x_test"):
        arrays[name] = np.uint8(255 * (rng.random(arrays[name].shape) < arrays[name] / 255))
    np.savez_compressed(target, **arrays)


def train():
    """Runs `pixelcnnpp train` with snapshots in the folder of its run."""
    folder = Path(sys.argv[sys.argv.index("--run") + 1]) / "snapshots"
    folder.mkdir(parents=True, exist_ok=True)
    pixelcnnpp.main(callbacks=[Snapshots(folder)])


if __name__ == "__main__":
    train() if sys.argv[1:2] == ["train"] else app()
