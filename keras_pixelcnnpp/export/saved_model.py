"""Loads an exported SavedModel, calls its endpoints, and wraps it as a scikit-learn classifier."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from keras_pixelcnnpp.conditions import Conditions, Numbers, Values, conditions_of
from keras_pixelcnnpp.estimators.classifiers import ImageClassifier
from keras_pixelcnnpp.training.run import RunFolder, check_data
from keras_pixelcnnpp.utils.backend import in_batches
from keras_pixelcnnpp.utils.checks import (
    checked_images,
    require_choice,
    require_integer,
    require_temperature,
)
from keras_pixelcnnpp.utils.errors import UserError, as_user_error, not_installed
from keras_pixelcnnpp.utils.files import read_json


class SavedModelClassifier(ImageClassifier):
    """Classifies and samples with a SavedModel that `pixelcnnpp export` wrote.

    It needs TensorFlow under every Keras backend, and loads the SavedModel at first use. A
    SavedModel is a program, so load only files that you trust.

    Args:
        path: Folder of a version, such as `runs/NAME/savedmodel/1`; or `runs/NAME/savedmodel` or
            `runs/NAME`, for the newest version.
        batch_size: Integer, number of images per batch.

    Example:

    ```python
    classifier = SavedModelClassifier("runs/digits/savedmodel")
    classifier.predict(images)                      # uint8 (N, height, width, channels)
    classifier.classify_bytes([Path("seven.png").read_bytes()])["class_id"]
    classifier.sample([3, 3], seed=0)
    classifier.complete(images, 4, labels)          # keeps the first four rows
    ```
    """

    def __init__(self, path: str | Path, batch_size: int = 64):
        self.path = path
        self.batch_size = batch_size

    def set_params(self, **params: Any) -> Self:
        """Sets constructor arguments, like any scikit-learn estimator.

        Args:
            **params: The arguments and their new values.

        Returns:
            `self`.
        """
        for loaded in ("folder", "config", "_loaded"):  # they may belong to another path
            self.__dict__.pop(loaded, None)
        return super().set_params(**params)

    def load(self) -> Self:
        """Loads the SavedModel now instead of at first use.

        Returns:
            `self`.

        Raises:
            UserError: If `path` has no SavedModel of this package, or TensorFlow isn't installed.
        """
        _ = self.config, self._loaded
        return self

    @cached_property
    def folder(self) -> Path:
        """Folder of the loaded version."""
        return version_folder(self.path)

    @cached_property
    def config(self) -> dict:
        """Configuration of the training run."""
        file = self.folder / "assets" / "config.json"
        config = read_json(file)
        # Has the entries and rules of a run's configuration.
        check_data(config, file, ("class_names", "conditions", "image_shape", "num_levels"))
        return config

    @cached_property
    def _loaded(self) -> Any:
        try:
            import tensorflow as tf
        except ImportError as error:
            raise not_installed("A SavedModel", "tensorflow") from error
        # Damaged protocol buffers, variables and operations raise different errors.
        with as_user_error(f"{self.folder} cannot be loaded as a SavedModel"):
            # The whole object, because signatures alone do not keep the variables alive.
            return tf.saved_model.load(str(self.folder))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of `classes_`."""
        return tuple(self.config["class_names"])

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def conditions(self) -> Conditions:
        """Conditions of the model."""
        return conditions_of(**self.config["conditions"])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape `(height, width, channels)` of the model's images."""
        return tuple(self.config["image_shape"])

    @property
    def num_levels(self) -> int:
        """Number of levels of a sub-pixel."""
        return self.config["num_levels"]

    @property
    def endpoints(self) -> list[str]:
        """Sorted names of the endpoints."""
        return sorted(self._loaded.signatures)

    def inputs(self, endpoint: str) -> dict:
        """Returns a dict from the names of an endpoint's inputs to their `tf.TensorSpec`.

        Args:
            endpoint: Name of the endpoint.
        """
        return self._loaded.signatures[endpoint].structured_input_signature[1]

    def call(self, endpoint: str, **inputs: ArrayLike) -> dict[str, np.ndarray]:
        """Calls an endpoint of `export_saved_model`, and returns its outputs as arrays.

        Args:
            endpoint: Name of the endpoint.
            **inputs: Arrays, or values that NumPy converts to arrays, by the names of the inputs.

        Raises:
            UserError: If the endpoint or its inputs are unknown, or it expects integers and
                receives other values, such as images from 0 to 1.

        Vectors and maps outside of the bounds of the model issue a warning.
        """
        for part in self.conditions:
            values = np.asarray(inputs.get(part.kind))
            if isinstance(part, Numbers) and values.shape[1:] == part.shape:
                part.note_outside(values.astype("float64"))
        return self._outputs(endpoint, inputs)

    def _outputs(self, endpoint: str, inputs: dict[str, ArrayLike]) -> dict[str, np.ndarray]:
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
            # Not for strings, because NumPy would strip trailing zero bytes.
            values = np.asarray(value) if dtype.is_integer else value
            tensors[name] = tf.constant(values, dtype)
            # TensorFlow would truncate fractions, and convert 256 to 0.
            if dtype.is_integer and not np.array_equal(tensors[name], value):
                raise UserError(
                    f"Invalid value for `{name}`. Expected integers in the range of {dtype.name}. "
                    f"Received: {np.asarray(value).dtype}, from {np.min(value)} to {np.max(value)}"
                )
        outputs = self._loaded.signatures[endpoint](**tensors)
        return {name: output.numpy() for name, output in outputs.items()}

    def classify(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Returns classes, probabilities, log-likelihoods and bits/dim of images.

        Args:
            images: uint8 array `(N, height, width, channels)`, 0 to 255, or uint16 array of levels.

        Returns:
            Dict of the outputs of the endpoint `classify`; see `export_saved_model`.

        Raises:
            ValueError: If the images have the wrong shape, or aren't integers from 0 to 255.
        """
        return self._in_batches("classify", "images", self._checked(images))

    def classify_bytes(self, contents: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Classifies PNG and JPEG files, which are decoded and resized inside the SavedModel.

        Args:
            contents: Sequence of bytes, the content of each file.

        Returns:
            Dict of the outputs of the endpoint `classify_bytes`; see `export_saved_model`.
        """
        return self._in_batches("classify_bytes", "image_bytes", np.array(list(contents), object))

    def sample(self, condition: Any, seed: int = 0, temperature: float = 1.0) -> np.ndarray:
        """Samples an image for each value of the condition.

        Args:
            condition: Labels, int `(N,)` or class names, of which -1 samples the class at random,
                and thus from p(x); vectors, float `(N, size)`; maps `(N, height, width, channels)`;
                or a tuple of these in the order of the parts, or a dict by their names. A single
                value gives one image. For an unconditional model, the integer N.
            seed: Integer from 0 to 2^31 − 1. Seed and position determine an image.
            temperature: Number from 1e-6 to 1e6. Below 1, images are smoother and less diverse.

        Returns:
            uint8 array `(N, height, width, channels)`, or uint16 array of levels.

        Raises:
            ValueError: If an argument is out of range.
        """
        parsed = self.conditions.parse_for_samples(condition)
        return self._sampled("sample", parsed, seed, temperature)

    def complete(
        self,
        images: np.ndarray,
        observed_rows: int,
        condition: Any = None,
        seed: int = 0,
        temperature: float = 1.0,
    ) -> np.ndarray:
        """Keeps the first rows of images and samples the rest.

        Args:
            images: uint8 array `(N, height, width, channels)`, 0 to 255, or uint16 array of levels.
            observed_rows: Integer, number of rows that are kept, counted from the top.
            condition: Labels, int `(N,)` or class names; vectors, float `(N, size)`; maps `(N,
                height, width, channels)`; or a tuple of these in the order of the parts, or a dict
                by their names; or one value for all images. `None` for an unconditional model.
            seed: Integer from 0 to 2^31 − 1. Seed and position determine an image.
            temperature: Number from 1e-6 to 1e6. Below 1, images are smoother and less diverse.

        Returns:
            uint8 array `(N, height, width, channels)`, or uint16 array of levels, exact samples of
            p(unknown | known, y).

        Raises:
            ValueError: If an argument is out of range.
        """
        images = self._checked(images)
        require_integer("observed_rows", observed_rows, low=0, high=self.image_shape[0])
        parsed = self.conditions.parse(condition, len(images), unknown=False)
        given = {"images": images, "observed_rows": observed_rows}
        return self._sampled("complete", parsed, seed, temperature, **given)

    def _sampled(
        self, endpoint: str, parsed: Values, seed: int, temperature: float, **inputs: Any
    ) -> np.ndarray:
        require_integer("seed", seed, low=0, high=2**31 - 1)
        require_temperature(temperature)
        inputs |= self.conditions.prepared(parsed)
        inputs |= {"seed": seed, "temperature": float(temperature)}
        return self._outputs(endpoint, inputs)["images"]

    def _checked(self, images: np.ndarray) -> np.ndarray:
        ordered = self.config.get("ordered_levels", True)
        return checked_images(images, self.image_shape, self.num_levels, ordered=ordered)

    @property
    def _trained(self) -> Self:
        return self

    def _probabilities(self, images: np.ndarray) -> np.ndarray:
        return self.classify(images)["probabilities"]

    def _in_batches(
        self, endpoint: str, argument: str, values: np.ndarray
    ) -> dict[str, np.ndarray]:
        # At least one batch, which may be empty, to get the shapes of the outputs.
        starts = range(0, max(len(values), 1), self.batch_size)
        batches = [{argument: values[start : start + self.batch_size]} for start in starts]
        return in_batches(lambda batch: self.call(endpoint, **batch), batches, "auto")


def version_folder(path: str | Path) -> Path:
    """Returns the folder of a version of a SavedModel.

    `path` is this folder, or a folder of versions or of a run, whose highest version is returned.
    """
    path = Path(path)
    if _is_exported(path):
        return path
    for folder in (path, RunFolder(path).savedmodel):
        numbered = [version for version in folder.glob("*") if version.name.isdigit()]
        if versions := list(filter(_is_exported, numbered)):
            return max(versions, key=lambda version: int(version.name))
    raise UserError(
        f"No SavedModel of this package in {path}. Expected the folder of a run, or a folder that "
        "`pixelcnnpp export` wrote, such as runs/NAME/savedmodel. To export a run: "
        "pixelcnnpp export --run runs/NAME"
    )


def _is_exported(folder: Path) -> bool:
    return (folder / "saved_model.pb").is_file() and (folder / "assets" / "config.json").is_file()
