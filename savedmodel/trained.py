"""A trained model used as it is: a preset, a run or a file that draws and classifies."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_pixelcnnpp.data.built_in import CLASS_NAMES
from keras_pixelcnnpp.data.images import png_bytes
from keras_pixelcnnpp.distributions.logistic_mixture import bits_per_dim
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.files import write_bytes
from keras_pixelcnnpp.layers.posterior import log_marginal
from keras_pixelcnnpp.models.archive import load_trained_model, model_from_preset
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.presets import PresetFolder
from keras_pixelcnnpp.run import RunFolder, require_data, resize_of
from keras_pixelcnnpp.sampling.class_samples import ClassSamples, class_label


@dataclass(frozen=True)
class TrainedModel:
    """A model and the names of its classes; classifies pictures as `SavedModelClassifier` does."""

    model: AutoregressiveModel
    class_names: tuple[str, ...]
    source: str
    resize: str = "crop"

    @classmethod
    def find(cls, source: str | Path) -> "TrainedModel":
        """The model of a run, a preset with weights, or a `.keras` file.

        Raises:
            UserError: If it is none of these, or damaged.
        """
        run, resize = RunFolder(source), "crop"
        if Path(source).is_file():
            model, names = load_trained_model(source), ()
        elif run.model_keras.is_file():
            data = require_data(run.read_config(), "class_names")
            names, resize = data["class_names"], resize_of(data)
            model = load_trained_model(run.model_keras)
        else:
            model = model_from_preset(source, load_weights=True)
            names = CLASS_NAMES.get(PresetFolder.find(source).metadata().get("data"), ())
        if len(names) != model.num_classes:
            names = [f"Class{label}" for label in range(model.num_classes)]
        return cls(model, tuple(names), str(source), resize)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)`."""
        return self.model.image_shape

    @property
    def num_levels(self) -> int:
        """Values of a sub-pixel."""
        return self.model.num_levels

    def classify(self, levels: np.ndarray) -> dict:
        """What there is to say of pictures.

        Args:
            levels: uint8 `(N, height, width, channels)`.

        Returns:
            Dict of `"class_id"` `(N,)`, `"probabilities"` `(N, num_classes)` and `"bits_per_dim"`
            `(N,)`.
        """
        if self.model.num_classes == 0:
            raise UserError(f"{self.source} is a model without labels: it can't classify.")
        scores = self.model.class_log_likelihoods(levels, verbose="auto")
        probabilities = self.model.posterior.probabilities(scores)
        return {
            "class_id": probabilities.argmax(axis=1),
            "probabilities": probabilities,
            "bits_per_dim": bits_per_dim(log_marginal(scores), self.model.image_shape),
        }


def draw_grid(
    trained: TrainedModel, labels: list[str], count: int, output: Path, **arguments
) -> None:
    """Draws a row of pictures for each class, into one PNG file.

    Args:
        trained: The model.
        labels: The classes, by name or number; all if there is none.
        count: Pictures of each.
        output: The file.
        **arguments: Of `AutoregressiveModel.sample`.
    """
    chosen = sorted({class_label(trained.class_names, name) for name in labels})
    print("Drawing. The first step takes longest.")
    samples = ClassSamples.draw(trained.model, trained.class_names, count, chosen, **arguments)
    write_bytes(output, png_bytes(samples.overview(count)))
    rows = ", ".join(name for name, _ in samples.by_class())
    print(f"Wrote {output}, from top to bottom: {rows}")
