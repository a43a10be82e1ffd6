"""How a network is evaluated: on a whole image, or piece by piece (see `sampling/`)."""


class WholeImage:
    """Evaluates a network on a whole image: every layer pads its own input.

    The network calls its convolutions and its lower resolutions through an evaluation, so that
    the incremental sampler can run the very same network on one row or one pixel at a time.
    """

    position = None  # row and column at the lowest resolution, where a piece is evaluated

    def convolve(self, layer, x):
        """Applies a shifted convolution to `x`."""
        return layer(x)

    def descend(self, level, downsampling, x, lower_levels):
        """Goes down from resolution `level`, evaluates what lies below, and comes back up."""
        return lower_levels(self.convolve(downsampling, x))

    def link(self, features):
        """Returns the features of the other stream that belong to what is being evaluated."""
        return features
