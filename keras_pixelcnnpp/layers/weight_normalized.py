"""Weight normalization, which Keras 3 does not have."""

import contextlib

import keras
from keras import ops

from keras_pixelcnnpp.checks import require_integer


class WeightNormalized(keras.layers.Layer):
    """Base of the layers whose kernel is a direction times a gain per output channel.

    The kernel is `gain * direction / ||direction||`, the norm taken over everything but the
    output channel (Salimans & Kingma 2016, eq. 2). A subclass says in `convolve(x)` how the kernel
    meets an already padded input, without the bias.

    Data-dependent initialization (ibid., section 3): inside `data_dependent_initialization()`,
    an eager call sets gain and bias so that the outputs of that very batch have mean 0 and
    standard deviation `initial_scale` in each channel.

    Reference:
        Salimans & Kingma 2016, Weight Normalization, https://arxiv.org/abs/1602.07868
    """

    # A channel that is constant on the initial batch would get an unbounded gain.
    SMALLEST_DEVIATION = 1e-2

    def __init__(self, filters, initial_scale=1.0, **kwargs):
        super().__init__(**kwargs)
        require_integer("filters", filters)
        self.filters = filters
        self.initial_scale = initial_scale
        self.initializing = False
        self._fixed_kernel = None

    def add_kernel(self, shape):
        """Creates direction, gain and bias for a kernel of `shape`, output channels last."""
        # No autocast: under mixed precision the norm would be that of a rounded direction.
        self.direction = self.add_weight(
            name="direction",
            shape=shape,
            initializer=keras.initializers.RandomNormal(stddev=0.05),
            autocast=False,
        )
        self.gain = self.add_weight(
            name="gain",
            shape=(1,) * (len(shape) - 1) + (self.filters,),
            initializer=keras.initializers.Constant(self.initial_scale),
            autocast=False,
        )
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def kernel(self):
        """Returns the normalized kernel, in the compute dtype."""
        if self._fixed_kernel is not None:
            return self._fixed_kernel
        return ops.cast(self.normalized(self.direction), self.compute_dtype)

    def normalized(self, direction):
        """The direction, scaled to the length that the gain says."""
        axes = tuple(range(len(direction.shape) - 1))
        squares = ops.sum(ops.square(direction), axis=axes, keepdims=True)
        return direction * (self.gain * ops.rsqrt(squares))

    def call(self, x):
        outputs = self.convolve(x)
        if self.initializing:
            outputs = self._initialize(outputs)
        return outputs + self.bias

    def _initialize(self, outputs):
        """Sets gain and bias from the outputs of one batch; returns the rescaled outputs."""
        outputs = ops.cast(outputs, "float32")
        axes = list(range(len(outputs.shape) - 1))
        mean = ops.mean(outputs, axis=axes)
        # Not ops.moments, whose mean of squares less square of the mean may be negative.
        variance = ops.mean(ops.square(outputs - mean), axis=axes)
        deviation = ops.maximum(ops.sqrt(variance), self.SMALLEST_DEVIATION)
        factor = self.initial_scale / deviation
        self.gain.assign(self.gain * ops.reshape(factor, self.gain.shape))
        self.bias.assign(-mean * factor)
        return ops.cast(outputs * factor, self.compute_dtype)


def weight_normalized_layers(layer):
    """Lists the weight-normalized layers inside `layer` (those that are in use)."""
    layers = layer._flatten_layers()
    return [inner for inner in layers if isinstance(inner, WeightNormalized) and inner.built]


@contextlib.contextmanager
def data_dependent_initialization(layer):
    """While open, eager calls of `layer` initialize the weight normalization inside it."""
    layers = weight_normalized_layers(layer)
    for inner in layers:
        inner.initializing = True
    try:
        yield
    finally:
        for inner in layers:
            inner.initializing = False


def normalized_kernels(layer):
    """Lists the kernels inside `layer`, for `fixed_kernels`."""
    return [inner.kernel() for inner in weight_normalized_layers(layer)]


@contextlib.contextmanager
def fixed_kernels(layer, kernels):
    """While open, the layers inside `layer` use these kernels, its `normalized_kernels`.

    A loop that calls the layers per pixel would otherwise normalize them per pixel.
    """
    layers = weight_normalized_layers(layer)
    for inner, kernel in zip(layers, kernels, strict=True):
        inner._fixed_kernel = kernel
    try:
        yield
    finally:
        for inner in layers:
            inner._fixed_kernel = None


def map_channels(x, matrix):
    """`(batch, ..., channels)` times `(channels, filters)`: `(batch, ..., filters)`."""
    shape = (-1, *x.shape[1:-1], matrix.shape[-1])
    if None in shape:
        return ops.matmul(x, matrix)
    # Of an unknown batch, TensorFlow makes some 25 operations of the other product, most of which
    # compute shapes: a third of the graph that draws.
    return ops.reshape(ops.matmul(ops.reshape(x, (-1, x.shape[-1])), matrix), shape)


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
        return map_channels(x, self.kernel())

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)
