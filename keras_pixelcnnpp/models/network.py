"""Interface of the causal networks, which the sampler evaluates row by row and pixel by pixel."""

from typing import Any

import keras

from keras_pixelcnnpp.conditions import ConditionEncoder
from keras_pixelcnnpp.layers.arithmetic import FloatArithmetic
from keras_pixelcnnpp.layers.conditioning import PLACES, Conditioning, parse_conditioning
from keras_pixelcnnpp.layers.evaluation import Evaluation
from keras_pixelcnnpp.layers.level_embedding import LevelEmbedding
from keras_pixelcnnpp.layers.network_config import NetworkConfig
from keras_pixelcnnpp.utils.backend import Nest, Tensor


class AutoregressiveNetwork(keras.layers.Layer):
    """Base class of causal networks, which compute each pixel's parameters from earlier pixels.

    The parameters at pixel `(i, j)` depend on earlier pixels in raster order and on the condition.
    Subclasses define two stacks, which the sampler evaluates row by row and pixel by pixel:

    - `call_vertical_stack(pixels, evaluation, training)` returns features of the rows above, nested
      dicts of tensors, or an empty dict if the network has only one stack.
    - `call_horizontal_stack(pixels, vertical, evaluation, training)` returns the parameters, given
      these features and the pixels to the left.

    Both call their convolutions by `evaluation.convolve`, and all other layers by
    `evaluation.arithmetic.apply`. Convolutions of the pixels, and only these, exclude the current
    pixel: `strict=True` or `mask="A"`. The vertical stack uses `DownShiftedConv2D`; the horizontal
    stack uses `DownRightShiftedConv2D` or `MaskedConv2D`.

    Args:
        config: `NetworkConfig`, the options of the network.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        levels: Tensor of whole numbers `(batch, 1, height, width, channels)`, from 0 to
            `num_levels - 1`.
        values: Values of the condition, as the network takes them: `(batch, candidates, ...)`, for
            labels int `(batch, candidates)`.
        arithmetic: Arithmetic of the layers and nonlinearities.
        training: Boolean, whether dropout is active.

    Returns:
        Float32 tensor `(batch, candidates, height, width, num_parameters)`. `candidates` is 1 if
        the network does not use the condition.
    """

    places: tuple[str, ...] = PLACES  # supported places of conditioning

    def __init__(
        self,
        config: NetworkConfig,
        **kwargs: Any,
    ):
        # Keras would round numbers in `values` in mixed precision, before they are encoded.
        super().__init__(autocast=False, **kwargs)
        places = [place for place in self.places if place in config.conditions.places]
        description = config.conditions.description
        parse_conditioning(config.conditioning, places, config.groups, description)
        self.config = config
        self.num_parameters = config.num_parameters
        self.conditions = config.conditions
        self.encoder = ConditionEncoder(config.conditions, config.image_shape, name="encoder")
        self.groups = self.evaluations_per_pixel = config.groups
        self.level_embedding = None
        if not config.ordered_levels:
            # Float32 under every dtype policy, like the scaled levels of other images.
            self.level_embedding = LevelEmbedding(
                config.num_levels, config.image_shape[-1], name="level_embedding", dtype="float32"
            )

    def conditioned(self, place: str, prefix: str = "") -> list[Conditioning]:
        """Creates the layers of the conditioning strategies that act at a place."""
        return self.config.strategies(place, self.dtype_policy, prefix)

    def call(
        self,
        levels: Tensor,
        values: Tensor,
        arithmetic: FloatArithmetic = FloatArithmetic(),
        training: bool = False,
    ) -> Tensor:
        evaluation = Evaluation(arithmetic, self.encoder(values))
        pixels = self.to_pixels(levels, evaluation)
        vertical = self.call_vertical_stack(pixels, evaluation, training)
        return self.call_horizontal_stack(pixels, vertical, evaluation, training)

    def to_pixels(self, levels: Tensor, evaluation: Evaluation = Evaluation()) -> Tensor:
        """Converts the levels of images, or of a part of them, to the network's input.

        Ordered levels are scaled to [-1, 1]; others are replaced by learned vectors.
        """
        arithmetic = evaluation.arithmetic
        if self.level_embedding is None:
            pixels = arithmetic.scale_to_unit(levels, self.config.num_levels)
        else:
            pixels = arithmetic.apply(self.level_embedding, levels)
        return arithmetic.cast(pixels, self.compute_dtype)

    def call_vertical_stack(
        self,
        pixels: Tensor,
        evaluation: Evaluation = Evaluation(),
        training: bool = False,
    ) -> Nest:
        """Evaluates the vertical stack. Networks with one stack return an empty dict."""
        return {}
