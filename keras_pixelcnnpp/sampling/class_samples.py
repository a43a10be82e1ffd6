"""Generated images of several classes, and their image files."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_pixelcnnpp.conditions import LABEL
from keras_pixelcnnpp.data.images import image_grid, png_bytes
from keras_pixelcnnpp.utils.files import atomic_files, safe_names

SAMPLING = "sampling.json"  # written by the command `sample` next to its images


@dataclass(frozen=True, eq=False)
class ClassSamples:
    """Generated images and their classes.

    Args:
        images: uint8 array `(N, height, width, channels)`, 0 to 255, or uint16 array of levels.
        labels: Int array `(N,)`, the class of each image.
        class_names: Tuple with the name of each class.

    Example:

    ```python
    samples = ClassSamples.sample(model, per_class=25)
    samples.write("samples")            # koala_image_01.png … pizza_image_25.png
    ```
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]

    @classmethod
    def sample(
        cls,
        model: keras.Model,
        per_class: int,
        chosen: Sequence[int] = (),
        others: dict[str, np.ndarray] | None = None,
        **arguments: Any,
    ) -> "ClassSamples":
        """Samples `per_class` images of each class from an `AutoregressiveModel`.

        Args:
            model: An `AutoregressiveModel`. A model without classes counts as one class.
            per_class: Integer, number of images of each class.
            chosen: Labels of the classes to sample, by default all.
            others: What else the model is conditioned on: the vectors or the maps of the images, in
                the order of their classes, by the name of the part, `"vector"` or `"map"`.
            **arguments: Other arguments of `AutoregressiveModel.sample`, such as `seed`.
        """
        names = model.class_names or ("any",)
        labels = np.repeat(chosen if len(chosen) else range(len(names)), per_class)
        condition = {**(others or {}), **({LABEL: labels} if model.class_names else {})}
        return cls(model.sample(condition or per_class, **arguments), labels, names)

    def __len__(self) -> int:
        return len(self.images)

    def by_class(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yields the name and the images of each class that has images."""
        for label in np.unique(self.labels):
            yield self.class_names[label], self.images[self.labels == label]

    def grids(self) -> dict[str, np.ndarray]:
        """Returns a dict from the name of each class to an `image_grid` of its images."""
        return {name: image_grid(pixels) for name, pixels in self.by_class()}

    def overview(self, columns: int = 10) -> np.ndarray:
        """Returns a grid with one row for each class, which shows its first `columns` images.

        For a single class, the grid shows all images and is about square.
        """
        images = [pixels for _, pixels in self.by_class()]
        if len(images) == 1:
            return image_grid(images[0])
        columns = min(columns, *map(len, images))
        rows = [pixels[:columns] for pixels in images]
        return image_grid(np.concatenate(rows), columns=columns)

    def write(self, folder: str | Path) -> None:
        """Writes each image as a PNG file, `Class0_image_01.png` and so on.

        Args:
            folder: The folder, which is created if necessary. Only files with these names are
                replaced.
        """
        names = image_names(self.labels, self.class_names)
        with atomic_files(folder) as temporary:
            for name, image in zip(names, self.images, strict=True):
                (temporary / name).write_bytes(png_bytes(image))


def image_names(labels: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """Returns file names, numbered within each class: `Class0_image_01.png` and so on."""
    numbers = Counter()
    safe = safe_names(class_names or ("any",))
    names = []
    for label in labels.tolist():
        numbers[label] += 1
        names.append(f"{safe[label]}_image_{numbers[label]:02d}.png")
    return names
