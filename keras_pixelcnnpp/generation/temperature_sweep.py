"""What temperature does to generated pictures."""

from dataclasses import dataclass

import numpy as np

from keras_pixelcnnpp.arguments import require_positive_number
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.generation.class_samples import ClassSamples
from keras_pixelcnnpp.generation.comparison import Comparison
from keras_pixelcnnpp.generation.evaluation import measure
from keras_pixelcnnpp.generation.gallery import Gallery

MOST_COLUMNS = 10


@dataclass(frozen=True, eq=False)
class TemperatureSweep:
    """The same pictures, from the same random numbers, at several temperatures.

    Args:
        samples: From temperature to pictures.
        report: For each temperature `{"temperature", "bits_per_dim", "frechet_distance"}`. The
            bits/dim are of the model at temperature 1; the distance is `None` without a reference.
    """

    samples: dict[float, ClassSamples]
    report: list[dict]

    @classmethod
    def draw(
        cls,
        model,
        drawn: ClassSamples,
        temperatures,
        *,
        known: dict[float, ClassSamples] | None = None,
        comparison: Comparison | None = None,
        **arguments,
    ) -> "TemperatureSweep":
        """Draws and measures.

        Args:
            model: A trained `PixelCNNPlusPlus`.
            drawn: Pictures whose classes and count the others shall have.
            temperatures: Numbers above 0.
            known: Pictures that were drawn already, by temperature.
            comparison: Measures the distance to real pictures.
            **arguments: Of `PixelCNNPlusPlus.sample`, such as `seed`.
        """
        samples, report = {}, []
        per_class = int(np.sum(drawn.labels == drawn.labels[0]))
        for temperature in sorted(set(temperatures)):
            samples[temperature] = (known or {}).get(temperature) or ClassSamples.draw(
                model, drawn.class_names, per_class, temperature=temperature, **arguments
            )
            distance = comparison.distance(samples[temperature]) if comparison else None
            report.append(
                {
                    "temperature": temperature,
                    "bits_per_dim": measure(model, samples[temperature])["bits_per_dim"],
                    "frechet_distance": distance,
                }
            )
        return cls(samples, report)

    def gallery(self) -> Gallery:
        """A row for each temperature, with the first pictures of each class."""
        first = next(iter(self.samples.values()))
        classes = list(first.by_class())
        each = max(1, MOST_COLUMNS // len(classes))
        each = min(each, *(len(pixels) for _, pixels in classes))
        shown = min(len(classes), MOST_COLUMNS)
        rows = [
            np.concatenate([pixels[:each] for _, pixels in samples.by_class()][:shown])
            for samples in self.samples.values()
        ]
        columns = [text for name, _ in classes[:shown] for text in (name, *[""] * (each - 1))]
        return Gallery(
            np.stack(rows),
            tuple(f"temperature {temperature:g}" for temperature in self.samples),
            tuple(columns),
        )


def parse_temperatures(text: str) -> list[float]:
    """Reads `"0.7, 1"` as `[0.7, 1.0]`; an empty text has none.

    Raises:
        UserError: if there is something else than numbers above 0 between the commas.
    """
    try:
        temperatures = [float(part) for part in text.split(",") if part.strip()]
        for temperature in temperatures:
            require_positive_number("temperatures", temperature)
    except ValueError as error:
        raise UserError(
            f"Temperatures are numbers above 0 with commas between them. Received: {text!r}"
        ) from error
    return temperatures
