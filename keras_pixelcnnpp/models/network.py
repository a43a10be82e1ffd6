"""What every causal network of the family has, and the sampler relies on."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_pixelcnnpp.backend import Nest, Tensor
from keras_pixelcnnpp.layers.conditioning import (
    PLACES,
    LabelConditioning,
    build_conditioning,
    parse_conditioning,
)
from keras_pixelcnnpp.layers.convolutions import Convolutions, ShiftedConv2DTranspose
from keras_pixelcnnpp.layers.evaluation import Evaluation, WholeImage


class AutoregressiveNetwork(keras.layers.Layer):
    """Maps a scaled image and candidate labels to the parameters of each pixel's distribution.

    The parameters at pixel `(i, j)` depend on the pixels before it in raster order and on the
    label. A subclass defines two stacks, which the sampler runs row by row and pixel by pixel with
    evaluations of its own:

    - `call_vertical_stack(pixels, labels, evaluation, training)` returns features of the rows
      above, a nest of dicts of tensors; an empty dict if the network has one stack only;
    - `call_horizontal_stack(pixels, vertical, labels, evaluation, training)` returns the
      parameters, given these features and the pixels to the left.

    `vertical_convolutions()` and `horizontal_convolutions()` list the convolutions that the two
    stacks call through the evaluation, each with its resolution; the first horizontal one is given
    the pixels. `vertical_upsamplings` and `horizontal_upsamplings` are the transposed convolutions,
    highest resolution first.

    Args:
        num_parameters: Integer, number of parameters of a pixel.
        conditioning: Names of the label strategies, joined by `+`.
        num_classes: Integer, number of classes (0 for none).
        groups: Integer, in how many groups of channels sub-pixels see the earlier ones of their
            own pixel: after each evaluation of a pixel one more of them is final.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        image: Float tensor `(batch, 1, height, width, channels)`, scaled to [-1, 1].
        labels: Int tensor `(batch, candidates)`, or `None`.
        evaluation: How layers are applied and see their neighbors.
        training: Boolean, whether dropout is active.

    Returns:
        Float32 tensor `(batch, candidates, height, width, num_parameters)`; `candidates` stays 1
        if no strategy lets the labels in.
    """

    num_resolutions = 1
    vertical_upsamplings: Sequence[ShiftedConv2DTranspose] = ()
    horizontal_upsamplings: Sequence[ShiftedConv2DTranspose] = ()
    places: tuple[str, ...] = PLACES  # where labels can enter

    def __init__(
        self,
        num_parameters: int,
        conditioning: str = "none",
        num_classes: int = 0,
        groups: int = 1,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        parse_conditioning(conditioning, self.places, groups)
        self.num_parameters = num_parameters
        self.conditioning = conditioning
        self.num_classes = num_classes
        self.groups = self.evaluations_per_pixel = groups

    def conditioned(self, place: str, prefix: str = "") -> list[LabelConditioning]:
        """The layers of the label strategies that act at a place."""
        return build_conditioning(
            self.conditioning, place, self.num_classes, prefix, self.dtype_policy
        )

    def call(
        self,
        image: Tensor,
        labels: Tensor | None = None,
        evaluation: Evaluation = WholeImage(),
        training: bool = False,
    ) -> Tensor:
        pixels = self.to_pixels(image, labels, evaluation)
        vertical = self.call_vertical_stack(pixels, labels, evaluation, training)
        return self.call_horizontal_stack(pixels, vertical, labels, evaluation, training)

    def to_pixels(
        self, image: Tensor, labels: Tensor | None, evaluation: Evaluation = WholeImage()
    ) -> Tensor:
        """The network's input from a scaled image, or a part of one."""
        return evaluation.arithmetic.cast(image, self.compute_dtype)

    def call_vertical_stack(
        self,
        pixels: Tensor,
        labels: Tensor | None,
        evaluation: Evaluation = WholeImage(),
        training: bool = False,
    ) -> Nest:
        """Evaluates the vertical stack; a network of one stack returns an empty dict."""
        return {}

    def vertical_convolutions(self) -> Convolutions:
        """Pairs of each convolution that `call_vertical_stack` evaluates and its resolution."""
        return []
