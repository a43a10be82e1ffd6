"""The dedicated classifier to compare with: a small residual network, and its random shifts."""

import types
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from keras_pixelcnnpp.backend import (
    Shape,
    Tensor,
    compiled,
    compiles_each_size,
    in_batches,
    with_shape,
)
from keras_pixelcnnpp.checks import (
    checked_image_shape,
    checked_images,
    plain,
    require_integer,
    require_number,
)
from keras_pixelcnnpp.data.batches import array_batches
from keras_pixelcnnpp.models.image_model import ImageModel
from keras_pixelcnnpp.models.loss import MeanOverBatch


class RandomShift(keras.layers.Layer):
    """Shifts each image by its own random number of whole pixels, in training only.

    What comes into view repeats the border. This is a padded random crop; Keras's `RandomCrop`
    crops a whole batch alike, and its `RandomTranslation` can't be compiled.

    `rate` is the largest shift as a share of height and of width, rounded.
    """

    def __init__(self, rate: float = 0.125, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.rate = rate
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, images: Tensor, training: bool = False) -> Tensor:
        if not training or self.rate == 0:
            return images
        _, height, width, _ = images.shape
        # A shift is a matrix product with 0s and 1s: no gather, and exact.
        rows = self._shifts(images, height)
        columns = self._shifts(images, width)
        images = ops.einsum("bih,bhwc->biwc", rows, images)
        return ops.einsum("bjw,biwc->bijc", columns, images)

    def _shifts(self, images: Tensor, size: int) -> Tensor:
        """One-hot `(batch, size, size)`: which old position each new one shows."""
        largest = round(self.rate * size)
        shape = (ops.shape(images)[0], 1)
        shift = keras.random.randint(shape, -largest, largest + 1, seed=self.seed_generator)
        positions = ops.clip(ops.arange(size, dtype="int32") + shift, 0, size - 1)
        return ops.one_hot(positions, size, dtype=images.dtype)


# Keras's 0.99 takes hundreds of steps to forget the initial values: too slow for small data.
BATCH_NORM_MOMENTUM = 0.95


