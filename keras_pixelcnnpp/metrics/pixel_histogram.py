"""The simplest density of pictures: the floor that any model must get below."""

import numpy as np


class PixelHistogram:
    """One histogram per pixel and channel, each independent of all the others.

    A model that looks at neighbouring pixels must need fewer bits than this one. The counts are
    smoothed (Laplace, one picture of each level is added), so that a level which training never
    showed at some place has a probability too.

    Args:
        images: uint8 `[count, height, width, channels]`, levels in `[0, num_levels)`.
        num_levels: The number of levels.

    Example:

    ```python
    floor = PixelHistogram(train.images, num_levels=17)
    floor.log_prob(test.images)          # float64 [count], nats
    ```
    """

    def __init__(self, images: np.ndarray, num_levels: int):
        flat = np.asarray(images).reshape(len(images), -1)
        counts = np.ones((num_levels, flat.shape[1]))
        for level in range(num_levels):
            counts[level] += np.sum(flat == level, axis=0)
        self._log_probabilities = np.log(counts / counts.sum(axis=0))

    def log_prob(self, images: np.ndarray) -> np.ndarray:
        """The log-likelihood of each picture.

        Args:
            images: uint8 `[count, height, width, channels]`, levels.

        Returns:
            float64 `[count]`, nats.
        """
        flat = np.asarray(images).reshape(len(images), -1)
        return np.take_along_axis(self._log_probabilities, flat.astype(int), axis=0).sum(axis=1)
