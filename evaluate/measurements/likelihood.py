"""Declares `evaluate likelihood`."""

from dataclasses import dataclass

from keras_pixelcnnpp.commands.helpers import option
from keras_pixelcnnpp.evaluate.measurements import BatchOptions, Measurement


@dataclass(frozen=True, kw_only=True)
class LikelihoodOptions(BatchOptions):
    """Options of `evaluate likelihood`."""

    count: int = option("Maximum number of images.", 500, min=2)
    seed: int = option("Random seed.", 0, min=0)


class Likelihood(Measurement):
    """Show where and how the model differs from images.

    Writes likelihood.json and likelihood.png: bits/dim of p(x); the probability integral transform
    of the sub-pixels and the coverage of their 50 and 90% intervals; standardized surprisal of the
    images; and a map of the correlation between neighboring residuals. A text interprets them.
    """

    name = "likelihood"
    title = "Likelihood"
    place = 5
    options = LikelihoodOptions
    takes_vectors = True
    writes = ("likelihood.png",)


MEASUREMENT = Likelihood()
