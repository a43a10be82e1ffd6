"""Strategy `adaptive_norm`: normalized features, scaled and shifted by the label."""

import keras
from keras import ops

from keras_pixelcnnpp.conditioning.film_conditioning import FilmConditioning


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class AdaptiveNormConditioning(FilmConditioning):
    """Adaptive layer normalization: `(1 + gamma_y) * LN(h) + beta_y`, both 0 at first.

    The normalization is over the channels of one pixel: statistics over height and width would
    show each pixel the ones after it.

    Args:
        num_classes: Integer, number of classes.
        **kwargs: Arguments of `keras.layers.Layer`.

    Example:

    >>> x, labels = keras.ops.ones((2, 1, 4, 4, 6)), keras.ops.zeros((2, 3), "int32")
    >>> AdaptiveNormConditioning(num_classes=3)(x, labels).shape
    (2, 3, 4, 4, 6)

    Reference:
        de Vries et al. 2017, Modulating early visual processing by language,
        https://arxiv.org/abs/1707.00683; Peebles & Xie 2023, Scalable Diffusion Models with
        Transformers, https://arxiv.org/abs/2212.09748
    """

    EPSILON = 1e-5

    def call(self, x, labels):
        wide = ops.cast(x, "float32")
        # Not ops.moments, whose mean of squares less square of the mean may be negative.
        centred = wide - ops.mean(wide, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
        normalized = centred * ops.rsqrt(variance + self.EPSILON)
        return super().call(ops.cast(normalized, x.dtype), labels)