class ResidualUnit(layers.Layer):
    """Pre-activation residual unit: twice batch normalization, ReLU, 3×3 convolution.

    Reference:
        He et al. 2016, Identity Mappings in Deep Residual Networks,
        https://arxiv.org/abs/1603.05027
    """

    def __init__(self, filters: int, strides: int = 1, dropout_rate: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.filters = filters
        self.strides = strides
        dtype = self.dtype_policy
        self.norm_1 = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, dtype=dtype)
        self.conv_1 = self._conv(3, strides)
        self.norm_2 = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, dtype=dtype)
        self.dropout = layers.Dropout(dropout_rate, dtype=dtype)
        self.conv_2 = self._conv(3, 1)
        self.shortcut: layers.Conv2D | None = None

    def _conv(self, kernel_size: int, strides: int) -> layers.Conv2D:
        return layers.Conv2D(
            self.filters,
            kernel_size,
            strides,
            padding="same",
            data_format="channels_last",
            use_bias=False,
            kernel_initializer="he_normal",
            dtype=self.dtype_policy,
        )

    def build(self, input_shape: Shape) -> None:
        inner_shape = self.compute_output_shape(input_shape)
        self.norm_1.build(input_shape)
        self.conv_1.build(input_shape)
        self.norm_2.build(inner_shape)
        self.conv_2.build(inner_shape)
        if inner_shape != tuple(input_shape):
            self.shortcut = self._conv(1, self.strides)
            self.shortcut.build(input_shape)

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        h = ops.relu(self.norm_1(x, training=training))
        # The shortcut starts after the activation where it is a convolution, as in the paper.
        x = x if self.shortcut is None else self.shortcut(h)
        h = ops.relu(self.norm_2(self.conv_1(h), training=training))
        return x + self.conv_2(self.dropout(h, training=training))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, _ = input_shape
        return batch, -(-height // self.strides), -(-width // self.strides), self.filters


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class BaselineCNN(ImageModel):
    """Residual classifier for small images, with the usual augmentations built in.

    `compile(optimizer)` is enough: the loss is then the cross-entropy in nats, in training with
    label smoothing, and the accuracy is measured. Or compile it as any Keras classifier, such as
    with `loss="sparse_categorical_crossentropy"`.

    Args:
        image_shape: Triple of integers `(height, width, channels)`.
        num_classes: Integer of at least 2.
        filters: Integer, the channels of the first stage. Two more stages each halve height and
            width, and have 4 and 8 times as many channels; stages that would leave less than 4
            pixels of the shorter side are left out. Or a sequence of integers, one for each stage.
        num_blocks: Integer, residual units per stage.
        dropout_rate: Float in [0, 1), dropout within the residual units and before the softmax.
        label_smoothing: Float in [0, 1), share of the training target spread over all classes.
        horizontal_flip: Boolean, whether training mirrors half of the images.
        shift_rate: Float in [0, 1), by how much of height and width training shifts images at
            most.
        **kwargs: Arguments of `keras.Model`.

    Call arguments:
        images: uint8 `(batch, height, width, channels)`.
        training: Boolean, whether augmentation, dropout and batch statistics are on.

    Returns:
        Class probabilities `(batch, num_classes)`, float32.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    ```python
    model = BaselineCNN(image_shape=(32, 32, 3), num_classes=4, horizontal_flip=True)
    model.compile("adam")
    model.fit(images, labels, epochs=25, validation_data=(held_out, held_out_labels))
    model.predict(images)      # (N, 4)
    ```

    Reference:
        He et al. 2016, Identity Mappings in Deep Residual Networks,
        https://arxiv.org/abs/1603.05027
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        filters: int | Sequence[int] = 24,
        num_blocks: int = 1,
        dropout_rate: float = 0.1,
        label_smoothing: float = 0.05,
        horizontal_flip: bool = False,
        shift_rate: float = 0.125,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.image_shape = checked_image_shape(image_shape)
        self.num_classes = plain(num_classes)
        self.filters = plain(filters)
        self.num_blocks = plain(num_blocks)
        self.dropout_rate = plain(dropout_rate)
        self.label_smoothing = plain(label_smoothing)
        self.horizontal_flip = horizontal_flip
        self.shift_rate = plain(shift_rate)
        require_integer("num_classes", num_classes, low=2)
        for width in (self.filters or (0,)) if isinstance(self.filters, tuple) else (self.filters,):
            require_integer("filters", width)
        require_integer("num_blocks", num_blocks, high=1000)
        for name in ("dropout_rate", "label_smoothing", "shift_rate"):
            require_number(name, getattr(self, name), "[0, 1)")

        dtype = self.dtype_policy
        self.scale = layers.Rescaling(2 / 255, offset=-1, name="scale", dtype=dtype)
        self.flip = None
        if horizontal_flip:
            self.flip = layers.RandomFlip("horizontal", name="flip", dtype=dtype)
        self.shift = RandomShift(self.shift_rate, name="shift", dtype=dtype)
        self.stem = layers.Conv2D(
            self.widths[0],
            3,
            padding="same",
            data_format="channels_last",
            use_bias=False,
            kernel_initializer="he_normal",
            dtype=dtype,
        )
        self.units = [
            ResidualUnit(width, 2 if stage and not block else 1, self.dropout_rate, dtype=dtype)
            for stage, width in enumerate(self.widths)
            for block in range(self.num_blocks)
        ]
        self.norm = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, dtype=dtype)
        self.pool = layers.GlobalAveragePooling2D("channels_last", dtype=dtype)
        self.dropout = layers.Dropout(self.dropout_rate, dtype=dtype)
        # float32 under any policy: a softmax in half precision would cost accuracy.
        self.probabilities = layers.Dense(
            self.num_classes, activation="softmax", dtype="float32", name="probabilities"
        )
        # Compiled, by whether it is with XLA; in a namespace, as Keras would save a dict.
        self._compiled_functions = types.SimpleNamespace(classifiers={})
        self.build((None, *self.image_shape))

    @property
    def widths(self) -> tuple[int, ...]:
        """The channels of each stage."""
        if isinstance(self.filters, tuple):
            return self.filters
        sizes, shorter = {1: 1, 8: 4, 16: 8}, min(self.image_shape[:2])
        return tuple(self.filters * times for size, times in sizes.items() if shorter >= size)

    def build(self, input_shape: Any) -> None:
        shape = (None, *self.image_shape)
        self.stem.build(shape)
        shape = self.stem.compute_output_shape(shape)
        for unit in self.units:
            unit.build(shape)
            shape = unit.compute_output_shape(shape)
        self.norm.build(shape)
        self.probabilities.build((None, shape[-1]))

    def call(self, images: Tensor, training: bool = False) -> Tensor:
        x = self.features(images, training=training)
        probabilities = self.probabilities(self.dropout(x, training=training))
        return self.nan_where_invalid(images, probabilities)

    def features(self, images: Tensor, training: bool = False) -> Tensor:
        """What the probabilities are made of: a tensor `(batch, widths[-1])`, for any backend.

        Args:
            images: As for a call.
            training: Boolean, as for a call.
        """
        self.require_images(images)
        x = self.scale(with_shape(images, self.image_shape))
        if self.flip is not None:
            x = self.flip(x, training=training)
        x = self.stem(self.shift(x, training=training))
        for unit in self.units:
            x = unit(x, training=training)
        return self.pool(ops.relu(self.norm(x, training=training)))

    def compile(self, optimizer: Any = "rmsprop", loss: Any = None, **kwargs: Any) -> None:
        """Configures training as `keras.Model.compile`.

        Args:
            optimizer: An optimizer, or its name.
            loss: A loss of labels `(batch,)` and probabilities; `None` for the model's own, with
                the accuracy unless other metrics are given.
            **kwargs: Other arguments of `keras.Model.compile`.
        """
        own = loss is None and not kwargs.get("metrics")
        if own:
            kwargs.setdefault("weighted_metrics", ["accuracy"])
        super().compile(optimizer, loss, **kwargs)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
        **kwargs: Any,
    ) -> Tensor:
        """Cross-entropy in nats, unless another loss was compiled; smoothing only in training."""
        # Keras's own needs a compiled loss, or one of regularizers and `add_loss`.
        given = self.loss is not None or self.losses
        loss = super().compute_loss(x, y, y_pred, sample_weight, training) if given else 0.0
        if self.loss is not None:
            return loss
        labels, valid = self.targets(y, lowest=0)
        smoothing = self.label_smoothing if training else 0.0
        targets = ops.one_hot(labels, self.num_classes)
        targets = (1 - smoothing) * targets + smoothing / self.num_classes
        # Not clipped at Keras's 1e-7, below which there would be no gradient.
        losses = -ops.sum(targets * ops.log(ops.maximum(y_pred, 1e-37)), axis=-1)
        losses = ops.where(valid, losses, float("nan"))
        return loss + MeanOverBatch()(losses, losses, sample_weight)

    def class_probabilities(
        self, images: np.ndarray, batch_size: int = 256, verbose: int | str = 0
    ) -> np.ndarray:
        """p(y | x) of each image.

        Args:
            images: uint8 `(N, height, width, channels)`.
            batch_size: Integer, images at a time.
            verbose: As in `keras.Model.predict`.

        Returns:
            Float32 array `(N, num_classes)`; rows sum to 1.

        Raises:
            ValueError: If the images don't fit the model.
        """
        images = checked_images(images, self.image_shape, self.num_levels)
        if len(images) == 0:
            return np.zeros((0, self.num_classes), "float32")
        xla = bool(self.jit_compile)
        batches = array_batches({"images": images}, batch_size, pad=compiles_each_size(xla))
        classifiers = self._compiled_functions.classifiers
        if xla not in classifiers:
            step = compiled(lambda batch: self(**batch), self.variables, *batches[0], xla=xla)
            classifiers.setdefault(xla, step)  # of two threads, the first one's
        return in_batches(classifiers[xla], batches, verbose)[: len(images)]
