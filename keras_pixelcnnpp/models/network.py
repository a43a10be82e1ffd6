"""What every causal network of the family has, and the sampler relies on."""

import keras
from keras import ops

from keras_pixelcnnpp.conditioning import build_conditioning
from keras_pixelcnnpp.layers.evaluation import WholeImage


class AutoregressiveNetwork(keras.layers.Layer):
    """Maps a scaled picture and candidate labels to the parameters of each pixel's distribution.

    The parameters at pixel `(i, j)` depend on the pixels before it in raster order and on the
    label. A subclass says how, in two parts, which the sampler runs row by row and pixel by pixel
    with evaluations of its own:

    - `see_above(pixels, labels, evaluation, training)`: features of all that a pixel may know of
      the rows above, a dict (or a nest of them) of tensors; empty if there is no such stream;
    - `see_above_left(pixels, above, labels, evaluation, training)`: the parameters, from these and
      the pixels to the left.

    What these two convolve through the evaluation, `row_convolutions` and `pixel_convolutions`
    list, each with its resolution; `row_upsamplings` and `pixel_upsamplings` the way back up.

    Args:
        num_parameters: Integer, number of parameters of a pixel.
        conditioning: Names of the label strategies, joined by `+`.
        num_classes: Integer, number of classes (0 for none).
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        image: Float tensor `(batch, 1, height, width, channels)`, scaled to [-1, 1].
        labels: Int tensor `(batch, candidates)`, or `None`.
        training: Boolean, whether dropout is active.

    Returns:
        Float32 tensor `(batch, candidates, height, width, num_parameters)`; `candidates` stays 1
        if no strategy lets the labels in.
    """

    num_resolutions = 1
    # Where sub-pixels see the earlier ones of their own pixel, that many: after each, one more of
    # them is final.
    evaluations_per_pixel = 1
    row_upsamplings = ()
    pixel_upsamplings = ()

    def __init__(self, num_parameters, conditioning="none", num_classes=0, **kwargs):
        super().__init__(**kwargs)
        self.num_parameters = num_parameters
        self.conditioning = conditioning
        self.num_classes = num_classes

    def conditioned(self, place, prefix=""):
        """The layers of the label strategies that act at a place."""
        return build_conditioning(
            self.conditioning, place, self.num_classes, prefix, self.dtype_policy
        )

    def call(self, image, labels=None, training=False):
        pixels = self.to_pixels(image, labels)
        above = self.see_above(pixels, labels, training=training)
        return self.see_above_left(pixels, above, labels, training=training)

    def to_pixels(self, image, labels):
        """The network's input from a scaled picture, or a part of one."""
        return ops.cast(image, self.compute_dtype)

    def see_above(self, pixels, labels, evaluation=WholeImage(), training=False):
        """Evaluates the stream that runs row by row."""
        return {}

    def see_above_left(self, pixels, above, labels, evaluation=WholeImage(), training=False):
        """Evaluates the stream that runs pixel by pixel, and the parameters."""
        raise NotImplementedError(f"{type(self).__name__} must evaluate its pixels.")

    def remember(self, pixels, evaluation):
        """Tells the evaluation of one pixel what the pixel became, where a layer sees that."""

    def row_convolutions(self):
        """Pairs of each convolution that `see_above` evaluates and its resolution."""
        return []

    def pixel_convolutions(self):
        """Pairs of each convolution that `see_above_left` evaluates and its resolution.

        The first is the one that is given the pixels.
        """
        raise NotImplementedError(f"{type(self).__name__} must list its convolutions.")

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "num_parameters": self.num_parameters,
                "conditioning": self.conditioning,
                "num_classes": self.num_classes,
            }
        )
        return config
