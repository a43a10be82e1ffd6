"""Drawn pictures examined: beside real ones, for copies, and at other temperatures."""

from collections.abc import Sequence
from dataclasses import dataclass

from keras_pixelcnnpp.generation.class_samples import ClassSamples
from keras_pixelcnnpp.generation.comparison import Comparison
from keras_pixelcnnpp.generation.completions import complete_pictures
from keras_pixelcnnpp.generation.gallery import Gallery
from keras_pixelcnnpp.generation.nearest_training import NearestTraining
from keras_pixelcnnpp.generation.real_pictures import RealPictures
from keras_pixelcnnpp.generation.temperature_sweep import TemperatureSweep


@dataclass(frozen=True, eq=False)
class Examination:
    """What was found.

    Args:
        report: Of `metrics`, `features`, `reference`, `fid`, `memorisation` and `temperatures`,
            those that could be made: plain numbers, ready for JSON.
        galleries: Of `nearest_neighbours`, `completions` and `temperatures`, those that could.
        notes: Lines that a reader of the numbers should know.
    """

    GALLERIES = ("nearest_neighbours", "completions", "temperatures")

    report: dict
    galleries: dict[str, Gallery]
    notes: list[str]


def examine(
    model,
    samples: ClassSamples,
    drawn_with: dict,
    *,
    real: RealPictures | None = None,
    features=None,
    neighbour_features=None,
    mirrored: bool = False,
    temperatures: Sequence[float] = (),
    num_completions: int = 0,
) -> Examination:
    """Examines what a model has drawn.

    Args:
        model: The `PixelCNNPlusPlus`.
        samples: The pictures.
        drawn_with: The arguments they were drawn with: `seed`, `temperature` and `guidance`.
        real: Real pictures to compare with; `None` for none.
        features: `BaselineFeatures` or `InceptionFeatures` to compare by; `None` for no distances.
        neighbour_features: `BaselineFeatures`, for nearest neighbours by features too.
        mirrored: Whether the training mirrored pictures.
        temperatures: Numbers above 0, to be drawn side by side.
        num_completions: Integer of at least 0, completions of each of some real pictures.
    """
    report, galleries, notes, comparison = {}, {}, [], None
    if real is not None and features is not None:
        comparison = Comparison(
            real, features, samples.labels, samples.class_names, drawn_with["seed"]
        )
        report |= comparison.report(samples)
        notes += comparison.notes()
    if real is not None:
        nearest = NearestTraining.find(samples, real, neighbour_features, mirrored)
        report["memorisation"] = nearest.report
        galleries["nearest_neighbours"] = nearest.gallery()
    if temperatures:
        others = {name: drawn_with[name] for name in ("seed", "guidance")}
        known = {drawn_with["temperature"]: samples}
        sweep = TemperatureSweep.draw(
            model, samples, temperatures, known=known, comparison=comparison, **others
        )
        report["temperatures"] = sweep.report
        galleries["temperatures"] = sweep.gallery()
    if real is not None and num_completions:
        completed = complete_pictures(model, real, num_completions, **drawn_with)
        if completed is None:
            notes.append(f"The split {real.split} has no labels: no completions.")
        else:
            galleries["completions"] = completed
    return Examination(report, galleries, notes)
