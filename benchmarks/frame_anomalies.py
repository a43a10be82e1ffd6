"""Measures the false alarms of `AnomalyDetector` on frames of several sizes.

    python benchmarks/frame_anomalies.py textures
    python benchmarks/frame_anomalies.py photographs --data photographs

Trains a small PixelCNN of 16×16 windows, and fits detectors to frames of 32×32 pixels, or of a
third of the frames of each of three sizes. Each is applied to other frames of each size. `textures`
are random fields with noise, whose contrast and brightness vary between frames. `--data` replaces
them by crops of gray images. Writes `results/frame_anomalies-NAME.json`.
"""

import time
from typing import ClassVar

import keras
import numpy as np
import typer
from common import RESULTS, facts, save, show
from scipy.ndimage import gaussian_filter
from scipy.stats import sem

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.data import load_dataset

SIZES = ((24, 24), (32, 32), (40, 48))
RATES = (0.05, 0.01)


def textures(rng: np.random.Generator, count: int, size: tuple[int, int]) -> np.ndarray:
    """Returns new frames, uint8 `(count, *size, 1)`."""
    height, width = size
    fields = gaussian_filter(rng.normal(size=(count, height + 16, width + 16)), (0, 1.5, 1.5))
    fields = fields[:, 8:-8, 8:-8] / 0.19  # standard deviation 1
    contrast, mean = rng.uniform((15, 110), (35, 145), (count, 2)).T[..., None, None]
    frames = mean + contrast * fields + rng.normal(0, 6, fields.shape)
    return frames.round().clip(0, 255).astype("uint8")[..., None]


def crops(rng: np.random.Generator, images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns a random crop of each image, uint8 `(N, *size, 1)`."""
    room = np.subtract(images.shape[1:3], size) + 1
    found = [
        image[top : top + size[0], left : left + size[1]]
        for image, (top, left) in zip(
            images, rng.integers(room, size=(len(images), 2)), strict=True
        )
    ]
    return np.stack(found)


class OncePerFrames(kp.AnomalyDetector):
    """Computes the features of the same frames only once, for all detectors of a model."""

    known: ClassVar[dict] = {}

    def features(self, X, condition=None):  # noqa: N803
        frames, found = self.known.get(id(X), (None, None))
        if frames is not X:
            found = super().features(X, condition)
            self.known[id(X)] = X, found
        return found


def main(
    name: str,
    data: str | None = None,
    fit: int = 600,
    count: int = 300,
    fits: int = 12,
    seconds: int = 40,
):
    """Train, fit `--fits` detectors of each kind, and score `--count` frames of each size."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    if data is not None:
        dataset = load_dataset(data, image_size=(64, 64))
        images = np.concatenate([dataset.split(split).images for split in dataset.splits])
        images = images.mean(axis=-1, keepdims=True).round().astype("uint8")
        images = rng.permutation(images)
        train, images = np.split(images, [len(images) // 3])

    def frames(size: tuple[int, int], rows: np.ndarray) -> np.ndarray:
        """Returns frames that are new, or a crop of each of the images `rows`."""
        return textures(rng, len(rows), size) if data is None else crops(rng, images[rows], size)

    model = kp.PixelCNN((16, 16, 1), 0, 32, filters=16, num_blocks=2, num_mixtures=3)
    model.compile(keras.optimizers.Adam(2e-3, clipnorm=10.0))
    start = time.perf_counter()
    while time.perf_counter() < start + seconds:
        new = textures(rng, 4000, (16, 16)) if data is None else crops(rng, train, (16, 16))
        model.fit(new, verbose=0)
    tiled = kp.TiledModel(model)
    alarms: dict[tuple, list] = {}
    for seed in range(fits):
        # Images of one fit differ from those that it is measured on.
        of_fit, others = np.split(rng.permutation(10**4 if data is None else len(images)), [fit])
        parts = np.array_split(of_fit, len(SIZES))
        normal = {
            "32×32": frames((32, 32), of_fit),
            "three sizes": [
                frame
                for size, rows in zip(SIZES, parts, strict=True)
                for frame in frames(size, rows)
            ],
        }
        detectors = {
            key: OncePerFrames(tiled, seed=seed, batch_size=256).fit(value)
            for key, value in normal.items()
        }
        for index, size in enumerate(SIZES):
            rows = others[index * count : (index + 1) * count]
            given = frames(size, rows)
            OncePerFrames.known.clear()
            for key, detector in detectors.items():
                p_values = detector.p_values(given)
                for rate in RATES:
                    alarms.setdefault((key, size, rate), []).append(np.mean(p_values <= rate))
    rows = [
        {
            "fitted_to": key,
            "size": "×".join(map(str, size)),
            "rate": rate,
            "false_alarms": np.mean(shares),
            "standard_error": sem(shares),
        }
        for (key, size, rate), shares in alarms.items()
    ]
    show(rows)
    content = {"fit": fit, "count": count, "fits": fits, "rows": rows}
    save(facts() | content, RESULTS / f"frame_anomalies-{name}.json")


if __name__ == "__main__":
    typer.run(main)
