"""Learned embedding of levels that have no order, the codes of an image."""

from typing import Any

import keras
from keras import ops

from keras_pixelcnnpp.utils.backend import Shape, Tensor
from keras_pixelcnnpp.utils.indexing import look_up

MAX_WIDTH = 64  # a one-hot encoding, which is as wide as the number of codes, is slower


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class LevelEmbedding(keras.layers.Layer):
    """Replaces each level of an image by a learned vector, of which each channel has its own.

    The vectors of a pixel's channels follow each other, so that channel groups stay contiguous.

    Args:
        num_levels: Integer, number of levels.
        channels: Integer, number of channels of an image.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        levels: Tensor of whole numbers `(..., channels)`.

    Returns:
        Float32 tensor `(..., channels * min(num_levels, 64))`.

    Example:

    >>> LevelEmbedding(num_levels=512, channels=1)(keras.ops.zeros((2, 7, 7, 1), "int32")).shape
    (2, 7, 7, 64)
    """

    has_tables = True

    def __init__(self, num_levels: int, channels: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_levels = num_levels
        self.channels = channels
        self.width = min(num_levels, MAX_WIDTH)
        self.table = self.add_weight(
            name="table",
            shape=(channels * num_levels, self.width),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
        )
        self.built = True

    def call(self, levels: Tensor) -> Tensor:
        rows = ops.cast(levels, "int32")
        if self.channels > 1:
            rows = rows + self.num_levels * ops.arange(self.channels, dtype="int32")
        vectors = look_up(ops.convert_to_tensor(self.table), rows)
        return ops.reshape(vectors, (-1, *self.compute_output_shape(levels.shape)[1:]))

    def compute_output_shape(self, levels_shape: Shape) -> Shape:
        return (*levels_shape[:-1], self.channels * self.width)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "num_levels": self.num_levels,
            "channels": self.channels,
        }
