"""A 1×1 convolution ("network in network") with weight normalization."""

import keras
from keras import ops

from keras_pixelcnnpp.layers.weight_normalized import WeightNormalized


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class WeightNormalizedDense(WeightNormalized):
    """Maps the channels of each pixel: `(..., channels)` to `(..., filters)`.

    Args:
        filters: Integer, number of output channels.
        initial_scale: Float, standard deviation of the outputs after data-dependent
            initialization.
        **kwargs: Arguments of `keras.layers.Layer`.

    Example:

    >>> WeightNormalizedDense(8)(keras.ops.ones((2, 4, 4, 3))).shape
    (2, 4, 4, 8)
    """

    def build(self, input_shape):
        self.add_kernel((input_shape[-1], self.filters))

    def convolve(self, x):
        return ops.matmul(x, self.kernel())

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)
