"""A trained model used as it is: a preset, a run or a file; and image files classified."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from keras_pixelcnnpp.data.images import read_image
from keras_pixelcnnpp.distributions.levels import bits_unit
from keras_pixelcnnpp.distributions.logistic_mixture import bits_per_dim
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.export.saved_model import SavedModelClassifier
from keras_pixelcnnpp.files import write_predictions
from keras_pixelcnnpp.layers.posterior import log_marginal
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.run import RunFolder


class TrainedModel(NamedTuple):
    """A model, where it was found, and how it reads images of another aspect ratio."""

    model: AutoregressiveModel
    source: str
    resize: str = "center_crop"

    @classmethod
    def find(cls, source: str | Path) -> "TrainedModel":
        """The model of a run, a preset with weights, or a `.keras` file.

        Raises:
            UserError: If it is none of these, or damaged.
        """
        run, resize = RunFolder(source), "center_crop"
        if Path(source).is_file():
            model = load_trained_model(source)
        elif run.model_keras.is_file() or run.has_checkpoint("pixelcnnpp"):
            resize = run.read_config()["data"].get("resize", resize)
            model = load_trained_model(run.require_model("pixelcnnpp"))
        else:
            model = AutoregressiveModel.from_preset(source)
        return cls(model, str(source), resize)

    def classify(self, images: np.ndarray) -> dict:
        """What there is to say of images.

        Takes uint8 `(N, height, width, channels)`; returns `"class_id"` `(N,)`,
        `"probabilities"` `(N, num_classes)` and `"bits_per_dim"` `(N,)`.
        """
        if self.model.num_classes == 0:
            raise UserError(f"{self.source} is a model without labels: it can't classify.")
        scores = self.model.class_log_likelihoods(images, verbose="auto")
        probabilities = self.model.posterior.probabilities(scores)
        return {
            "class_id": probabilities.argmax(axis=1),
            "probabilities": probabilities,
            "bits_per_dim": bits_per_dim(log_marginal(scores), self.model.image_shape),
        }


def classify_files(
    model: AutoregressiveModel | SavedModelClassifier,
    classify: Callable[[np.ndarray], dict],
    resize: str,
    files: list[Path],
    csv: Path | None,
) -> None:
    """Prints a table of what `classify` says of each file, and a line for each that is bad.

    With `csv`, the predictions are written there too. Where a file is bad, the command fails.
    """
    names, images = [], []
    for file in files:
        try:
            images.append(read_image(file, model.image_shape, resize))
            names.append(str(file))
        except UserError as error:
            print(f"pixelcnnpp: error: {error}", file=sys.stderr)
    if not images:
        raise UserError("None of the files can be classified.")
    result = classify(np.stack(images))
    table = Table()
    table.add_column("image", overflow="fold")
    table.add_column("class")
    table.add_column("probability", justify="right")
    table.add_column(bits_unit(model.num_levels), justify="right")
    columns = (result["class_id"], result["probabilities"], result["bits_per_dim"])
    for name, label, probabilities, bits in zip(names, *columns, strict=True):
        class_name = model.class_names[label]
        table.add_row(name, class_name, f"{probabilities[label]:.1%}", f"{bits:.3f}")
    Console(markup=False, emoji=False).print(table)
    if csv is not None:
        unknown = [-1] * len(names)
        write_predictions(csv, names, unknown, result["probabilities"], model.class_names)
        print(f"Wrote {csv}")
    if len(images) < len(files):
        raise typer.Exit(2)
