"""A SavedModel that `pixelcnnpp savedmodel export` wrote, loaded for use."""

import hashlib
from pathlib import Path

import numpy as np

from keras_pixelcnnpp.errors import UserError, is_out_of_memory
from keras_pixelcnnpp.json_files import read_json
from keras_pixelcnnpp.run_config import check_run_config, require_data


class ExportedModel:
    """The endpoints of an exported model, from arrays to arrays.

    It needs TensorFlow, whatever Keras's backend is. A SavedModel is a program: load only what you
    trust, as TensorFlow says of every SavedModel.

    Args:
        path: `runs/NAME/savedmodel`, of which the newest version is taken, or one version's
            folder, such as `runs/NAME/savedmodel/1`.

    Attributes:
        config: The configuration of the training run.
        class_names, image_shape, num_levels: What the model was built for.

    Raises:
        UserError: if there is no such SavedModel at `path`, or TensorFlow is missing.

    Example:

    ```python
    exported = ExportedModel("runs/digits/savedmodel")
    exported.run("sample", labels=[3, 3], seed=0, temperature=1.0)["images"]
    ```
    """

    def __init__(self, path: str | Path):
        self.path = version_folder(path)
        assets = self.path / "assets"
        self.config = read_json(assets / "config.json")
        # The same entries, and the same rules, as in the configuration of the run.
        names = ("class_names", "image_shape", "num_levels")
        facts = {name: self.config[name] for name in names if name in self.config}
        check_run_config({"data": facts}, assets / "config.json")
        facts = require_data({"data": facts}, *names)
        self.class_names = tuple(facts["class_names"])
        self.image_shape = tuple(facts["image_shape"])
        self.num_levels = facts["num_levels"]
        # The attribute keeps the variables alive; the signatures alone do not.
        self._loaded = _load(self.path)

    def inputs(self, endpoint: str) -> dict:
        """The `tf.TensorSpec` of each input of an endpoint, by name."""
        return self._signature(endpoint).structured_input_signature[1]

    def run(self, endpoint: str, **inputs) -> dict[str, np.ndarray]:
        """Calls an endpoint with arrays, or what NumPy makes arrays of; returns its outputs."""
        import tensorflow as tf

        tensors = {name: tf.constant(value) for name, value in inputs.items()}
        return {
            name: output.numpy() for name, output in self._signature(endpoint)(**tensors).items()
        }

    def run_in_batches(self, endpoint: str, batch_size: int, **inputs) -> dict[str, np.ndarray]:
        """Like `run`, for inputs of any length: `batch_size` rows at once bound the memory."""
        (count,) = {len(value) for value in inputs.values()}
        batches = [
            self.run(
                endpoint,
                **{name: value[start : start + batch_size] for name, value in inputs.items()},
            )
            for start in range(0, count, batch_size)
        ]
        return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}

    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of the files of the SavedModel."""
        digest = hashlib.sha256()
        for file in sorted(path for path in self.path.rglob("*") if path.is_file()):
            name = file.relative_to(self.path).as_posix()
            with file.open("rb") as opened:
                content = hashlib.file_digest(opened, "sha256").hexdigest()
            digest.update(repr((name, content)).encode())
        return digest.hexdigest()

    def _signature(self, endpoint: str):
        if endpoint not in self._loaded.signatures:
            raise UserError(
                f"{self.path} has no endpoint {endpoint!r}. Export the run again: "
                "pixelcnnpp savedmodel export"
            )
        return self._loaded.signatures[endpoint]


def version_folder(path: str | Path) -> Path:
    """The folder of one version of a SavedModel: `path` itself, or its highest number.

    Raises:
        UserError: if there is none.
    """
    path = Path(path)
    versions = [
        folder for folder in path.glob("*") if folder.name.isdigit() and _is_exported(folder)
    ]
    if _is_exported(path):
        return path
    if not versions:
        raise UserError(
            f"No SavedModel of this package in {path}. Expected the folder that "
            "`pixelcnnpp savedmodel export` wrote, such as runs/NAME/savedmodel."
        )
    return max(versions, key=lambda folder: int(folder.name))


def _is_exported(folder: Path) -> bool:
    return (folder / "saved_model.pb").is_file() and (folder / "assets" / "config.json").is_file()


def _load(folder: Path):
    try:
        import tensorflow as tf
    except ImportError as error:
        raise UserError(
            "A SavedModel needs TensorFlow, which is not installed: pip install tensorflow"
        ) from error
    try:
        return tf.saved_model.load(str(folder))
    # Anything: protocol buffers, variables and operations each fail in their own way.
    except Exception as error:
        if is_out_of_memory(error):
            raise
        message = " ".join(str(error).split())
        raise UserError(f"{folder} cannot be loaded as a SavedModel: {message[:300]}") from error
