"""Base classes of the parts of a model's conditions: what a part is, and the layer that encodes it.

A `Part` says what its values are, how they are read, written down, and refused, and which weights
the conditioning strategies have for them. It is plain data, which never changes. Its `PartEncoder`
is a layer of the network, which holds everything learned from training data.

A new kind of condition is a subclass of each, in one file. Nothing else lists the kinds.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_pixelcnnpp.utils.backend import Tensor
from keras_pixelcnnpp.utils.checks import require_choice
from keras_pixelcnnpp.utils.errors import UserError, invalid_argument

#: The places of a network at which a strategy can act; see `Conditioning`.
PLACES = ("input", "stem", "hidden", "gate", "bottleneck", "head")

#: The kinds of parts by their `kind` in saved configurations. A class adds itself.
KINDS: dict[str, type["Part"]] = {}


def part_from_config(config: Any) -> "Part":
    """Returns the part of a saved configuration: a `kind`, and the arguments of its class.

    Raises:
        ValueError: If the kind is unknown, or the arguments don't fit.
    """
    if not isinstance(config, dict):
        raise invalid_argument("conditions", config, "a dict with the kind and its arguments")
    arguments = dict(config)
    kind = arguments.pop("kind", None)
    require_choice("kind", kind, tuple(KINDS))
    return KINDS[kind](**arguments)


class Part(ABC):
    """Base class of the parts of a model's conditions, such as `Labels` and `Vectors`.

    The attributes describe a kind of part. What needs more of a part than all have (compression,
    export, frames) refuses it by default.

    Attributes:
        name: String, what messages call one value, and its key in dicts of values.
        kind: String, key of the class in `KINDS`, and what messages call several values.
        description: String, what the values are, for messages, such as `"10 classes"`.
        names: Tuple of names: those of the classes, or of the components of a vector.
        needs_values: Boolean, whether each image needs a value, because p(x) without one is not a
            mean over a finite number of values.
        shape: Tuple of integers, the shape of one value.
        dtype: String, the dtype of values as the network takes them.
        num_rows: Integer, number of rows of a table of weights.
        code_size: Integer, number of channels of the result of `code`.
        places: Tuple of strings, the places at which strategies can use the part.
        conditioned_blocks: String, default of this argument of `PixelCNNPlusPlus`.
        compressible: Boolean, whether the codec can encode the values exactly.
        exportable: Boolean, whether a SavedModel can take the values.
        tileable: Boolean, whether a value of a frame gives one for each of its windows.
        in_data: String, where data have the values, for messages; empty if data cannot have them.
    """

    name: str
    kind: str
    description: str
    names: tuple[str, ...] = ()
    needs_values: bool = True
    shape: tuple[int, ...] = ()
    dtype: str = "float32"
    num_rows: int
    code_size: int = 0
    places: tuple[str, ...] = tuple(place for place in PLACES if place != "input")
    conditioned_blocks: str = "up_horizontal"
    compressible: bool = False
    exportable: bool = False
    tileable: bool = False
    in_data: str = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "kind" in vars(cls):
            KINDS[cls.kind] = cls

    # --- plain data ---------------------------------------------------------------------------

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Returns the arguments that create an equal part, as plain data."""

    # --- values -------------------------------------------------------------------------------

    @abstractmethod
    def parse(
        self, given: Any, count: int, unknown: bool = True, several: bool = False
    ) -> np.ndarray:
        """Returns the values of `count` images that a user gave as an array, in its own units.

        Args:
            given: What a user gave for the part, `None` for nothing.
            count: Integer, number of images.
            unknown: Boolean, whether a class that is not known is accepted.
            several: Boolean, whether several values for each image are accepted.

        Returns:
            Array `(count, *shape)`; `(count, K, *shape)` if several values were given.

        Raises:
            ValueError: If the values don't fit.
        """

    def note_one_for_all(self, given: Any, count: int) -> None:
        """Issues a warning if one value was given for many training images."""
        return

    @abstractmethod
    def number_of(self, given: Any) -> int:
        """Returns the number of images for which a user gave values, to sample them.

        Raises:
            ValueError: If the values don't fit.
        """

    @abstractmethod
    def example(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Returns random values for `count` images, as the network takes them."""

    def have_candidates(self, values: Any) -> bool:
        """Returns whether values are several for each image, `(N, K, *shape)`."""
        return len(values.shape) == len(self.shape) + 2

    # --- data ---------------------------------------------------------------------------------

    @classmethod
    def of_data(
        cls, values: np.ndarray, names: Sequence[str] = (), num_codes: int | None = None
    ) -> "Part":
        """Returns the part of which images in data have values, without bounds.

        Args:
            values: Array `(N, ...)`, the values of the images.
            names: Names of the components, if the data have any.
            num_codes: Integer, number of codes, if the images are codes without an order.
        """
        raise UserError(f"Data cannot have {cls.kind}")

    @classmethod
    def checked_array(
        cls, values: np.ndarray, count: int, name: str, num_codes: int | None = None
    ) -> np.ndarray:
        """Returns the values of `count` images, from the array `name` of an `.npz` file.

        Raises:
            UserError: If the array cannot have the values.
        """
        raise UserError(f"Data cannot have {cls.kind}")

    def values_in(self, images: Any) -> Any:
        """Returns the values of `LabeledImages`.

        Raises:
            UserError: If the images lack them.
        """
        if self.name not in images.given:
            raise UserError(
                f"The model is conditioned on {self.description}. Expected a {self.name} for each "
                f"image: {self.in_data or 'an array given to `fit`'}. Received: none"
            )
        return images.given[self.name]

    def texts(self, values: np.ndarray) -> list[str]:
        """Returns what tells equal images with different values apart, a string for each."""
        return [" ".join(map(str, row)) for row in values.reshape(len(values), -1).tolist()]

    def described(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the numbers whose range is told when data are loaded, by what they are."""
        return {}

    # --- SavedModels --------------------------------------------------------------------------

    def served(self) -> tuple[tuple[int, ...], str]:
        """Returns the shape of a value in a SavedModel, whose input is `kind`, and its dtype."""
        return self.shape, self.dtype

    def prepared(self, parsed: np.ndarray) -> np.ndarray:
        """Returns the result of `parse` as a SavedModel takes it.

        Values at which the model extrapolates issue a warning.
        """
        return parsed

    # --- frames -------------------------------------------------------------------------------

    def pixel_size(self, image_shape: Sequence[int]) -> tuple[int, int]:
        """Returns how many rows and columns of an image a pixel of a value covers.

        It is (1, 1) for values that hold for the whole image.
        """
        return 1, 1

    def of_frame(self, size: Sequence[int], image_shape: Sequence[int]) -> "Part":
        """Returns the part for frames of a height and width, larger than the images.

        Values that hold for a whole image hold for a whole frame.
        """
        return self

    def in_window(self, values: Any, rows: slice, columns: slice) -> Any:
        """Returns the part of values `(batch, ...)` of frames that belongs to a window.

        `rows` and `columns` count pixels of the values.
        """
        return values

    # --- weights ------------------------------------------------------------------------------

    @abstractmethod
    def encoder(self, image_shape: Sequence[int], name: str = "encoder") -> "PartEncoder":
        """Returns a new layer that encodes values for the strategies."""

    @abstractmethod
    def look_up(self, table: Tensor, encoded: Tensor) -> Tensor:
        """Returns the entries of encoded values in a table `(num_rows, ...)`.

        The axes of an entry are the last ones of the result, in place of the features of the
        encoded values.
        """

    def code(self, encoded: Tensor, dtype: str) -> Tensor:
        """Returns encoded values as numbers, `(..., code_size)`, for the network's input."""
        raise NotImplementedError(f"{self.kind} have no code, so `places` lacks 'input'")


class PartEncoder(keras.layers.Layer):
    """Base class of the layers that encode the values of a part for the strategies.

    Args:
        part: The part.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        values: Tensor `(batch, candidates, ...)`.

    Returns:
        A list with the encoded values at each resolution, of which the last also holds for lower
        ones: tensors `(batch, candidates, height, width, ...)`. Height and width are 1 if the
        values are the same everywhere.
    """

    def __init__(self, part: Part, **kwargs: Any):
        # float32 under every policy, because neighboring values differ little.
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.part = part
        self.built = True

    @property
    def learned(self) -> Part:
        """The part with what the encoder has learned from training data."""
        return self.part

    def require_same_scale(self, trained: "PartEncoder") -> None:
        """Raises a `UserError` if the weights of a trained encoder scale values in another way."""
        return

    def learn(self, parsed: np.ndarray | None) -> None:
        """Sets what the encoder learns from the training data, if it is not known yet.

        Args:
            parsed: The result of `Part.parse`; `None` for batches of a stream.

        Raises:
            ValueError: If something is not known that cannot be learned from a stream.
        """
        return

    def scaled(self, parsed: np.ndarray) -> np.ndarray:
        """Returns the result of `Part.parse` as the network takes it, `(N, ...)`.

        Values at which the model extrapolates issue a warning.
        """
        return parsed

    def scaled_tensor(self, parsed: Tensor) -> Tensor:
        """Returns tensors as the network takes them, like `scaled` for arrays."""
        return parsed

    def wrong_values(self, y: Any) -> str:
        """Returns what is wrong with the values of a batch of a stream; empty if not known."""
        return ""

    @abstractmethod
    def targets(self, y: Any, count: int | Tensor) -> tuple[Tensor, Tensor]:
        """Converts a batch of a stream to values as the network takes them.

        Returns:
            The values `(batch, ...)`, and which ones are valid, bool `(batch,)`. Those that are not
            valid are replaced by valid ones.

        Raises:
            ValueError: If values are missing, or have another shape or dtype.
        """
