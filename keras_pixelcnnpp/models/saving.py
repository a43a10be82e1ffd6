"""How a model leaves its process and comes back: presets, and the SavedModel."""

from pathlib import Path
from typing import Any, Self

from keras import ops

from keras_pixelcnnpp.backend import Tensor, require_tensorflow
from keras_pixelcnnpp.checks import require_choice
from keras_pixelcnnpp.distributions.logistic_mixture import bits_per_dim
from keras_pixelcnnpp.layers.posterior import log_marginal
from keras_pixelcnnpp.presets import Preset, preset_names, write_preset


class _Presets:
    """The presets of a class, as an attribute of it."""

    def __get__(self, model: object, kind: type) -> dict[str, dict]:
        presets = {name: Preset(name) for name in preset_names()}
        return {name: preset.metadata for name, preset in presets.items() if preset.is_of(kind)}


class Saving:
    """The methods of an `AutoregressiveModel` that write it, read it and export it.

    Attributes:
        presets: Dict of the class's presets: by name, what their `metadata.json` has, such as a
            `"description"`.
    """

    architecture = None  # the name by which commands know a subclass
    presets = _Presets()

    @classmethod
    def from_preset(cls, preset: str | Path, load_weights: bool = True, **kwargs: Any) -> Self:
        """Creates a model from a preset: of its class, which is this one or a subclass.

        Args:
            preset: Name of a built-in preset, path of a folder written by `save_to_preset`, or
                `"hf://USER/NAME"`, which is downloaded from the Hugging Face Hub (the extra
                `hub`); `"hf://USER/NAME@COMMIT"` are always the same files.
            load_weights: Boolean; `False` for a model of random weights.
            **kwargs: Constructor arguments that replace the preset's. With another `num_classes`,
                all weights but those of the labels are kept; a warning names what is new.

        Returns:
            A model.

        Raises:
            UserError: If there is no such preset or no way to it, it is of another class, without
                weights or damaged, or its weights don't fit the arguments.

        Example:

        >>> model = AutoregressiveModel.from_preset("digits", dropout_rate=0.1)
        >>> model.image_shape, model.num_classes
        ((8, 8, 1), 10)
        """
        found = Preset(preset)
        model = found.make(cls, **kwargs)
        if load_weights:
            found.load_weights(model, **kwargs)
        return model

    def save_to_preset(self, path: str | Path, metadata: dict | None = None) -> None:
        """Writes the model as a preset: a folder that `from_preset` and `upload_preset` read.

        Args:
            path: The folder; created if need be. A `README.md` in it, its card, is left as it is.
            metadata: Optional dict for `metadata.json`: `"training"`, a dict of the options of the
                training, which `train --preset` takes; a `"description"`; facts and figures.
        """
        # A copy has no optimizer, whose moments and averages would make the file four times larger.
        copy = type(self).from_config(self.get_config())
        copy.set_weights(self.get_weights())
        write_preset(path, copy, metadata or {})

    def _posterior_tensors(self, images: Tensor) -> dict[str, Tensor]:
        """What the endpoint `classify` returns of a tensor of images, but for the class."""
        labels = ops.tile(ops.arange(self.num_classes)[None], (ops.shape(images)[0], 1))
        parameters = self({"image": images, "label": labels}, training=False)
        log_likelihood = self.log_likelihood(parameters, images)
        return {
            "log_likelihood": log_likelihood,
            "probabilities": ops.softmax(self.posterior(log_likelihood), axis=-1),
            "bits_per_dim": bits_per_dim(log_marginal(log_likelihood), self.image_shape),
        }

    def export(
        self,
        filepath: str | Path,
        format: str = "tf_saved_model",  # noqa: A002
        verbose: bool | None = None,
    ) -> None:
        """Writes a SavedModel that classifies, scores and samples without this package.

        Its endpoints are those of `pixelcnnpp savedmodel export`: see
        `export.endpoints.export_saved_model`. They cut the middle out of image files of another
        aspect ratio; that command exports a run, with the `--resize` that it was trained with.

        Args:
            filepath: The folder to write, replaced as a whole.
            format: `"tf_saved_model"`; there is no other.
            verbose: Boolean, whether to print the folder.

        Raises:
            UserError: Under another backend than TensorFlow, for another format, or for a model
                that cannot be exported: without labels, or not of 1 or 3 channels.

        Example:

        ```python
        model.export("savedmodel/1")
        SavedModelClassifier("savedmodel").predict(images)
        ```
        """
        require_choice("format", format, ("tf_saved_model",))
        require_tensorflow()
        # Here: TensorFlow is there under its own backend only.
        from keras_pixelcnnpp.export.endpoints import export_saved_model

        export_saved_model(self, filepath)
        if verbose:
            print(f"Saved artifact at {str(filepath)!r}.")
