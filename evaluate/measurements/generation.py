"""Declares `evaluate generation`."""

from dataclasses import dataclass

from keras_pixelcnnpp.commands.helpers import option
from keras_pixelcnnpp.evaluate.measurements import OfSamples, SampledOptions


@dataclass(frozen=True, kw_only=True)
class GenerationOptions(SampledOptions):
    """Options of `evaluate generation`."""

    samples_only: bool = option("Do not compare the samples with real images.", False)
    temperatures: str = option(
        "Temperatures at which further images are sampled, comma-separated; empty for none.",
        "0.7,0.85,1,1.15",
    )
    completions: int = option("Number of completions of each real image; 0 for none.", 4, min=0)


class Generation(OfSamples):
    """Sample images and compare them with real images.

    Writes the samples to the folder samples (Class0_image_01.png and so on), which is in the run
    folder, and generation.json, samples.png, samples_Class0.png and so on, temperatures.png and
    completions.png. The metrics compare features of the run's baseline CNN.
    """

    name = "generation"
    title = "Generated images"
    place = 1
    options = GenerationOptions
    examples = ("--run runs/digits", "--run runs/digits --per-class 10 --temperatures 0.9,1")
    writes = ("samples*.png", "temperatures.png", "completions.png")


MEASUREMENT = Generation()
