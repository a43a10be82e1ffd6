"""Using a SavedModel: it is loaded, its endpoints called, classified and drawn with."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_pixelcnnpp.backend import progress
from keras_pixelcnnpp.checks import checked_images
from keras_pixelcnnpp.classifiers import ImageClassifier
from keras_pixelcnnpp.errors import UserError, is_out_of_memory
from keras_pixelcnnpp.files import read_json, sha256
from keras_pixelcnnpp.run import RunFolder, check_run_config, require_data, resize_of
from keras_pixelcnnpp.sampling.class_samples import ClassSamples


class ExportedModel:
    """The endpoints of an exported model, from arrays to arrays.

    It needs TensorFlow, whatever Keras's backend is. A SavedModel is a program: load only what you
    trust, as TensorFlow says of every SavedModel.

    Args:
        path: The run's folder `runs/NAME` or `runs/NAME/savedmodel`, of which the newest version is
            taken, or one version's folder, such as `runs/NAME/savedmodel/1`.

    Attributes:
        config: The configuration of the training run.
        class_names, image_shape, num_levels: What the model was built for.
        resize: `"crop"` or `"squeeze"`, how it reads pictures of another aspect ratio.

    Raises:
        UserError: if there is no such SavedModel at `path`, or TensorFlow is missing.

    Example:

    ```python
    exported = ExportedModel("runs/digits/savedmodel")
    exported.call("sample", labels=[3, 3], seed=0, temperature=1.0)["images"]
    ```
    """

    def __init__(self, path: str | Path):
        self.path = version_folder(path)
        assets = self.path / "assets"
        self.config = read_json(assets / "config.json")
        # The same entries, and the same rules, as in the configuration of the run.
        names = ("class_names", "image_shape", "num_levels")
        known = (*names, "resize")
        facts = {name: self.config[name] for name in known if name in self.config}
        check_run_config({"data": facts}, assets / "config.json")
        self.resize = resize_of(facts)
        facts = require_data({"data": facts}, *names)
        self.class_names = tuple(facts["class_names"])
        self.image_shape = tuple(facts["image_shape"])
        self.num_levels = facts["num_levels"]
        # The attribute keeps the variables alive; the signatures alone do not.
        self._loaded = _load(self.path)

    @property
    def endpoints(self) -> list[str]:
        """The names of its endpoints, sorted."""
        return sorted(self._loaded.signatures)

    def inputs(self, endpoint: str) -> dict:
        """The `tf.TensorSpec` of each input of an endpoint, by name."""
        return self._signature(endpoint).structured_input_signature[1]

    def call(self, endpoint: str, **inputs) -> dict[str, np.ndarray]:
        """Calls an endpoint with arrays, or what NumPy makes arrays of; returns its outputs."""
        import tensorflow as tf

        tensors = {name: tf.constant(value) for name, value in inputs.items()}
        return {
            name: output.numpy() for name, output in self._signature(endpoint)(**tensors).items()
        }

    def call_in_batches(self, endpoint: str, batch_size: int, **inputs) -> dict[str, np.ndarray]:
        """Like `call`, for inputs of any length: `batch_size` rows at once bound the memory."""
        (count,) = {len(value) for value in inputs.values()}
        # Of nothing there is one batch too, which has the outputs' shapes.
        starts, batches = range(0, max(count, 1), batch_size), []
        tick = progress(len(starts))
        for start in starts:
            of_batch = {name: value[start : start + batch_size] for name, value in inputs.items()}
            batches.append(self.call(endpoint, **of_batch))
            tick()
        return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}

    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of the files of the SavedModel."""
        digest = hashlib.sha256()
        for file in sorted(path for path in self.path.rglob("*") if path.is_file()):
            name = file.relative_to(self.path).as_posix()
            digest.update(repr((name, sha256(file))).encode())
        return digest.hexdigest()

    def _signature(self, endpoint: str):
        if endpoint not in self._loaded.signatures:
            raise UserError(
                f"{self.path} has no endpoint {endpoint!r}. Export the run again: "
                "pixelcnnpp savedmodel export"
            )
        return self._loaded.signatures[endpoint]


def version_folder(path: str | Path) -> Path:
    """The folder of one version of a SavedModel.

    Args:
        path: That folder itself; or the folder of all versions, or of a run that has one, of which
            the highest number is taken.

    Raises:
        UserError: if there is none.
    """
    path = Path(path)
    if _is_exported(path):
        return path
    for folder in (path, RunFolder(path).savedmodel):
        numbered = [version for version in folder.glob("*") if version.name.isdigit()]
        if versions := list(filter(_is_exported, numbered)):
            return max(versions, key=lambda version: int(version.name))
    raise UserError(
        f"No SavedModel of this package in {path}. Expected a run's folder, or the folder that "
        "`pixelcnnpp savedmodel export` wrote, such as runs/NAME/savedmodel."
    )


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


