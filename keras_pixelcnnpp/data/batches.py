"""Batches for `fit`, reproducible from the seed and the epoch, and for scoring, in order."""

import copy
import math

import keras
import numpy as np

from keras_pixelcnnpp.checks import require_integer
from keras_pixelcnnpp.errors import UserError


class ImageBatches(keras.utils.PyDataset):
    """Batches of images with labels.

    Order, flips and crops depend on `seed` and the epoch only, so that a training that is resumed
    at epoch n sees what an uninterrupted one sees. For this, `fit` needs two
    things: `shuffle=False`, or Keras shuffles the order of the batches once more, by Python's
    global random state; and the callback `SetEpoch`, because Keras counts a first look at the data
    as an epoch when the optimizer isn't built yet.

    Args:
        images: uint8 `(N, height, width, channels)`.
        labels: int `(N,)`, or -1 for an image without a label. An unconditional model ignores
            them.
        batch_size: Integer. The last batch of an epoch may be smaller.
        seed: Integer.
        horizontal_flip: Boolean, whether half of the images, at random, are mirrored.
        larger_images: uint8 `(N, larger height, larger width, channels)`, the same images read
            at a larger size, or `None`. Half of the images, at random, are then replaced by a
            crop of the larger one, at a random place: nothing is made up at the border.
        sample_weight: Float `(N,)`, a weight for each image in the loss, or `None`.

    Each batch is a tuple of images, uint8 `(batch, height, width, channels)`, and labels, int32
    `(batch,)`, and of the weights, float32 `(batch,)`, if there are any.

    Attributes:
        epoch: Integer, the epoch whose batches these are, counted from 0.
        first_step: Integer, the step of the epoch that batch 0 belongs to.

    Raises:
        ValueError: If `batch_size` is no positive integer, or there isn't a label for each image.

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
        # With two, Keras doesn't let TensorFlow tune its `tf.data` pipeline in a thread that sleeps
        # up to a minute, and that is waited for at the end. Elsewhere, Keras's first look at the
        # data would leave batches in the workers' queue.
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
        """Which images are in batch `index`: int `(batch,)`, positions in `images`."""
        start = (self.first_step + index) * self.batch_size
        return self._order[start : start + self.batch_size]

    def from_step(self, step: int) -> "ImageBatches":
        """The same batches without the first `step` of every epoch, as a new `ImageBatches`."""
        rest = copy.copy(self)
        rest.first_step = step
        return rest

    def set_epoch(self, epoch: int) -> None:
        """Makes the batches those of epoch `epoch`, counted from 0."""
        self.epoch = epoch
        # All random numbers are made here, none in __getitem__: the order in which workers ask for
        # batches must not matter. One stream for each purpose: flips don't change the order.
        order, flips, crops = np.random.default_rng([self.seed, epoch]).spawn(3)
        count = len(self.images)
        self._order = order.permutation(count)
        self._flips = flips.random(count) < 0.5
        if self.larger_images is not None:
            margin = np.subtract(self.larger_images.shape[1:3], self.images.shape[1:3])
            self._cropped = crops.random(count) < 0.5
            self._corners = crops.integers(0, margin + 1, size=(count, 2))

    def on_epoch_end(self) -> None:
        """Goes on to the next epoch. Keras calls it."""
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
    """Calls `batches.set_epoch(epoch)` when an epoch begins; under torch seeds every step too.

    The order of the images depends on the seed and the epoch only. `fit` itself tells a
    `PyDataset` that an epoch ended, but never which one is about to begin, so a resumed run would
    see epoch 0 again.

    Args:
        batches: An `ImageBatches`.
    """

    def __init__(self, batches: ImageBatches):
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.batches.set_epoch(epoch)

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        # Under torch, Keras's dropout uses torch's global generator, which no checkpoint
        # knows of. Elsewhere a SeedGenerator is part of the model; and TensorFlow, given a new
        # global seed, prepares every compiled function anew, which takes seconds.
        if keras.backend.backend() == "torch":
            step = self.batches.first_step + batch
            words = [self.batches.seed, self.batches.epoch, step]
            seed = np.random.SeedSequence(words).generate_state(1)[0]
            keras.utils.set_random_seed(int(seed))


def array_batches(
    inputs: dict[str, np.ndarray], batch_size: int, pad: bool
) -> list[tuple[dict[str, np.ndarray]]]:
    """Arrays `(count, ...)`, by name, cut into batches in their order.

    With `pad`, the last batch is filled up with the first rows, to a power of two or `batch_size`:
    XLA compiles a function again for each size of a batch, and of these there are few.

    Example:

    >>> [batch["x"].tolist() for (batch,) in array_batches({"x": np.arange(7)}, 4, pad=True)]
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
        batches.append(({name: value[rows] for name, value in inputs.items()},))
    return batches
