"""Reproducible batches for `fit`, and ordered batches for scoring."""

import copy
import math
from collections.abc import Sequence, Sized
from typing import Any

import keras
import numpy as np

from keras_pixelcnnpp.conditions.values import num_images, taken
from keras_pixelcnnpp.utils.backend import Nest
from keras_pixelcnnpp.utils.checks import (
    MAX_LEVELS,
    require_integer,
    require_no_mask,
    require_values,
    with_channels,
)
from keras_pixelcnnpp.utils.errors import UserError, invalid_argument


class ImageBatches(keras.utils.PyDataset):
    """Shuffled batches of labeled images for training, with random flips and crops.

    Order, flips and crops depend only on `seed` and the epoch, so a resumed training gets the same
    batches as an uninterrupted one. `fit` needs two more arguments for this: `shuffle=False`,
    because Keras would shuffle the batches with Python's global random state, and the callback
    `SetEpoch`.

    Args:
        images: uint8 array `(N, height, width, channels)`; gray images need no channel axis.
        labels: Int array `(N,)`, -1 for unlabeled images, and for an unconditional model; or float
            array `(N, size)`, vectors, or `(N, height, width, channels)`, maps; or a tuple of these
            in the order of a model's conditions, or a dict by their names.
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
        ValueError: If `batch_size` is not a positive integer, images and labels differ in number,
            the images cannot be those of any model, such as floats, or a vector or map is not
            finite.

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
        self.images = self._checked(images)
        are_parts = isinstance(labels, tuple | dict)
        self.labels = (
            keras.tree.map_structure(_as_targets, labels) if are_parts else _as_targets(labels)
        )
        for part in keras.tree.flatten(self.labels):
            require_one_for_each(part, images)
        if larger_images is not None:
            self._require_no_maps("larger_images")
        self.batch_size = batch_size
        self.seed = seed
        self.horizontal_flip = horizontal_flip
        self.larger_images = larger_images
        self.sample_weight = sample_weight
        self.first_step = 0
        self.set_epoch(0)

    def _checked(self, images: np.ndarray) -> Any:
        """Returns images with a channel axis, or raises a `UserError`."""
        require_no_mask(images)
        if images.dtype != "uint8":
            # Only the largest possible number of levels is known here.
            require_values(images, MAX_LEVELS if images.dtype.kind in "ui" else 256)
        return with_channels(images)

    def __len__(self) -> int:
        return math.ceil(self._count / self.batch_size) - self.first_step

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        rows = self._examples(index)
        images = self._images_of(rows)
        labels = keras.tree.map_structure(lambda part: part[rows], self.labels)
        if self.horizontal_flip:
            flipped = self._flips[rows]
            images[flipped] = images[flipped][:, :, ::-1]
            for maps in filter(_are_maps, keras.tree.flatten(labels)):
                maps[flipped] = maps[flipped][..., ::-1, :]
        if self.sample_weight is None:
            return images, labels
        return images, labels, self.sample_weight[rows].astype("float32")

    def _require_no_maps(self, name: str) -> None:
        if self._has_maps:
            raise UserError(
                f"Invalid argument `{name}`. Expected none for maps, which would not move with a "
                "random crop. Received: maps"
            )

    @property
    def _has_maps(self) -> bool:
        return any(map(_are_maps, keras.tree.flatten(self.labels)))

    @property
    def _count(self) -> int:
        """Number of images in an epoch."""
        return len(keras.tree.flatten(self.labels)[0])

    def rows(self, index: int) -> np.ndarray:
        """Returns the positions in `images` of the images of batch `index`, int `(batch,)`."""
        return self._examples(index)

    def _examples(self, index: int) -> np.ndarray:
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
        count = self._count
        self._order = order.permutation(count)
        self._flips = flips.random(count) < 0.5
        self._draw_crops(crops, count)

    def _draw_crops(self, crops: np.random.Generator, count: int) -> None:
        if self.larger_images is not None:
            margin = np.subtract(self.larger_images.shape[1:3], self.images.shape[1:3])
            self._cropped = crops.random(count) < 0.5
            self._corners = crops.integers(0, margin + 1, size=(count, 2))

    def on_epoch_end(self) -> None:
        """Selects the next epoch."""
        self.set_epoch(self.epoch + 1)

    def _images_of(self, rows: np.ndarray) -> np.ndarray:
        images = self.images[rows]
        if self.larger_images is None:
            return images
        crops = _crops(self.larger_images, rows, self._corners[rows], images.shape[1:3])
        return np.where(self._cropped[rows, None, None, None], crops, images)


class RandomCrops(ImageBatches):
    """Batches of random crops of frames, for the training of a model of a `TiledModel`.

    An epoch has as many crops of a frame as fit into it side by side. Frames in a memory-mapped
    array are read when they are needed, so that they need not fit into memory.

    Args:
        frames: uint8 array `(N, H, W, channels)`, such as `np.load(file, mmap_mode="r")`, or a
            sequence of arrays `(H, W, channels)` of any sizes.
        size: Integer, or pair `(height, width)`, size of a crop: that of the model's images.
        labels: Int array `(N,)`, the class of each frame. `None` for an unconditional model.
        batch_size, seed, horizontal_flip: As in `ImageBatches`, for crops instead of images.

    Raises:
        ValueError: If a frame is smaller than a crop, frames and labels differ in number, or a
            frame cannot be of any model, such as one of floats.

    Example:

    ```python
    frames = np.load("frames.npy", mmap_mode="r")          # uint8 (N, 1024, 1024, 1)
    crops = kp.data.RandomCrops(frames, 32, batch_size=16)
    model = kp.PixelCNNPlusPlus((32, 32, 1), num_classes=0)
    model.compile("adam")
    model.fit(crops, epochs=10, shuffle=False, callbacks=[kp.data.SetEpoch(crops)])
    ```
    """

    def __init__(
        self,
        frames: np.ndarray | Sequence[np.ndarray],
        size: int | tuple[int, int],
        labels: np.ndarray | None = None,
        *,
        batch_size: int,
        seed: int = 0,
        horizontal_flip: bool = False,
    ):
        self.size = (size, size) if isinstance(size, int | np.integer) else tuple(size)
        margins = [np.subtract(frame.shape[:2], self.size) for frame in frames]
        if margins and np.min(margins) < 0:
            smallest = frames[int(np.argmin(np.min(margins, axis=1)))].shape
            raise UserError(
                f"Expected frames of at least {self.size}, (height, width). Received: {smallest}"
            )
        counts = [math.prod((margin + self.size) // self.size) for margin in margins]
        self._frames = np.repeat(np.arange(len(frames)), counts)
        self._margins = np.reshape(margins, (-1, 2))[self._frames]
        labels = np.full(len(frames), -1, "int32") if labels is None else labels
        how: dict[str, Any] = {"images": frames, "seed": seed, "horizontal_flip": horizontal_flip}
        super().__init__(labels=labels, batch_size=batch_size, **how)
        self._require_no_maps("frames")
        self.labels = keras.tree.map_structure(lambda part: part[self._frames], self.labels)
        self.set_epoch(0)

    def _checked(self, images: np.ndarray | Sequence[np.ndarray]) -> Any:
        if isinstance(images, np.ndarray):
            return super()._checked(images)
        return [super(RandomCrops, self)._checked(frame[None])[0] for frame in images]

    def rows(self, index: int) -> np.ndarray:
        """Returns the positions in `frames` of the frames of batch `index`, int `(batch,)`."""
        return self._frames[self._examples(index)]

    def _draw_crops(self, crops: np.random.Generator, count: int) -> None:
        self._corners = crops.integers(0, self._margins + 1)

    def _images_of(self, rows: np.ndarray) -> np.ndarray:
        return _crops(self.images, self._frames[rows], self._corners[rows], self.size)


def _as_targets(values: Any) -> np.ndarray:
    """Returns labels as integers, and vectors or maps as finite numbers."""
    require_no_mask(values, "labels")
    array = np.asarray(values)
    if array.dtype.kind in "ui":
        limits = np.iinfo("int32")
        if array.size and not limits.min <= array.min() <= array.max() <= limits.max:
            expected = "integers of at most 32 bits"
            received = f"values from {array.min()} to {array.max()}"
            raise invalid_argument("labels", received, expected)
        return array.astype("int32")
    if array.dtype.kind != "f":
        expected = "integers, or floats for vectors and maps"
        raise invalid_argument("labels", f"dtype={array.dtype}", expected)
    if not np.isfinite(array).all():
        count = len({*np.argwhere(~np.isfinite(array))[:, 0].tolist()})
        raise UserError(
            "Invalid value for argument `labels`. Expected finite numbers: leave out images "
            f"without a vector or map. Received: NaN or infinity for {count:,} images"
        )
    return array


def _are_maps(values: np.ndarray) -> bool:
    return values.ndim >= 4


def _crops(frames: Any, rows: np.ndarray, corners: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    height, width = size
    places = zip(rows, corners, strict=True)
    return np.stack(
        [frames[row][top : top + height, left : left + width] for row, (top, left) in places]
    )


def require_one_for_each(labels: np.ndarray, images: Sized) -> None:
    """Raises a `UserError` unless there is a label for each image."""
    if len(images) != len(labels):
        raise UserError(
            "Invalid value for argument `labels`. Expected one for each image. "
            f"Received: {len(images)} images, {len(labels)} labels"
        )


class SetEpoch(keras.callbacks.Callback):
    """Callback that calls `batches.set_epoch(epoch)` at the beginning of an epoch.

    `fit` informs a `PyDataset` of the end of an epoch, but not of the number of the next one. A
    resumed training would start with the batches of epoch 0, and Keras counts a first look at the
    data as an epoch if the optimizer isn't built yet.

    Args:
        batches: An `ImageBatches`.
    """

    def __init__(self, batches: ImageBatches):
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.batches.set_epoch(epoch)


def array_batches(inputs: dict[str, Nest], batch_size: int, pad: bool) -> list[dict[str, Nest]]:
    """Splits nested arrays `(count, ...)` into ordered batches.

    With `pad`, the last batch is padded with the first rows to a power of two, at most
    `batch_size`, because XLA compiles for each batch size.

    Example:

    >>> [batch["x"].tolist() for batch in array_batches({"x": np.arange(7)}, 4, pad=True)]
    [[0, 1, 2, 3], [4, 5, 6, 0]]
    """
    count, batches = num_images(inputs), []
    for start in range(0, count, batch_size):
        size = min(batch_size, count - start)
        if pad:
            size = min(batch_size, 1 << (size - 1).bit_length())
        rows = slice(start, start + size)  # a view
        if start + size > count:
            rows = np.arange(start, start + size) % count
        batches.append(taken(inputs, rows))
    return batches
