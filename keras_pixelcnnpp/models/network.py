"""What every causal network of the family has, and the sampler relies on."""

import keras
from keras import ops

from keras_pixelcnnpp.conditioning import PLACES, build_conditioning, parse_conditioning
from keras_pixelcnnpp.layers.evaluation import WholeImage


class AutoregressiveNetwork(keras.layers.Layer):
    """Maps a scaled image and candidate labels to the parameters of each pixel's distribution.

    The parameters at pixel `(i, j)` depend on the pixels before it in raster order and on the
    label. A subclass says how, in two parts, which the sampler runs row by row and pixel by pixel
    with evaluations of its own:

    - `see_above(pixels, labels, evaluation, training)`: features of all that a pixel may know of
      the rows above, a dict (or a nest of them) of tensors; empty if there is no such stream;
    - `see_above_left(pixels, above, labels, evaluation, training)`: the parameters, from these and
      the pixels to the left.

    What these two convolve through the evaluation, `row_convolutions()` and `pixel_convolutions()`
    list, each with its resolution, and of the latter first the one that is given the pixels;
    `row_upsamplings` and `pixel_upsamplings` the way back up, highest resolution first.

    Args:
        num_parameters: Integer, number of parameters of a pixel.
        conditioning: Names of the label strategies, joined by `+`.
        num_classes: Integer, number of classes (0 for none).
        groups: Integer, in how many groups of channels sub-pixels see the earlier ones of their
            own pixel: after each evaluation of a pixel one more of them is final.
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
    row_upsamplings = ()
    pixel_upsamplings = ()
    places = PLACES  # where labels can enter

    def __init__(self, num_parameters, conditioning="none", num_classes=0, groups=1, **kwargs):
        super().__init__(**kwargs)
        parse_conditioning(conditioning, self.places, groups)
        self.num_parameters = num_parameters
        self.conditioning = conditioning
        self.num_classes = num_classes
        self.groups = self.evaluations_per_pixel = groups

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
        """The network's input from a scaled image, or a part of one."""
        return ops.cast(image, self.compute_dtype)

    def see_above(self, pixels, labels, evaluation=WholeImage(), training=False):
        """Evaluates the stream that runs row by row."""
        return {}

    def row_convolutions(self):
        """Pairs of each convolution that `see_above` evaluates and its resolution."""
        return []

    def remember(self, pixels, evaluation):
        """Tells the evaluation of one pixel what the pixel became, where a layer sees that."""
