"""A named dataset: splits, class names, number of levels."""

import hashlib
from dataclasses import dataclass

from keras_pixelcnnpp.datasets.labelled_images import LabelledImages
from keras_pixelcnnpp.errors import UserError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Pictures in splits, with class names.

    Args:
        name: What the data is called in reports.
        class_names: One name for each class; empty if no picture has a label.
        num_levels: Number of values that a sub-pixel takes: 256 for photographs.
        splits: From the names of the splits (`"train"`, `"validation"`, and `"test"` where there
            is one) to their pictures.
        notes: Lines that a user should see, such as how a missing split was made.

    Example:

    ```python
    dataset = load_dataset("digits")
    dataset.image_shape, dataset.num_classes, dataset.num_levels   # (8, 8, 1), 10, 17
    dataset.split("train").images                                  # uint8 (1078, 8, 8, 1)
    ```
    """

    name: str
    class_names: tuple[str, ...]
    num_levels: int
    splits: dict[str, LabelledImages]
    notes: tuple[str, ...] = ()

    @property
    def num_classes(self):
        """Number of classes, 0 if no picture has a label."""
        return len(self.class_names)

    @property
    def image_shape(self):
        """Triple of integers `(height, width, channels)`."""
        return tuple(int(size) for size in next(iter(self.splits.values())).images.shape[1:])

    def split(self, name):
        """Returns the pictures of one split.

        Raises:
            UserError: If there is no such split; the message names those that exist.
        """
        if name not in self.splits:
            raise UserError(
                f"{self.name} has no split {name!r}. It has: {', '.join(sorted(self.splits))}"
            )
        return self.splits[name]

    def counts(self):
        """Returns the number of pictures by split: of each class in order, then without label.

        Returns:
            Dict of lists of `num_classes + 1` integers.
        """
        labels = [*range(self.num_classes), -1]
        return {
            name: [int((split.labels == label).sum()) for label in labels]
            for name, split in self.splits.items()
        }

    def fingerprint(self):
        """Returns a SHA-256 hex digest of pictures, labels, splits, class names and levels.

        Two datasets with the same digest give the same training, order of pictures included.
        """
        digest = hashlib.sha256(repr((self.class_names, self.num_levels)).encode())
        for name, split in sorted(self.splits.items()):
            digest.update(repr((name, split.images.shape)).encode())
            digest.update(split.images.tobytes())
            digest.update(split.labels.astype("<i4").tobytes())
        return digest.hexdigest()
