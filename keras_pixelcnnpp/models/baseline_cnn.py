"""Baseline classifier: a small residual network with built-in augmentation."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from keras_pixelcnnpp.conditions import label_targets
from keras_pixelcnnpp.models.image_model import ImageModel
from keras_pixelcnnpp.models.metrics import MeanOverBatch
from keras_pixelcnnpp.utils.backend import SeedGenerator, Shape, Tensor, with_shape
from keras_pixelcnnpp.utils.checks import (
    MAX_BLOCKS,
    MAX_FILTERS,
    checked_image_shape,
    plain,
    require_integer,
    require_number,
)
from keras_pixelcnnpp.utils.distribution import has_replicas


class RandomShift(keras.layers.Layer):
    """Shifts each image by a random number of whole pixels in training, and repeats the border.

    This is a padded random crop. Keras's `RandomCrop` uses one crop for a whole batch, and its
    `RandomTranslation` can't be compiled. `rate` is the largest shift as a fraction of height and
    width.
    """

    def __init__(self, rate: float = 0.125, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.rate = rate
        self.seed_generator = SeedGenerator(seed)

    def call(self, images: Tensor, training: bool = False) -> Tensor:
        if not training or self.rate == 0:
            return images
        _, height, width, _ = images.shape
        # A matrix product with 0s and 1s is exact and needs no gather.
        rows = self._shifts(images, height)
        columns = self._shifts(images, width)
        images = ops.einsum("bih,bhwc->biwc", rows, images)
        return ops.einsum("bjw,biwc->bijc", columns, images)

    def _shifts(self, images: Tensor, size: int) -> Tensor:
        """Returns the old position of each new one, one-hot `(batch, size, size)`."""
        largest = round(self.rate * size)
        shape = (ops.shape(images)[0], 1)
        shift = keras.random.randint(shape, -largest, largest + 1, seed=self.seed_generator)
        positions = ops.clip(ops.arange(size, dtype="int32") + shift, 0, size - 1)
        return ops.one_hot(positions, size, dtype=images.dtype)


# With Keras's 0.99, the initial values persist for hundreds of steps: too long for small data sets.
BATCH_NORM_MOMENTUM = 0.95


def convolution(filters: int, kernel_size: int, strides: int, dtype: Any) -> layers.Conv2D:
    """Creates a convolution without bias."""
    return layers.Conv2D(
        filters,
        kernel_size,
        strides,
        padding="same",
        data_format="channels_last",
        use_bias=False,
        kernel_initializer="he_normal",
        dtype=dtype,
    )


def batch_normalization(dtype: Any) -> layers.BatchNormalization:
    """Creates a batch normalization over the images of a batch on all devices."""
    how = {"momentum": BATCH_NORM_MOMENTUM, "synchronized": has_replicas()}
    return layers.BatchNormalization(**how, dtype=dtype)


class ResidualUnit(layers.Layer):
    """Pre-activation residual unit: batch normalization, ReLU and 3×3 convolution, twice.

    Reference:
        He et al. 2016, Identity Mappings in Deep Residual Networks,
        https://arxiv.org/abs/1603.05027
    """

    def __init__(self, filters: int, strides: int = 1, dropout_rate: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.filters = filters
        self.strides = strides
        dtype = self.dtype_policy
        self.norm_1 = batch_normalization(dtype)
        self.conv_1 = convolution(filters, 3, strides, dtype)
        self.norm_2 = batch_normalization(dtype)
        self.dropout = layers.Dropout(dropout_rate, dtype=dtype)
        self.conv_2 = convolution(filters, 3, 1, dtype)
        self.shortcut: layers.Conv2D | None = None

    def build(self, input_shape: Shape) -> None:
        inner_shape = self.compute_output_shape(input_shape)
        self.norm_1.build(input_shape)
        self.conv_1.build(input_shape)
        self.norm_2.build(inner_shape)
        self.dropout.build(inner_shape)
        self.conv_2.build(inner_shape)
        if inner_shape != tuple(input_shape):
            self.shortcut = convolution(self.filters, 1, 1, self.dtype_policy)
            self.shortcut.build(input_shape)

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        h = ops.relu(self.norm_1(x, training=training))
        if self.shortcut is not None:
            # As in the paper, a convolutional shortcut is applied after the activation. Pixels are
            # chosen before it, because oneDNN writes out of bounds in the gradient of 1×1 kernels
            # with strides, if the number of channels is not a multiple of 8 (torch 2.13, AVX2).
            x = self.shortcut(h[:, :: self.strides, :: self.strides])
        h = ops.relu(self.norm_2(self.conv_1(h), training=training))
        return x + self.conv_2(self.dropout(h, training=training))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, _ = input_shape
        return batch, -(-height // self.strides), -(-width // self.strides), self.filters


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class BaselineCNN(ImageModel):
    """Residual CNN classifier for small images, with built-in augmentation.

    By default, `compile(optimizer)` uses the cross-entropy in nats, with label smoothing in
    training, as the loss, and accuracy as a metric. Other losses work as for any Keras classifier,
    such as `loss="sparse_categorical_crossentropy"`.

    Args:
        image_shape: Triple of integers `(height, width, channels)`.
        num_classes: Integer >= 2, number of classes.
        filters: Sequence of integers, number of channels of each stage. Each stage after the first
            halves height and width. An integer is the number of channels of the first of up to
            three stages. The others have 4 and 8 times as many channels, and are left out if the
            shorter side would have less than 4 pixels.
        num_blocks: Integer, number of residual units per stage.
        dropout_rate: Float in [0, 1), dropout within the residual units and before the softmax.
        label_smoothing: Float in [0, 1), part of the training target that is uniform over classes.
        horizontal_flip: Boolean, whether training mirrors a random half of the images.
        shift_rate: Float in [0, 1), largest random shift as a fraction of height and width.
        **kwargs: Arguments of `keras.Model`.

    Call arguments:
        images: uint8 tensor `(batch, height, width, channels)`.
        training: Boolean, whether augmentation, dropout and batch statistics are active.

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

    title = "Baseline CNN"

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
            require_integer("filters", width, high=MAX_FILTERS)
        require_integer("num_blocks", num_blocks, high=MAX_BLOCKS)
        for name in ("dropout_rate", "label_smoothing", "shift_rate"):
            require_number(name, getattr(self, name), "[0, 1)")

        dtype = self.dtype_policy
        self.scale = layers.Rescaling(2 / 255, offset=-1, name="scale", dtype=dtype)
        self.flip = None
        if horizontal_flip:
            self.flip = layers.RandomFlip("horizontal", name="flip", dtype=dtype)
        self.shift = RandomShift(self.shift_rate, name="shift", dtype=dtype)
        self.stem = convolution(self.widths[0], 3, 1, dtype)
        self.units = [
            ResidualUnit(width, 2 if stage and not block else 1, self.dropout_rate, dtype=dtype)
            for stage, width in enumerate(self.widths)
            for block in range(self.num_blocks)
        ]
        self.norm = batch_normalization(dtype)
        self.pool = layers.GlobalAveragePooling2D("channels_last", dtype=dtype)
        self.dropout = layers.Dropout(self.dropout_rate, dtype=dtype)
        # float32 under any policy, because a softmax in half precision would reduce accuracy.
        self.probabilities = layers.Dense(
            self.num_classes, activation="softmax", dtype="float32", name="probabilities"
        )
        self.build((None, *self.image_shape))

    @property
    def widths(self) -> tuple[int, ...]:
        """Number of channels of each stage."""
        if isinstance(self.filters, tuple):
            return self.filters
        sizes, shorter = {1: 1, 8: 4, 16: 8}, min(self.image_shape[:2])
        return tuple(self.filters * times for size, times in sizes.items() if shorter >= size)

    def build(self, input_shape: Any) -> None:
        shape = (None, *self.image_shape)
        # Also those without weights: if one is not built, Keras calls the model before the first
        # step, which fails for a batch that is divided between replicas of TensorFlow.
        for layer in filter(None, (self.scale, self.flip, self.shift, self.stem)):
            layer.build(shape)
        shape = self.stem.compute_output_shape(shape)
        for unit in self.units:
            unit.build(shape)
            shape = unit.compute_output_shape(shape)
        self.norm.build(shape)
        self.pool.build(shape)
        self.dropout.build((None, shape[-1]))
        self.probabilities.build((None, shape[-1]))

    def call(self, images: Tensor, training: bool = False) -> Tensor:
        x = self.features(images, training=training)
        probabilities = self.probabilities(self.dropout(x, training=training))
        return self.nan_where_invalid(images, probabilities)

    def features(self, images: Tensor, training: bool = False) -> Tensor:
        """Returns the features before the classification layer: a tensor `(batch, widths[-1])`.

        Args:
            images: Integer tensor `(batch, height, width, channels)`, 0 to 255.
            training: Boolean, whether images are shifted and flipped at random, and batch
                normalization uses the statistics of the batch.
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
        """Configures training, like `keras.Model.compile`.

        Args:
            optimizer: An optimizer, or its name.
            loss: A loss of labels `(batch,)` and probabilities, or `None` for the model's own loss.
                The latter adds the accuracy, unless other metrics are given.
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
        """Computes the compiled loss, by default the cross-entropy in nats.

        Label smoothing is used only in training.
        """
        # Keras's method needs a compiled loss, or losses from regularizers and `add_loss`.
        given = self.loss is not None or self.losses
        loss = super().compute_loss(x, y, y_pred, sample_weight, training) if given else 0.0
        if self.loss is not None:
            return loss
        labels, valid = label_targets(y, self.num_classes, lowest=0)
        smoothing = self.label_smoothing if training else 0.0
        targets = ops.one_hot(labels, self.num_classes)
        targets = (1 - smoothing) * targets + smoothing / self.num_classes
        # Keras would clip at 1e-7, where the gradient vanishes.
        losses = -ops.sum(targets * ops.log(ops.maximum(y_pred, 1e-37)), axis=-1)
        losses = ops.where(valid, losses, float("nan"))
        return loss + MeanOverBatch()(losses, losses, sample_weight)

    def class_probabilities(
        self, images: np.ndarray, batch_size: int = 256, verbose: int | str = 0
    ) -> np.ndarray:
        """Returns `predict(images, batch_size, verbose)`, as `AutoregressiveModel` has it.

        Args:
            images: uint8 array `(N, height, width, channels)`, 0 to 255.
            batch_size: Integer, as in `predict`.
            verbose: 0, 1 (progress bar) or `"auto"`, which is 1 at a terminal for several batches.

        Returns:
            Float32 array `(N, num_classes)`.
        """
        return self.predict(images, batch_size, verbose)
