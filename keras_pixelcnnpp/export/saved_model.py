"""Using a SavedModel: it is loaded, its endpoints called, and it is a scikit-learn classifier."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from keras_pixelcnnpp.backend import progress
from keras_pixelcnnpp.checks import (
    checked_images,
    checked_labels,
    require_choice,
    require_integer,
    require_temperature,
)
from keras_pixelcnnpp.classifiers import ImageClassifier
from keras_pixelcnnpp.errors import UserError, as_user_error, not_installed
from keras_pixelcnnpp.files import read_json
from keras_pixelcnnpp.run import RunFolder, check_data, how_to_read


class SavedModelClassifier(ImageClassifier):
    """Classifies and samples with a SavedModel that `pixelcnnpp export` wrote.

    It needs TensorFlow, whatever Keras's backend is, and loads the SavedModel at its first use. A
    SavedModel is a program: load only what you trust, as TensorFlow says of every SavedModel.

    Args:
        path: The run's folder `runs/NAME` or `runs/NAME/savedmodel`, of which the newest version is
            taken, or one version's folder, such as `runs/NAME/savedmodel/1`.
        batch_size: Integer, how many images are classified at once.

    Example:

    ```python
    classifier = SavedModelClassifier("runs/digits/savedmodel")
    classifier.predict(images)                      # uint8 (N, height, width, channels)
    classifier.classify_bytes([Path("seven.png").read_bytes()])["class_id"]
    classifier.sample([3, 3], seed=0)
    ```
    """

    def __init__(self, path: str | Path, batch_size: int = 64):
        self.path = path
        self.batch_size = batch_size

    def set_params(self, **params: Any) -> Self:
        """Sets parameters, as of any scikit-learn estimator."""
        for loaded in ("folder", "config", "_loaded"):  # perhaps of another path
            self.__dict__.pop(loaded, None)
        return super().set_params(**params)

    def load(self) -> Self:
        """Loads the SavedModel now, rather than at its first use.

        Returns:
            `self`.

        Raises:
            UserError: If there is no such SavedModel at `path`, or TensorFlow is missing.
        """
        _ = self.config, self._loaded
        return self

    @cached_property
    def folder(self) -> Path:
        """The version's folder."""
        return version_folder(self.path)

    @cached_property
    def config(self) -> dict:
        """The configuration of the training run."""
        file = self.folder / "assets" / "config.json"
        config = read_json(file)
        # The same entries, and the same rules, as in the configuration of the run.
        check_data(config, file, ("class_names", "image_shape", "num_levels"))
        return config

    @cached_property
    def _loaded(self) -> Any:
        # The attribute keeps the variables alive; the signatures alone do not.
        return _load(self.folder)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, in the order of `classes_`."""
        return tuple(self.config["class_names"])

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the model's images."""
        return tuple(self.config["image_shape"])

    _trained_shape = image_shape

    @property
    def num_levels(self) -> int:
        """The number of levels of a sub-pixel."""
        return self.config["num_levels"]

    @property
    def reading(self) -> dict:
        """How image files are read for it: arguments of `read_image`."""
        return how_to_read(self.config)

    @property
    def endpoints(self) -> list[str]:
        """The names of its endpoints, sorted."""
        return sorted(self._loaded.signatures)

    def inputs(self, endpoint: str) -> dict:
        """The `tf.TensorSpec` of each input of an endpoint, by name."""
        return self._loaded.signatures[endpoint].structured_input_signature[1]

    def call(self, endpoint: str, **inputs: ArrayLike) -> dict[str, np.ndarray]:
        """Calls an endpoint with arrays, or what NumPy makes arrays of; returns its outputs.

        See `export_saved_model` for the endpoints. A `UserError` if there is no such endpoint, it
        has other inputs, or it takes integers and is given others, such as images from 0 to 1.
        """
        import tensorflow as tf

        require_choice("endpoint", endpoint, self.endpoints)
        specs, tensors = self.inputs(endpoint), {}
        if inputs.keys() != specs.keys():
            raise UserError(
                f"Invalid inputs of the endpoint {endpoint}. Expected: {', '.join(sorted(specs))}. "
                f"Received: {', '.join(sorted(inputs)) or 'none'}"
            )
        for name, value in inputs.items():
            dtype = specs[name].dtype
            # NumPy would cut zeros off the end of a text.
            values = np.asarray(value) if dtype.is_integer else value
            tensors[name] = tf.constant(values, dtype)
            # TensorFlow cuts fractions off, and 256 becomes 0.
            if dtype.is_integer and not np.array_equal(tensors[name], value):
                raise UserError(
                    f"Invalid value for `{name}`. Expected integers that {dtype.name} holds. "
                    f"Received: {np.asarray(value).dtype}, from {np.min(value)} to {np.max(value)}"
                )
        outputs = self._loaded.signatures[endpoint](**tensors)
        return {name: output.numpy() for name, output in outputs.items()}

    def classify(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """All that the endpoint `classify` tells about each image.

        Args:
            images: uint8 `(N, height, width, channels)`, 0 to 255.

        Returns:
            Dict of `"class_id"` int32 `(N,)`, `"probabilities"` `(N, num_classes)`,
            `"log_likelihood"` `(N, num_classes)` (nats) and `"bits_per_dim"` `(N,)`.

        Raises:
            ValueError: If they have another shape, or aren't integers from 0 to 255.
        """
        images = checked_images(images, self.image_shape, self.num_levels)
        return self._in_batches("classify", "images", images)

    def classify_bytes(self, contents: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Like `classify`, for the content of PNG and JPEG files of any size.

        The images are decoded and resized inside the SavedModel.

        Args:
            contents: The content of each file.

        Returns:
            What `classify` returns. A file that can't be decoded has the class -1, and NaN
            elsewhere; the others are not affected.
        """
        return self._in_batches("classify_bytes", "image_bytes", np.array(list(contents), object))

    def sample(self, labels: np.ndarray, seed: int = 0, temperature: float = 1.0) -> np.ndarray:
        """Samples an image for each label.

        Args:
            labels: Int `(N,)`, or names of classes; -1 stands for a class at random.
            seed: Integer from 0 to 2^31 − 1. It and the position determine an image.
            temperature: From 1e-6 to 1e6; below 1, safer and smoother images.

        Returns:
            uint8 `(N, height, width, channels)`.

        Raises:
            ValueError: If an argument is out of range.
        """
        require_integer("seed", seed, low=0, high=2**31 - 1)
        require_temperature(temperature)
        labels = checked_labels(labels, np.size(labels), self.num_classes, self.class_names, -1)
        return self.call("sample", labels=labels, seed=seed, temperature=float(temperature))[
            "images"
        ]

    def _probabilities(self, images: np.ndarray) -> np.ndarray:
        return self.classify(images)["probabilities"]

    def _in_batches(
        self, endpoint: str, argument: str, values: np.ndarray
    ) -> dict[str, np.ndarray]:
        # Of nothing there is one batch too, which has the outputs' shapes.
        starts, batches = range(0, max(len(values), 1), self.batch_size), []
        tick = progress(len(starts))
        for start in starts:
            batches.append(
                self.call(endpoint, **{argument: values[start : start + self.batch_size]})
            )
            tick()
        return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def version_folder(path: str | Path) -> Path:
    """The folder of one version of a SavedModel: `path` itself, or the highest number in it.

    `path` may be a run's folder too.
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
        "`pixelcnnpp export` wrote, such as runs/NAME/savedmodel. A run is exported "
        "by: pixelcnnpp export --run runs/NAME"
    )


def _is_exported(folder: Path) -> bool:
    return (folder / "saved_model.pb").is_file() and (folder / "assets" / "config.json").is_file()


def _load(folder: Path) -> Any:
    try:
        import tensorflow as tf
    except ImportError as error:
        raise not_installed("A SavedModel", "tensorflow") from error
    # Protocol buffers, variables and operations each fail in their own way.
    with as_user_error(f"{folder} cannot be loaded as a SavedModel"):
        return tf.saved_model.load(str(folder))
