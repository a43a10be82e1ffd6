"""Turns a preset with weights into a run, which the commands can evaluate."""

from pathlib import Path

from keras_pixelcnnpp.backend import versions
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.files import atomic_path, write_json
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.presets import Preset
from keras_pixelcnnpp.recipe import READING
from keras_pixelcnnpp.run import RunFolder


def run_of_preset(name: str, path: Path | None = None) -> RunFolder:
    """Writes a preset's model and configuration to a run folder, unless it already has them.

    By default, this is a folder in `runs` with the name of the preset. Raises a `UserError` if it
    has another run, or if no preset with weights has this name.
    """
    preset = Preset(name)
    run = RunFolder(path or Path("runs", preset.path.name))
    if run.exists():
        known = run.read_config().get("pixelcnnpp", {}).get("sha256")
        if known is None or known != preset.metadata.get("sha256"):
            raise UserError(f"{run.path} contains another run. Choose another folder as --output")
        return run
    model = AutoregressiveModel.from_preset(name)
    data = {
        "source": preset.metadata.get("data", "DATA"),
        "split_seed": preset.metadata.get("split_seed", 0),
        **preset.reading,
        "fingerprint": preset.metadata.get("fingerprint", "unknown"),
        "class_names": model.class_names or (),
        "image_shape": model.image_shape,
    }
    # Weights may have been trained for more epochs than the recipe of the preset.
    epochs = preset.metadata.get("epochs", preset.training.get("epochs"))
    training = {name: value for name, value in preset.training.items() if name not in READING}
    section = {
        "title": model._title,
        "options": {**training, "epochs": epochs, "network": model.network_name},
        "model": model.get_config(),
        "parameters": model.count_params(),
        "versions": versions(),
        "sha256": preset.metadata["sha256"],
    }
    with atomic_path(run.model_keras) as temporary:
        model.save(temporary)
    write_json(run.config_json, {"data": data, "pixelcnnpp": section})
    return run
