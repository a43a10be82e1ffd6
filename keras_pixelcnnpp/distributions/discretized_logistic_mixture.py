"""The discretized logistic mixture as a TensorFlow Probability distribution."""

import importlib
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.distributions.logistic_mixture import LogisticMixtureHead
from keras_pixelcnnpp.distributions.mixture import split
from keras_pixelcnnpp.utils.backend import Tensor
from keras_pixelcnnpp.utils.errors import invalid_argument


def _import_tfp() -> Any:
    """Returns TensorFlow Probability for the current backend, or raises an `ImportError`."""
    backend = keras.backend.backend()
    if backend == "torch":
        raise ImportError(
            "DiscretizedLogisticMixture needs TensorFlow Probability, which has no torch backend. "
            "Use keras_pixelcnnpp.distributions.heads.LogisticMixtureHead instead."
        )
    name = "tensorflow_probability" + (".substrates.jax" if backend == "jax" else "")
    try:
        return importlib.import_module(name)
    except ImportError as error:
        packages = "tfp-nightly" if backend == "jax" else "tfp-nightly tf-keras"
        raise ImportError(
            "DiscretizedLogisticMixture needs TensorFlow Probability. Install it with `pip install "
            f"{packages}`. Received: {error}"
        ) from error


tfp = _import_tfp()


class DiscretizedLogisticMixture(tfp.distributions.Distribution):  # type: ignore[name-defined]
    """Mixture of discretized logistics over the channels of one pixel.

    An event is the vector of the channels of a pixel, integers from 0 to `num_levels - 1`. All
    channels share a mixture component, and earlier channels shift the mean of a channel linearly.

    `log_prob` is defined only for integers in this range. With `validate_args=True`, other values
    raise an error (under JAX, only outside of compiled functions).

    With one channel and one component, the distribution is a `tfd.QuantizedDistribution` of a
    `tfd.Logistic`.

    Args:
        mixture_parameters: Float tensor `(..., num_parameters)`, such as the result of
            `PixelCNNPlusPlus.pixel_parameters`. The module `mixture` documents its parts.
        channels: Integer, number of channels.
        num_levels: Integer, number of levels.
        validate_args, allow_nan_stats, name: Arguments of `tfp.distributions.Distribution`.

    Raises:
        ValueError: If the last axis of `mixture_parameters` doesn't fit `channels`.
        ImportError: On import, if TensorFlow Probability is not available for the backend.

    Example:

    >>> distribution = DiscretizedLogisticMixture(keras.ops.zeros((5, 50)), channels=3)
    >>> distribution.log_prob(keras.ops.zeros((5, 3))).shape
    (5,)

    Reference:
        Salimans et al. 2017, PixelCNN++, section 2.1 and 2.2, https://arxiv.org/abs/1701.05517
    """

    def __init__(
        self,
        mixture_parameters: Any,
        channels: int = 3,
        num_levels: int = 256,
        validate_args: bool = False,
        allow_nan_stats: bool = True,
        name: str = "DiscretizedLogisticMixture",
    ):
        arguments = dict(locals())
        self._parameters_tensor = ops.convert_to_tensor(mixture_parameters)
        num_mixtures = split(self._parameters_tensor, channels).logits.shape[-1]
        self._head = LogisticMixtureHead(channels, num_levels, num_mixtures)
        arguments.pop("self")
        arguments.pop("__class__")
        super().__init__(
            dtype=self._parameters_tensor.dtype,
            reparameterization_type=tfp.distributions.NOT_REPARAMETERIZED,
            validate_args=validate_args,
            allow_nan_stats=allow_nan_stats,
            parameters=arguments,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: int | None = None) -> dict[str, Any]:
        properties = tfp.util.ParameterProperties
        return {
            "mixture_parameters": properties(event_ndims=1),
            "channels": properties(event_ndims=None),
            "num_levels": properties(event_ndims=None),
        }

    @property
    def mixture_parameters(self) -> Tensor:
        """Parameters of the mixture, float tensor `(..., num_parameters)`."""
        return self._parameters_tensor

    @property
    def channels(self) -> int:
        """Number of channels, the length of an event."""
        return self._head.channels

    @property
    def num_levels(self) -> int:
        """Number of levels of each channel."""
        return self._head.num_levels

    @property
    def num_mixtures(self) -> int:
        """Number of mixture components."""
        return self._head.num_mixtures

    def _event_shape(self) -> Any:
        return tfp.distributions.Normal([0.0] * self.channels, 1.0).batch_shape

    def _event_shape_tensor(self) -> np.ndarray:
        return np.array([self.channels], "int32")

    def _log_prob(self, value: Tensor) -> Tensor:
        if value.shape[-1] != self.channels:
            raise invalid_argument("value", value, f"{self.channels} levels on its last axis")
        return self._head.log_prob(self._parameters_tensor, value)

    def _sample_control_dependencies(self, value: Tensor) -> list:
        if not self.validate_args:
            return []
        levels = ops.cast(value, self.dtype)
        inside = (levels >= 0) & (levels < self.num_levels)
        valid = ops.all(inside & (levels == ops.floor(levels)))
        message = f"Invalid `value`. Expected integers from 0 to {self.num_levels - 1}."
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            return [tf.debugging.assert_equal(valid, True, message)]
        if not valid:
            raise ValueError(message)
        return []

    def _sample_n(self, n: int | Tensor, seed: Any = None) -> Tensor:
        seed = tfp.random.sanitize_seed(seed)
        batch_shape = tuple(self._parameters_tensor.shape[:-1])
        uniform = tfp.distributions.Uniform(
            low=ops.cast(keras.config.epsilon(), self.dtype), high=1.0
        )
        noise = uniform.sample((n, *batch_shape, self._head.noise_size), seed=seed)
        return self._head.sample(self._parameters_tensor, noise)
