"""Named configurations, some with trained weights.

One folder each: `config.json`, and for a trained one `model.weights.h5`, `metadata.json` and a
model card, `README.md`.
"""

from keras_pixelcnnpp.presets.preset_folder import PresetFolder, load_preset_config, preset_names

__all__ = ["PresetFolder", "load_preset_config", "preset_names"]
