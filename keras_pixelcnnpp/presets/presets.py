"""Presets as constructors of a model, in the manner of Keras Hub."""

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.presets.preset_folder import PresetFolder


class Presets:
    """What lets `PixelCNNPlusPlus` come from, and be saved as, a preset."""

    @classmethod
    def from_preset(cls, preset, load_weights=None, **kwargs):
        """Creates a model from a preset, with weights where the preset has them.

        Args:
            preset: Name of a built-in preset, or path of a folder written by `save_to_preset`.
            load_weights: Boolean; `None` loads them if there are any.
            **kwargs: Constructor arguments that replace the preset's.

        Returns:
            A model.

        Raises:
            UserError: If there is no such preset, or its files are damaged or without the weights
                that were asked for.

        Example:

        >>> model = PixelCNNPlusPlus.from_preset("report")
        >>> model.image_shape, model.num_classes
        ((32, 32, 3), 4)
        """
        folder = PresetFolder.find(preset)
        options = folder.config()["model"]
        try:
            model = cls(**{**options, **kwargs})
        # An unknown argument, or a value of the wrong type or size.
        except (TypeError, ValueError, OverflowError) as error:
            message = " ".join(str(error).split())
            raise UserError(f"{folder.path}: no model can be made of this: {message}") from error
        if folder.has_weights if load_weights is None else load_weights:
            folder.load_weights(model)
        return model

    def save_to_preset(self, path, training=None, metadata=None):
        """Writes the model as a preset: a folder that `from_preset` reads.

        Args:
            path: The folder; created if need be.
            training: Optional dict, the training options that belong to it.
            metadata: Optional dict of facts about data, budget and metrics.
        """
        model = {
            name: value
            for name, value in self.get_config().items()
            if name not in ("name", "trainable", "dtype")
        }
        config = {"model": model, "training": training or {}}
        # A copy has no optimizer, whose moments and averages would make the file four times larger.
        copy = type(self).from_config(self.get_config())
        copy.set_weights(self.get_weights())
        PresetFolder(path).write(copy, config, metadata or {})
