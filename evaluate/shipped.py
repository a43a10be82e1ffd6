"""A preset with weights as a run, which the commands then measure like any other."""

from pathlib import Path

from keras_pixelcnnpp.backend import versions
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.files import atomic_path, write_json
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.presets import Preset
from keras_pixelcnnpp.run import RunFolder


def run_of_preset(name: str, path: Path | None = None) -> RunFolder:
    """Writes a preset's model and a configuration into a run folder, or finds them there.

    Args:
        name: The preset.
        path: The folder; by default, `runs/` and the preset's name.

    Raises:
        UserError: If the folder holds another run, or there is no such preset with weights.
    """
    preset = Preset(name)
    run = RunFolder(path or Path("runs", preset.path.name))
    if run.path.exists():
        if run.read_config()["pixelcnnpp"].get("sha256") != preset.metadata.get("sha256"):
            raise UserError(f"{run.path} holds another run. Choose another folder as --output")
        return run
    model = AutoregressiveModel.from_preset(name)
    data = {
        "source": preset.metadata.get("data", "unknown"),
        "seed": preset.metadata.get("seed", 0),
        "fingerprint": preset.metadata.get("fingerprint", "unknown"),
        "class_names": model.class_names or (),
        "image_shape": model.image_shape,
    }
    section = {
        "title": model._title,
        "options": {**preset.training, "network": model.network_name},
        "model": model.get_config(),
        "parameters": model.count_params(),
        "versions": versions(),
        "sha256": preset.metadata["sha256"],
    }
    with atomic_path(run.model_keras) as temporary:
        model.save(temporary)
    write_json(run.config_json, {"data": data, "pixelcnnpp": section})
    return run
