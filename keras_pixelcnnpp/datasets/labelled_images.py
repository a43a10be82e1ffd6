"""One split of a dataset."""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Pictures with their labels and where they come from.

    Args:
        images: uint8 levels `(N, height, width, channels)`, from 0 to `num_levels - 1`.
        labels: int32 `(N,)`; -1 where the label is not known.
        paths: Where each picture comes from: the path as the CSV file has it, the path below the
            dataset's folder, or a made-up one such as `"digits/000123"`.

    Raises:
        ValueError: If shapes, dtypes or lengths don't fit.

    Example:

    ```python
    split = load_dataset("digits").split("test")
    len(split), split.images.shape      # 599, (599, 8, 8, 1)
    ```
    """

    images: np.ndarray
    labels: np.ndarray
    paths: tuple[str, ...]

    def __post_init__(self):
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise ValueError(
                "Invalid value for argument `images`. Expected uint8 (N, height, width, channels). "
                f"Received: shape={self.images.shape}, dtype={self.images.dtype}"
            )
        if self.labels.shape != (len(self.images),) or self.labels.dtype != np.int32:
            raise ValueError(
                f"Invalid value for argument `labels`. Expected int32 ({len(self.images)},). "
                f"Received: shape={self.labels.shape}, dtype={self.labels.dtype}"
            )
        if len(self.paths) != len(self.images):
            raise ValueError(
                f"Invalid value for argument `paths`. Expected {len(self.images)} of them. "
                f"Received: {len(self.paths)}"
            )

    def __len__(self):
        return len(self.images)

    def take(self, rows):
        """Returns the pictures at `rows`: integer indices or a boolean mask, both `(N,)`."""
        rows = np.arange(len(self))[rows]
        return replace(
            self,
            images=self.images[rows],
            labels=self.labels[rows],
            paths=tuple(self.paths[row] for row in rows),
        )

    def labelled(self):
        """Returns the pictures whose label is known."""
        return self.take(self.labels >= 0)
