"""Reproducible batches for `fit`, and ordered batches for scoring."""

import copy
import math

import keras
import numpy as np

from keras_pixelcnnpp.checks import require_integer
from keras_pixelcnnpp.errors import UserError


class ImageBatches(keras.utils.PyDataset):
    """Shuffled batches of labeled images for training, with random flips and crops.

    Order, flips and crops depend only on `seed` and the epoch, so a resumed training gets the same
    batches as an uninterrupted one. `fit` needs two more arguments for this: `shuffle=False`,
    because Keras would shuffle the batches with Python's global random state, and the callback
    `SetEpoch`, because Keras counts a first look at the data as an epoch if the optimizer isn't
    built yet.

    Args:
        images: uint8 array `(N, height, width, channels)`.
        labels: Int array `(N,)`, -1 for unlabeled images. Unconditional models ignore labels.
        batch_size: Integer, number of images per batch. The last batch may be smaller.
        seed: Integer, random seed.
        horizontal_flip: Boolean, whether to mirror a random half of the images.
        larger_images: Optional uint8 array `(N, larger height, larger width, channels)`, the same
            images read at a larger size. A random half of the images is then replaced by random
            crops of the larger images, which need no padding.
        sample_weight: Optional float array `(N,)`, the weight of each image in the loss.

    Each batch is a tuple of images, uint8 `(batch, height, width, channels)`, labels, int32
    `(batch,)`, and with `sample_weight` weights, float32 `(batch,)`.

    Attributes:
        epoch: Integer, the epoch of the batches, counted from 0.
        first_step: Integer, the step of the epoch at which batch 0 is.

    Raises:
        ValueError: If `batch_size` is not a positive integer, or images and labels differ in
            number.

    Example:

    ```python
    train = kp.data.load_dataset("digits").split("train")
    batches = kp.data.ImageBatches(train.images, train.labels, batch_size=64)
    model.fit(batches, epochs=10, shuffle=False, callbacks=[kp.data.SetEpoch(batches)])
    ```
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        batch_size: int,
        seed: int = 0,
        horizontal_flip: bool = False,
        larger_images: np.ndarray | None = None,
        sample_weight: np.ndarray | None = None,
    ):
        # With two workers, TensorFlow does not tune its `tf.data` pipeline in a thread that may
        # delay the end by a minute. Under other backends, Keras's first look at the data would
        # leave batches in the queue of the workers.
        super().__init__(workers=2 if keras.backend.backend() == "tensorflow" else 1)
        require_integer("batch_size", batch_size)
        if len(images) != len(labels):
            raise UserError(
                "Invalid value for argument `labels`. Expected one for each image. "
                f"Received: {len(images)} images, {len(labels)} labels"
            )
        self.images = images
        self.labels = np.asarray(labels, dtype="int32")
        self.batch_size = batch_size
        self.seed = seed
        self.horizontal_flip = horizontal_flip
        self.larger_images = larger_images
        self.sample_weight = sample_weight
        self.first_step = 0
        self.set_epoch(0)

    def __len__(self) -> int:
        return math.ceil(len(self.images) / self.batch_size) - self.first_step

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        rows = self.rows(index)
        images = self.images[rows]
        if self.larger_images is not None:
            cropped = self._cropped[rows, None, None, None]
            images = np.where(cropped, self._crops(rows), images)
        if self.horizontal_flip:
            flip = self._flips[rows, None, None, None]
            images = np.where(flip, images[:, :, ::-1], images)
        if self.sample_weight is None:
            return images, self.labels[rows]
        return images, self.labels[rows], self.sample_weight[rows].astype("float32")

    def rows(self, index: int) -> np.ndarray:
        """Returns the positions in `images` of the images of batch `index`, int `(batch,)`."""
        start = (self.first_step + index) * self.batch_size
        return self._order[start : start + self.batch_size]

    def from_step(self, step: int) -> "ImageBatches":
        """Returns a new `ImageBatches` without the first `step` batches of each epoch."""
        rest = copy.copy(self)
        rest.first_step = step
        return rest

    def set_epoch(self, epoch: int) -> None:
        """Selects the batches of epoch `epoch`, counted from 0."""
        self.epoch = epoch
        # All random numbers are generated here, because workers may call `__getitem__` in any
        # order. Separate streams, so that flips and crops don't change the order.
        order, flips, crops = np.random.default_rng([self.seed, epoch]).spawn(3)
        count = len(self.images)
        self._order = order.permutation(count)
        self._flips = flips.random(count) < 0.5
        if self.larger_images is not None:
            margin = np.subtract(self.larger_images.shape[1:3], self.images.shape[1:3])
            self._cropped = crops.random(count) < 0.5
            self._corners = crops.integers(0, margin + 1, size=(count, 2))

    def on_epoch_end(self) -> None:
        """Selects the next epoch."""
        self.set_epoch(self.epoch + 1)

    def _crops(self, rows: np.ndarray) -> np.ndarray:
        height, width = self.images.shape[1:3]
        return np.stack(
            [
                self.larger_images[row, top : top + height, left : left + width]
                for row, (top, left) in zip(rows, self._corners[rows], strict=True)
            ]
        )


class SetEpoch(keras.callbacks.Callback):
    """Callback that calls `batches.set_epoch(epoch)` at the beginning of an epoch.

    `fit` informs a `PyDataset` of the end of an epoch, but not of the number of the next one, so a
    resumed training would start with the batches of epoch 0. Under torch, the callback also sets
    the random seed of each step.

    Args:
        batches: An `ImageBatches`.
    """

    def __init__(self, batches: ImageBatches):
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.batches.set_epoch(epoch)

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        # Under torch, dropout uses the global generator, which checkpoints don't contain. Under
        # other backends, a SeedGenerator is part of the model. In TensorFlow, a new global seed
        # would also prepare every compiled function again, which takes seconds.
        if keras.backend.backend() == "torch":
            step = self.batches.first_step + batch
            words = [self.batches.seed, self.batches.epoch, step]
            seed = np.random.SeedSequence(words).generate_state(1)[0]
            import torch

            torch.manual_seed(int(seed))


def array_batches(
    inputs: dict[str, np.ndarray], batch_size: int, pad: bool
) -> list[dict[str, np.ndarray]]:
    """Splits a dict of arrays `(count, ...)` into ordered batches.

    With `pad`, the last batch is padded with the first rows to a power of two, at most
    `batch_size`, because XLA compiles for each batch size.

    Example:

    >>> [batch["x"].tolist() for batch in array_batches({"x": np.arange(7)}, 4, pad=True)]
    [[0, 1, 2, 3], [4, 5, 6, 0]]
    """
    count, batches = len(next(iter(inputs.values()))), []
    for start in range(0, count, batch_size):
        size = min(batch_size, count - start)
        if pad:
            size = min(batch_size, 1 << (size - 1).bit_length())
        rows = slice(start, start + size)  # a view
        if start + size > count:
            rows = np.arange(start, start + size) % count
        batches.append({name: value[rows] for name, value in inputs.items()})
    return batches
