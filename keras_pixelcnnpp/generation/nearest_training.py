"""Generated pictures beside the training pictures that they are most like."""

import math
from dataclasses import dataclass

import numpy as np

from keras_pixelcnnpp.datasets.images import to_pixels
from keras_pixelcnnpp.generation.class_samples import ClassSamples
from keras_pixelcnnpp.generation.gallery import Gallery
from keras_pixelcnnpp.generation.real_pictures import RealPictures
from keras_pixelcnnpp.metrics import memorisation, nearest_neighbours

MOST_ROWS = 10
NEIGHBOURS = 3  # beside each picture, in each space


@dataclass(frozen=True, eq=False)
class NearestTraining:
    """The nearest training pictures of generated ones, in one or two spaces.

    Args:
        samples: The generated pictures.
        train: uint8 levels `[num_train, height, width, channels]`.
        spaces: From the name of a space, `"pixels"` or `"features"`, to what was found there.
        report: From the name of a space to the numbers of `metrics.memorisation`.
    """

    samples: ClassSamples
    train: np.ndarray
    spaces: dict[str, tuple[np.ndarray, np.ndarray]]
    report: dict[str, dict]

    @classmethod
    def find(
        cls, samples: ClassSamples, real: RealPictures, features=None, mirrored: bool = False
    ) -> "NearestTraining":
        """Searches the training split.

        Args:
            samples: The generated pictures.
            real: The real ones; its reference says how close unseen pictures typically are.
            features: `BaselineFeatures`, for a search in their space too, where a shifted copy is
                as close as it looks; `None` searches by pixels only.
            mirrored: Whether training showed the model mirrored pictures too.

        Returns:
            What was found. Distances of pixels are root mean squares, of pixels in [0, 1].
        """
        train = real.train.images
        if mirrored:
            train = np.concatenate([train, train[:, :, ::-1]])
        maps = {"pixels": _Pixels(samples.num_levels)}
        if features is not None:
            maps["features"] = lambda images: features(images)[features.dimensions]
        spaces, report = {}, {}
        for name, points in maps.items():
            pool = points(train)
            count = min(NEIGHBOURS, len(pool))
            spaces[name] = nearest_neighbours(points(samples.levels), pool, count)
            held_out, _ = nearest_neighbours(points(real.reference.images), pool, 1)
            report[name] = memorisation(spaces[name][0][:, 0], held_out[:, 0])
        return cls(samples, train, spaces, report)

    def gallery(self) -> Gallery:
        """The most suspicious picture of each class, beside its nearest training pictures."""
        chosen = self._closest_of_each_class()
        parts = [self.samples.levels[chosen][:, np.newaxis]]
        columns = ["drawn"]
        for name, (_, rows) in self.spaces.items():
            parts.append(self.train[rows[chosen]])
            columns += [f"nearest by {name}", *[""] * (rows.shape[1] - 1)]
        names = [self.samples.class_names[label] for label in self.samples.labels[chosen]]
        return Gallery(
            to_pixels(np.concatenate(parts, axis=1), self.samples.num_levels),
            tuple(names),
            tuple(columns),
        )

    def _closest_of_each_class(self) -> np.ndarray:
        nearest = self.spaces["pixels"][0][:, 0]
        classes = np.unique(self.samples.labels)
        # Of few classes more than one picture each.
        each = max(1, MOST_ROWS // (2 * len(classes)))
        ranked = np.argsort(nearest, kind="stable")
        chosen = [ranked[self.samples.labels[ranked] == label][:each] for label in classes]
        return np.concatenate(chosen)[:MOST_ROWS]


class _Pixels:
    """Pictures as points whose Euclidean distance is the root mean square of their pixels."""

    def __init__(self, num_levels: int):
        self.steps = num_levels - 1

    def __call__(self, images: np.ndarray) -> np.ndarray:
        flat = images.reshape(len(images), -1).astype("float32")
        return flat / (self.steps * math.sqrt(flat.shape[1]))