class SavedModelClassifier(ImageClassifier):
    """Classifies with a SavedModel that `pixelcnnpp savedmodel export` wrote.

    It needs TensorFlow, whatever Keras's backend is.

    Args:
        path: The run's folder `runs/NAME` or `runs/NAME/savedmodel`, of which the newest version is
            taken, or one version's folder, such as `runs/NAME/savedmodel/1`.
        batch_size: How many pictures are scored at once.

    Attributes:
        class_names: The names of the classes, in the order of `classes_`.
        config: The configuration of the training run.
        num_classes, image_shape, num_levels: What the model was built for.
        resize: `"crop"` or `"squeeze"`, how it reads pictures of another aspect ratio.

    Raises:
        UserError: if there is no such SavedModel at `path`, or TensorFlow is missing.

    Example:

    ```python
    classifier = SavedModelClassifier("runs/digits/savedmodel")
    classifier.predict(images)                      # uint8 levels, [count, height, width, channels]
    classifier.classify_bytes([Path("seven.png").read_bytes()])["class_id"]
    ```
    """

    def __init__(self, path: str | Path, batch_size: int = 64):
        self.path = path
        self.batch_size = batch_size
        self._exported = ExportedModel(path)
        self.config = self._exported.config
        self.class_names = self._exported.class_names
        self.image_shape = self._exported.image_shape
        self.num_levels = self._exported.num_levels
        self.resize = self._exported.resize
        self.num_classes = len(self.class_names)

    def classify(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """All that the endpoint `classify` tells about each picture.

        Args:
            images: uint8 `[count, height, width, channels]`, levels in `[0, num_levels)`.

        Returns:
            A dictionary of `class_id` int32 `[count]`, `probabilities` `[count, num_classes]`,
            `log_likelihood` `[count, num_classes]` (nats) and `bits_per_dim` `[count]`.

        Raises:
            ValueError: if `images` has another dtype or shape.
        """
        images = checked_images(images, self.image_shape, self.num_levels)
        return self._run("classify", "images", images)

    def classify_bytes(self, pictures: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Like `classify`, for the content of PNG and JPEG files of any size.

        The pictures are decoded and resized inside the SavedModel.

        Args:
            pictures: The content of each file.

        Returns:
            What `classify` returns. A file that can't be decoded has the class -1, and NaN
            elsewhere; the others are not affected.
        """
        return self._run("classify_bytes", "image_bytes", np.array(list(pictures), object))

    def _probabilities(self, images: np.ndarray) -> np.ndarray:
        return self.classify(images)["probabilities"]

    def _run(self, endpoint: str, argument: str, inputs) -> dict[str, np.ndarray]:
        return self._exported.call_in_batches(endpoint, self.batch_size, **{argument: inputs})


def sample_exported(
    exported: ExportedModel,
    labels: np.ndarray,
    seed: int = 0,
    temperature: float = 1.0,
    batch_size: int = 100,
) -> ClassSamples:
    """Draws pictures with the endpoint `sample`.

    Args:
        exported: The exported model.
        labels: int `[count]`, the class of each picture.
        seed: From 0 to 2^31 − 1. Pictures depend on it, on their position and on `batch_size`.
        temperature: Above 0; below 1, safer and smoother pictures.
        batch_size: How many pictures are drawn at once, which bounds the memory.
    """
    labels = np.asarray(labels, "int32")
    starts, batches = range(0, max(len(labels), 1), batch_size), []
    tick = progress(len(starts))
    for start in starts:
        batch = sample_batch(exported, labels, start, seed, temperature, batch_size)
        batches.append(batch.levels)
        tick()
    levels = np.concatenate(batches)
    return ClassSamples(levels, labels, exported.class_names, exported.num_levels)


def sample_batch(
    exported: ExportedModel,
    labels: np.ndarray,
    start: int,
    seed: int,
    temperature: float,
    batch_size: int,
) -> ClassSamples:
    """Draws one batch of what `sample_exported` draws: that of the picture `start` and the next.

    Args:
        exported: The exported model.
        labels: int32 `[count]`, the class of each picture of all batches.
        start: A multiple of `batch_size`.
        seed: As for `sample_exported`, and so are the next two.
        temperature: Above 0.
        batch_size: How many pictures are drawn at once.
    """
    labels = labels[start : start + batch_size]
    levels = exported.call(
        "sample",
        labels=labels,
        seed=_batch_seed(seed, start),
        temperature=float(temperature),
    )["images"]
    return ClassSamples(levels, labels, exported.class_names, exported.num_levels)


def _batch_seed(seed: int, start: int) -> int:
    # The endpoint counts positions from 0 in every batch; `seed + 1` would repeat in the second
    # batch what another seed draws in the first.
    return seed if start == 0 else int(np.random.default_rng([seed, start]).integers(2**31))
