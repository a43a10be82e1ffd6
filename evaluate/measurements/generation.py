"""Declares `evaluate generation`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from keras_pixelcnnpp.commands.helpers import SamplingFlags, option
from keras_pixelcnnpp.evaluate.measurements import DataOptions, Measurement

if TYPE_CHECKING:
    from keras_pixelcnnpp.evaluate.subject import Subject


@dataclass(frozen=True, kw_only=True)
class GenerationOptions(SamplingFlags, DataOptions):
    """Options of `evaluate generation`."""

    per_class: int = option("Number of images per class.", 25, min=1)
    seed: int = option("Random seed.", 0, min=0)
    samples_only: bool = option("Do not compare the samples with real images.", False)
    temperatures: str = option(
        "Temperatures at which further images are sampled, comma-separated; empty for none.",
        "0.7,0.85,1,1.15",
    )
    completions: int = option("Number of completions of each real image; 0 for none.", 4, min=0)


class Generation(Measurement):
    """Sample images and compare them with real images.

    Writes the samples to the folder samples (Class0_image_01.png and so on), which is in the run
    folder, and generation.json, samples.png, samples_Class0.png and so on, temperatures.png,
    completions.png and nearest_neighbors.png, which shows whether the model copies training images.
    Distances are measured on features of the run's baseline CNN.
    """

    name = "generation"
    title = "Generated images"
    place = 1
    options = GenerationOptions
    examples = ("--run runs/digits", "--run runs/digits --per-class 10 --temperatures 0.9,1")
    writes = ("samples*.png", "temperatures.png", "completions.png", "nearest_neighbors.png")
    uses_cnn = True

    def reason_against(self, subject: "Subject") -> str | None:
        channels = subject.image_shape[-1]
        if channels not in (1, 3):
            return f"PNG files have 1 or 3 channels. Received: a model of {channels} channels"
        if subject.options.split == "train" and subject.data is None:
            return (
                "Samples are compared with images that the model wasn't trained on, such as the "
                "split validation. Received: --split train"
            )
        return None


MEASUREMENT = Generation()
