"""What sampling and compression need of a model."""

from typing import Any, Protocol

import keras
import numpy as np

from keras_pixelcnnpp.conditions import Conditions
from keras_pixelcnnpp.distributions.head import Head
from keras_pixelcnnpp.utils.backend import Tensor
from keras_pixelcnnpp.utils.compiled_functions import CompiledFunctions


class EvaluatedModel(Protocol):
    """What the incremental pass needs; an `ExactModel` has it, too."""

    image_shape: tuple[int, int, int]
    network: Any  # an `AutoregressiveNetwork`


class PixelModel(EvaluatedModel, Protocol):
    """A model of pixels, such as an `AutoregressiveModel`, which documents its attributes."""

    num_levels: int
    conditions: Conditions
    distribution: Head
    variables: list[keras.Variable]

    @property
    def num_classes(self) -> int: ...

    @property
    def class_names(self) -> tuple[str, ...]: ...

    @property
    def widths(self) -> tuple[int, ...]: ...

    @property
    def logit_scale(self) -> float: ...

    @property
    def compiled_functions(self) -> CompiledFunctions: ...

    def to_levels(self, images: np.ndarray | Tensor) -> np.ndarray | Tensor: ...

    def to_images(self, levels: np.ndarray | Tensor) -> np.ndarray | Tensor: ...

    def checked_images(self, images: Any, size: tuple[int, int] | None = None) -> np.ndarray: ...

    def class_log_likelihoods(self, images: np.ndarray, *, verbose: int | str) -> Any: ...

    def arguments_of_network(self) -> dict[str, Any]: ...
