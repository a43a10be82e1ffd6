"""Loads a trained model from a preset, a run or a file."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_pixelcnnpp.distributions.bits import bits_per_dim
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.layers.posterior import log_marginal
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.presets import Preset
from keras_pixelcnnpp.run import RunFolder, how_to_read
from keras_pixelcnnpp.savedmodel.commands import ModelOptions


class TrainedModel(NamedTuple):
    """A trained model, its source, and the arguments of `read_image` for its image files."""

    model: AutoregressiveModel
    source: str
    reading: dict

    @classmethod
    def named(cls, options: ModelOptions) -> "TrainedModel":
        """Loads the model that a command's options name; `UserError` if it does not exist."""
        if options.run is not None:
            RunFolder(options.run).require_model("pixelcnnpp")
        # The path of the preset, since the working directory may have a file of the same name.
        preset = None if options.preset is None else Preset(options.preset).path
        return cls.find(preset or options.run or options.model)

    @classmethod
    def find(cls, source: str | Path) -> "TrainedModel":
        """Loads a run's model, a preset or a `.keras` file; `UserError` if it does not exist."""
        path, reading = Path(source), {}
        # Images are read as in the training of the run.
        run = RunFolder(path.parent if path.name == "model.keras" else path)
        if run.exists():
            reading = how_to_read(run.read_config()["data"])
            model = load_trained_model(run.require_model("pixelcnnpp"))
        elif path.suffix == ".keras":
            model = load_trained_model(path)
        else:
            model = AutoregressiveModel.from_preset(source)
        if model.num_levels > 256:
            raise UserError(
                "Commands take models of at most 256 levels. Use this one in Python: "
                f"`load_trained_model`. Received: num_levels={model.num_levels}"
            )
        return cls(model, str(source), reading)

    def classify(self, images: np.ndarray, verbose: int | str = "auto") -> dict:
        """Classifies images as `SavedModelClassifier.classify` does, without log-likelihoods."""
        scores = self.model.class_log_likelihoods(images, verbose=verbose)
        probabilities = self.model.posterior.probabilities(scores)
        return {
            "class_id": probabilities.argmax(axis=1),
            "probabilities": probabilities,
            "bits_per_dim": bits_per_dim(log_marginal(scores), self.model.image_shape),
        }
