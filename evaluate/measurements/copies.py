"""Declares `evaluate copies`."""

from keras_pixelcnnpp.evaluate.measurements import OfSamples


class Copies(OfSamples):
    """Find the training images nearest to samples, which show whether the model copies them.

    Distances are those of the pixels, and of features of the run's baseline CNN. Writes
    copies.json and nearest_neighbors.png.
    """

    name = "copies"
    title = "Nearest neighbors"
    place = 2
    writes = ("nearest_neighbors.png",)


MEASUREMENT = Copies()
