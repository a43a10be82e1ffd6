"""`pixelcnnpp savedmodel export`."""

import os
from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[Path, typer.Option(help="The run folder.")],
    version: Annotated[int, typer.Option(min=1, help="The number of the version's folder.")] = 1,
) -> None:
    """Write runs/NAME/savedmodel/1/, which works where this package is not installed.

    A model that was trained under JAX or torch is loaded under TensorFlow for it.
    """
    # Before anything imports Keras, which reads it once.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    from keras_pixelcnnpp.run_config import require_data
    from keras_pixelcnnpp.run_folder import RunFolder

    folder = RunFolder(run)
    config = folder.read_config()
    data = require_data(config, "class_names")
    source = folder.require_model("pixelcnnpp")
    _require_tensorflow()
    from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
    from keras_pixelcnnpp.models.trained_model import load_trained_model
    from keras_pixelcnnpp.savedmodel.exported_pixelcnn import export_saved_model

    model = load_trained_model(source, PixelCNNPlusPlus)
    path = folder.savedmodel / str(version)
    export_saved_model(model, path, tuple(data["class_names"]), config)
    print(f"Wrote {path}. Next: pixelcnnpp savedmodel classify {folder.savedmodel} IMAGE…")


def _require_tensorflow() -> None:
    from importlib.util import find_spec

    from keras_pixelcnnpp.errors import UserError

    if find_spec("tensorflow") is None:
        raise UserError(
            "Exporting needs TensorFlow, which is not installed: pip install tensorflow"
        )
