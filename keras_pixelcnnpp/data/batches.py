"""Batches for `fit`, reproducible from the seed and the epoch."""

import copy
import math

import keras
import numpy as np

from keras_pixelcnnpp.arguments import require_positive_integer


class ImageSequence(keras.utils.PyDataset):
    """Batches of pictures with candidate labels.

    Order, flips and candidates depend on `seed` and the epoch only, so that a training
    that is resumed at epoch n sees what an uninterrupted one sees. For this, `fit` needs two
    things: `shuffle=False`, or Keras shuffles the order of the batches once more, by Python's
    global random state; and the callback `SetEpoch`, because Keras counts a first look at the data
    as an epoch when the optimizer isn't built yet.

    Args:
        images: uint8 levels `(N, height, width, channels)`.
        labels: int `(N,)`, from 0 to `num_classes - 1`. Not looked at if `num_classes` is 0.
        batch_size: Integer. The last batch of an epoch may be smaller.
        num_classes: Integer; 0 for an unconditional model, whose batches have no labels.
        seed: Integer.
        shuffle: Boolean, whether the order changes every epoch.
        horizontal_flip: Boolean, whether half of the pictures, at random, are mirrored.
        larger_images: uint8 `(N, larger height, larger width, channels)`, the same pictures read
            at a larger size, or `None`. Half of the pictures, at random, are then replaced by a
            crop of the larger one, at a random place: nothing is made up at the border.
        num_candidates: Integer K from 1 to `num_classes`: the true label, and K - 1 different
            wrong ones chosen at random.
        **kwargs: Arguments of `keras.utils.PyDataset`: `workers`, `use_multiprocessing`,
            `max_queue_size`.

    Each batch is a tuple of one dict: `"image"`, uint8 `(batch, height, width, channels)`, and
    `"label"`, int32 `(batch,)`, or `(batch, K)` with the true label first if K > 1.

    Attributes:
        epoch: Integer, the epoch whose batches these are, counted from 0.
        first_step: Integer, the step of the epoch that batch 0 belongs to.

    Raises:
        ValueError: If an argument is out of range, or a label is.

    Example:

    ```python
    train = load_dataset("digits").split("train")
    batches = ImageSequence(train.images, train.labels, batch_size=64, num_classes=10)
    model.fit(batches, epochs=10, shuffle=False, callbacks=[SetEpoch(batches)])
    ```
    """

    def __init__(
        self,
        images,
        labels,
        *,
        batch_size,
        num_classes,
        seed=0,
        shuffle=True,
        horizontal_flip=False,
        larger_images=None,
        num_candidates=1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        require_positive_integer("batch_size", batch_size)
        if not 1 <= num_candidates <= max(num_classes, 1):
            raise ValueError(
                "Invalid value for argument `num_candidates`. Expected an integer from 1 to "
                f"num_classes={num_classes}. Received: num_candidates={num_candidates}"
            )
        self.images = images
        self.labels = np.asarray(labels, dtype="int32")
        self.batch_size = batch_size
        self.num_classes = num_classes
        self.seed = seed
        self.shuffle = shuffle
        self.horizontal_flip = horizontal_flip
        self.larger_images = larger_images
        self.num_candidates = num_candidates
        self.first_step = 0
        self._check_data()
        self.set_epoch(0)

    def _check_data(self):
        if len(self.images) == 0 or len(self.images) != len(self.labels):
            raise ValueError(
                "Invalid value for argument `images`. Expected at least one picture, and as many "
                f"as labels. Received: {len(self.images)} images, {len(self.labels)} labels"
            )
        if self.larger_images is not None and not (
            len(self.larger_images) == len(self.images)
            and self.larger_images.shape[1] >= self.images.shape[1]
            and self.larger_images.shape[2] >= self.images.shape[2]
            and self.larger_images.shape[3] == self.images.shape[3]
        ):
            raise ValueError(
                "Invalid value for argument `larger_images`. Expected as many pictures as `images`,"
                f" of at least their size. Received: shape={self.larger_images.shape}, with images "
                f"of shape={self.images.shape}"
            )
        if self.num_classes and not (
            self.labels.min() >= 0 and self.labels.max() < self.num_classes
        ):
            raise ValueError(
                "Invalid value for argument `labels`. Expected integers from 0 to "
                f"{self.num_classes - 1}. Received: values from {self.labels.min()} to "
                f"{self.labels.max()}"
            )

    def __len__(self):
        return math.ceil(len(self.images) / self.batch_size) - self.first_step

    def __getitem__(self, index):
        rows = self.rows(index)
        images = self.images[rows]
        if self.larger_images is not None:
            cropped = self._cropped[rows, None, None, None]
            images = np.where(cropped, self._crops(rows), images)
        if self.horizontal_flip:
            flip = self._flips[rows, None, None, None]
            images = np.where(flip, images[:, :, ::-1], images)
        batch = {"image": images}
        if self.num_classes:
            batch["label"] = (
                self._candidates[rows] if self.num_candidates > 1 else self.labels[rows]
            )
        return (batch,)

    def rows(self, index):
        """Which pictures are in batch `index`: int `(batch,)`, positions in `images`."""
        start = (self.first_step + index) * self.batch_size
        return self._order[start : start + self.batch_size]

    def from_step(self, step):
        """The same batches without the first `step` of every epoch, as a new `ImageSequence`."""
        rest = copy.copy(self)
        rest.first_step = step
        return rest

    def set_epoch(self, epoch):
        """Makes the batches those of epoch `epoch`, counted from 0."""
        self.epoch = epoch
        # All draws are made here, none in __getitem__: which worker asks for which batch first
        # must not matter. One stream for each purpose: switching flips on doesn't change the order.
        order, flips, candidates, crops = np.random.default_rng([self.seed, epoch]).spawn(4)
        count = len(self.images)
        self._order = order.permutation(count) if self.shuffle else np.arange(count)
        self._flips = flips.random(count) < 0.5
        if self.num_candidates > 1:
            self._candidates = self._draw_candidates(candidates)

        if self.larger_images is not None:
            margin = np.subtract(self.larger_images.shape[1:3], self.images.shape[1:3])
            self._cropped = crops.random(count) < 0.5
            self._corners = crops.integers(0, margin + 1, size=(count, 2))

    def on_epoch_end(self):
        """Goes on to the next epoch. Keras calls it."""
        self.set_epoch(self.epoch + 1)

    def _crops(self, rows):
        height, width = self.images.shape[1:3]
        return np.stack(
            [
                self.larger_images[row, top : top + height, left : left + width]
                for row, (top, left) in zip(rows, self._corners[rows], strict=True)
            ]
        )

    def _draw_candidates(self, rng):
        true = self.labels[:, None]
        ranks = rng.random((len(true), self.num_classes - 1)).argsort(axis=1)
        wrong = ranks[:, : self.num_candidates - 1]
        wrong = wrong + (wrong >= true)  # 0…n-2 becomes all classes but the true one
        return np.concatenate([true, wrong], axis=1).astype("int32")
