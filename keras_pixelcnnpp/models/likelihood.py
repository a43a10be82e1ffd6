"""A causal network and the distribution of a pixel, and the likelihoods of tensors of images."""

import inspect
from collections.abc import Callable, Collection, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.conditions import (
    LABEL,
    ConditionEncoder,
    Part,
    Values,
    conditions_of,
)
from keras_pixelcnnpp.conditions.values import num_candidates
from keras_pixelcnnpp.distributions.heads import HEADS
from keras_pixelcnnpp.distributions.levels import cast, levels_of, to_images
from keras_pixelcnnpp.layers.network_config import NetworkConfig
from keras_pixelcnnpp.models.image_model import ImageModel
from keras_pixelcnnpp.models.network import AutoregressiveNetwork
from keras_pixelcnnpp.utils.backend import Nest, Tensor, with_shape
from keras_pixelcnnpp.utils.checks import (
    MAX_MIXTURES,
    argument_names,
    checked_image_shape,
    image_dtype,
    plain,
    require_choice,
    require_integer,
    require_number,
)
from keras_pixelcnnpp.utils.compiled_functions import CompiledFunctions
from keras_pixelcnnpp.utils.errors import UserError, invalid_argument


class LikelihoodModel(ImageModel):
    """Base class of models of p(x | y): a network, the distribution of a pixel, and conditions.

    The arguments of the constructor are documented in `PixelCNNPlusPlus`.
    """

    _default_conditioning = "bias"
    _head_has_tables = True  # see `CategoricalHead`

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int | None = None,
        num_levels: int = 256,
        *,
        filters: int | Sequence[int],
        num_blocks: int | Sequence[int],
        num_mixtures: int = 5,
        head: str | None = None,
        ordered_levels: bool = True,
        conditioning: str | None = None,
        dropout_rate: float = 0.0,
        class_names: Sequence[str] | None = None,
        conditions: Part | Sequence[Part] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.conditions = conditions_of(num_classes, class_names, conditions)
        if conditioning is None:
            conditioning = self._default_conditioning if self.conditions.num_rows > 1 else "none"
        if head is None:
            head = "logistic_mixture" if ordered_levels else "categorical"
        require_choice("head", head, tuple(HEADS))
        if HEADS[head].uses_order and not ordered_levels:
            expected = (
                "a head that does not use the order of the levels, such as 'categorical', for"
            )
            raise invalid_argument("head", head, f"{expected} ordered_levels=False")
        require_integer("num_levels", num_levels, low=2, high=HEADS[head].max_levels)
        require_integer("num_mixtures", num_mixtures, high=MAX_MIXTURES)
        require_number("dropout_rate", dropout_rate, "[0, 1)")
        self.image_shape = checked_image_shape(image_shape)
        self.num_levels = plain(num_levels)
        self.ordered_levels = plain(ordered_levels)
        self.filters = plain(filters)
        self.num_blocks = plain(num_blocks)
        self.num_mixtures = plain(num_mixtures)
        self.head = head
        self.conditioning = conditioning
        self.dropout_rate = plain(dropout_rate)
        possible = {
            "channels": self.image_shape[-1],
            "num_levels": self.num_levels,
            "num_mixtures": self.num_mixtures,
            "tables": self._head_has_tables,
        }
        taken = possible.keys() & inspect.signature(HEADS[head].__init__).parameters
        self.distribution = HEADS[head](**{name: possible[name] for name in taken})
        self._functions = CompiledFunctions()
        self.network = self.make_network()

    def make_network(self) -> AutoregressiveNetwork:
        """Creates the network. The constructor calls it after setting its attributes."""
        raise NotImplementedError

    def network_config(self, **options: Any) -> NetworkConfig:
        """Returns the options of the network: arguments of the model, or those in `options`."""
        shared = set(NetworkConfig.names()) & set(argument_names(type(self)))
        given = {name: getattr(self, name) for name in shared - options.keys()}
        num_parameters = self.distribution.num_parameters
        return NetworkConfig(num_parameters=num_parameters, **given, **options)

    def arguments_of_network(self) -> dict[str, Any]:
        """Returns the arguments that determine the network and the head, without those of data.

        Models with equal ones can have the same weights, except for those of the condition.
        """
        others = "image_shape", "dropout_rate", *inspect.signature(conditions_of).parameters
        return {name: value for name, value in self.arguments().items() if name not in others}

    def arguments(self, omitted: Collection[str] = ()) -> dict[str, Any]:
        of_conditions = inspect.signature(conditions_of).parameters
        return {**super().arguments({*omitted, *of_conditions}), **self.encoder.learned.arguments()}

    def build(self, input_shape: Any) -> None:
        height, width, channels = self.image_shape
        self.network.build((None, 1, height, width, channels))

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 if the condition has no classes."""
        return self.conditions.num_classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.conditions.class_names

    @property
    def encoder(self) -> ConditionEncoder:
        """The layer that encodes the condition, which has the bounds that `fit` has found."""
        return self.network.encoder

    def condition_values(self, condition: Any, count: int, **how: bool) -> Values:
        """Returns the condition of `count` images that a user gave as the network takes it.

        `how` has arguments of `Conditions.parse`.
        """
        self.require_values()
        return self.encoder.scaled(self.conditions.parse(condition, count, **how))

    def wrong_values(self, y: Any) -> str:
        self.require_values()
        return self.encoder.wrong_values(y)

    @property
    def widths(self) -> tuple[int, ...]:
        """Number of filters at each resolution, highest first."""
        return (self.filters,)

    @property
    def compiled_functions(self) -> CompiledFunctions:
        """The functions that the model keeps for its next calls."""
        self.require_values()
        return self._functions

    def require_values(self) -> None:
        """Gives the variables their values, which JAX removes during `fit`, for its callbacks."""
        if keras.backend.backend() == "jax":
            self.jax_state_sync()

    def to_levels(self, images: np.ndarray | Tensor) -> np.ndarray | Tensor:
        """Converts images to the levels from 0 to `num_levels - 1` that the model distinguishes.

        Codes (`ordered_levels=False`) are levels already, and returned unchanged.
        """
        return levels_of(images, self.num_levels) if self.ordered_levels else images

    def to_images(self, levels: np.ndarray | Tensor) -> np.ndarray | Tensor:
        """Converts levels to images, the right inverse of `to_levels`: uint8, or uint16 codes."""
        if self.ordered_levels:
            return to_images(levels, self.num_levels)
        return cast(levels, image_dtype(self.num_levels))

    def network_input(self, images: Tensor) -> Tensor:
        """Returns the levels of images as the network takes them, `(batch, 1, height, …)`."""
        levels = self.to_levels(with_shape(images, self.image_shape))
        if self.may_be_invalid(images):  # networks and heads look up levels
            levels = ops.clip(ops.cast(levels, "int32"), 0, self.num_levels - 1)
        return ops.expand_dims(levels, 1)

    def pixel_parameters(
        self, images: Tensor, values: Nest | None = None, training: bool = False
    ) -> Tensor:
        """Computes the parameters of each pixel's distribution, given earlier pixels and a value.

        Args:
            images: Integer tensor `(batch, height, width, channels)`, 0 to 255.
            values: Candidate values of the condition for each image, as `encoder.scaled_tensor`
                returns them, with an axis of candidates: a dict by the names of the parts, int
                `(batch, K)` for labels, float `(batch, K, ...)` for others; or the tensor of a
                single part. `None` for an unconditional model.
            training: Boolean, whether dropout is active.

        Returns:
            Float32 tensor `(batch, K, height, width, num_parameters)`. Images with values out of
            range give NaN.
        """
        self.require_images(images)
        network = self._compiled_network() or self.network
        values = self._by_name(images, values)
        parameters = network(self.network_input(images), values, training=training)
        candidates = num_candidates(values)
        if candidates != parameters.shape[1]:  # the network does not use the condition
            parameters = ops.repeat(parameters, candidates, axis=1)
        return self.nan_where_invalid(images, parameters)

    def _by_name(self, images: Tensor, values: Nest | None) -> Values:
        """Returns candidate values by the names of the parts, with a class for each image."""
        if isinstance(values, dict) and LABEL in values:
            return values
        by_name = self.conditions.by_name(values)
        if any(one is None for one in by_name.values()):
            raise UserError(
                f"A model of {self.conditions.description} needs values. Received: values={values}"
            )
        return {LABEL: ops.zeros((ops.shape(images)[0], 1), "int32"), **by_name}

    def pixel_log_likelihood(
        self, images: Tensor, values: Nest | None = None, training: bool = False
    ) -> Tensor:
        """Computes the log-likelihood of each pixel given earlier pixels and candidate values.

        Args:
            images: Integer tensor `(batch, height, width, channels)`, 0 to 255. Images with values
                out of range give NaN.
            values: Candidate values of the condition for each image, as `encoder.scaled_tensor`
                returns them, with an axis of candidates: a dict by the names of the parts, int
                `(batch, K)` for labels, float `(batch, K, ...)` for others; or the tensor of a
                single part. `None` for an unconditional model.
            training: Boolean, whether dropout is active.

        Returns:
            Float32 tensor `(batch, K, height, width)`, nats; K is 1 for an unconditional model.
        """
        parameters = self.pixel_parameters(images, values, training)
        return self.distribution.log_prob(parameters, self.network_input(images))

    def log_likelihood(
        self, images: Tensor, values: Nest | None = None, training: bool = False
    ) -> Tensor:
        """Sums `pixel_log_likelihood` over the pixels.

        Args:
            images: Integer tensor `(batch, height, width, channels)`, 0 to 255. Images with values
                out of range give NaN.
            values: Candidate values of the condition for each image, as `encoder.scaled_tensor`
                returns them, with an axis of candidates: a dict by the names of the parts, int
                `(batch, K)` for labels, float `(batch, K, ...)` for others; or the tensor of a
                single part. `None` for an unconditional model.
            training: Boolean, whether dropout is active.

        Returns:
            Float32 tensor `(batch, K)`, nats; K is 1 for an unconditional model.
        """
        return ops.sum(self.pixel_log_likelihood(images, values, training), axis=(2, 3))

    def _compiled_network(self) -> Callable | None:
        """Returns the network for torch's compiler with `jit_compile=True`, else `None`."""
        if keras.backend.backend() != "torch" or not self.jit_compile:
            return None
        from keras_pixelcnnpp.models.torch_network import CompiledNetwork

        return self.compiled_functions.get("network", lambda: CompiledNetwork(self.network))
