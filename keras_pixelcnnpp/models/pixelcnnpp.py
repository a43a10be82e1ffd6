"""The conditional PixelCNN++: the model and its causal network."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_pixelcnnpp.layers.conditioning import condition
from keras_pixelcnnpp.layers.convolutions import (
    DownRightShiftedConv2D,
    DownShiftedConv2D,
    WeightNormalizedDense,
)
from keras_pixelcnnpp.layers.evaluation import Evaluation
from keras_pixelcnnpp.layers.gated_residual import ResidualStack
from keras_pixelcnnpp.layers.network_config import NetworkConfig
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.models.network import AutoregressiveNetwork
from keras_pixelcnnpp.utils.backend import Shape, Tensor, Tensors
from keras_pixelcnnpp.utils.checks import (
    MAX_BLOCKS,
    MAX_FILTERS,
    plain,
    require_choice,
    require_integer,
)
from keras_pixelcnnpp.utils.errors import invalid_argument


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class PixelCNNPlusPlus(AutoregressiveModel):
    """Class-conditional PixelCNN++, which generates, classifies and scores images.

    The model p(x | y) is a product over pixels in raster order. Each factor is a discretized
    logistic mixture, or a softmax, whose parameters a causal network computes from the earlier
    pixels and the label.

    Training maximizes the likelihood under the true label. With `label_loss_weight` > 0, each image
    is evaluated under `num_candidates` labels, the true one and random others. The cross-entropy of
    the true label among them is added to the loss:

        loss = bits/dim of the true label + label_loss_weight * cross-entropy (nats)

    With `unlabeled_weight` > 0, unlabeled images (label -1) contribute by p(x), the mean of
    p(x | y) over the classes:

        loss = unlabeled_weight * bits/dim of p(x)

    Except for `num_levels`, the default arguments are those of the preset `photographs`. The preset
    `course_report` has the arguments of the original course report.

    Args:
        image_shape: Triple of integers `(height, width, channels)`. Height and width must be
            multiples of `2 ** (num_resolutions - 1)`.
        num_classes: Integer, number of classes; 0 for an unconditional model. It is the shorthand
            for `conditions=Labels(num_classes)`.
        num_levels: Integer from 2 to 4096, number of values of a sub-pixel. Up to 256: images have
            values from 0 to 255, which are rounded to this number of levels. Samples contain only
            these values. From 257 on: images are uint16 with values from 0 to `num_levels - 1`,
            such as 0 to 4095 for 12 bits, and are not rounded. The smallest scale of a component is
            exp(-7) of half the range, so with 4096 levels a sub-pixel between the lowest and the
            highest level takes at least 2.9 bits.
        filters: Integer, or a sequence with one integer for each resolution, highest first: number
            of channels. By default 24 at the highest resolution, doubled at each lower one.
        num_blocks: Integer, or a sequence with one integer for each resolution: number of gated
            residual blocks. By default 2 at the highest resolution and 1 at the others, because
            most bits depend on neighboring pixels.
        num_resolutions: Integer, number of resolutions. Each halves height and width.
        num_mixtures: Integer, number of components of a logistic mixture.
        conditioning: `"none"`, or names from `keras_pixelcnnpp.layers.conditioning.STRATEGIES`
            joined by `+`. The default is `"bias+film"`, which shifts and scales the features of
            each conditioned block, or `"none"` for fewer than two classes.
        conditioned_blocks: Blocks that use the label: `"all"`; `"up"`, those after the lowest
            resolution; or `"up_horizontal"`, those of `"up"` in the horizontal stack. Features
            before them are computed once for all candidates. With four candidates,
            `"up_horizontal"` takes about half the time of `"all"`. The default is
            `"up_horizontal"`, or `"all"` for `Maps`.
        dropout_rate: Float in [0, 1). The reference code uses 0.5 for a network that is several
            times wider.
        label_loss_weight: Float >= 0, weight of the cross-entropy. A new value of this attribute
            takes effect after `compile`. The default is 0.3, or 0 for fewer than two classes. A
            likelihood of thousands of sub-pixels alone hardly depends on the label.
        num_candidates: Integer >= 2, number of labels that training compares for each image, at
            most `num_classes`. The default is 10, or all classes with `unlabeled_weight` > 0.
            Evaluation always compares all classes.
        unlabeled_weight: Float >= 0, weight of unlabeled images. A positive weight requires all
            classes as candidates.
        initial_logit_scale: Float > 0, initial factor of the log-likelihoods in the cross-entropy.
            The default is 0.1, because differences of hundreds of nats would make training
            unstable; or 1 (Bayes' rule) if `label_loss_weight` is 0.
        learn_logit_scale: Boolean, whether this factor is learned.
        learn_class_bias: Boolean, whether a bias for each class is learned.
        head: Name from `keras_pixelcnnpp.distributions.heads.HEADS`, the distribution of a pixel:
            `"logistic_mixture"`, the default, `"categorical"`, or one of your own. Codes need
            `"categorical"`, which is their default.
        ordered_levels: Boolean. If false, the images are codes without an order from 0 to
            `num_levels - 1`, such as those of a VQ-VAE: uint8, or uint16 for more than 256. They
            are not rounded, and the network takes a learned vector for each code.
        class_names: Sequence of `num_classes` strings, which methods accept as labels. The default
            is `Class0`, `Class1` and so on.
        conditions: What the model is conditioned on, in place of `num_classes`: `Labels`, `Vectors`
            or `Maps`, or a list of them, one of each kind. An empty list is an unconditional model.
        **kwargs: Arguments of `keras.Model`.

    Call arguments:
        images: uint8 tensor `(batch, height, width, channels)`.
        training: Boolean. If true, dropout is on. Inside `fit`, and only there, the images are then
            returned, because `compute_loss` evaluates the network.

    Returns:
        Log-likelihoods log p(x | y) of every class, float32 `(batch, num_classes)`, nats; for an
        unconditional model, log p(x), `(batch, 1)`.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    ```python
    model = PixelCNNPlusPlus(image_shape=(8, 8, 1), num_classes=10, num_levels=17)
    model.compile(optimizer="adam")
    model.fit(images, labels, epochs=10)
    model.class_probabilities(images)      # (N, 10)
    model.sample([0, 1, 2], seed=0)        # uint8 (3, 8, 8, 1)
    ```

    Reference:
        Salimans et al. 2017, PixelCNN++, https://arxiv.org/abs/1701.05517;
        van den Oord et al. 2016, Conditional Image Generation with PixelCNN Decoders,
        https://arxiv.org/abs/1606.05328
    """

    network_name = "pixelcnnpp"
    title = "PixelCNN++"
    _default_conditioning = "bias+film"

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int | None = None,
        num_levels: int = 256,
        filters: int | Sequence[int] | None = None,
        num_blocks: int | Sequence[int] | None = None,
        num_resolutions: int = 3,
        conditioning: str | None = None,
        conditioned_blocks: str | None = None,
        dropout_rate: float = 0.15,
        **kwargs: Any,
    ):
        require_integer("num_resolutions", num_resolutions, high=16)
        # Set before the base class's constructor, which calls `make_network`.
        self.num_resolutions = plain(num_resolutions)
        self.conditioned_blocks = conditioned_blocks
        if filters is None:
            filters = tuple(24 * 2**resolution for resolution in range(num_resolutions))
        if num_blocks is None:
            num_blocks = (2,) + (1,) * (num_resolutions - 1)
        super().__init__(
            image_shape,
            num_classes,
            num_levels,
            filters=filters,
            num_blocks=num_blocks,
            conditioning=conditioning,
            dropout_rate=dropout_rate,
            **kwargs,
        )

    def make_network(self) -> AutoregressiveNetwork:
        step = 2 ** (self.num_resolutions - 1)
        if self.image_shape[0] % step or self.image_shape[1] % step:
            why = f"num_resolutions={self.num_resolutions}"
            expected = f"height and width divisible by {step} for {why}"
            raise invalid_argument("image_shape", self.image_shape, expected)
        num_blocks = per_resolution(
            "num_blocks", self.num_blocks, self.num_resolutions, at_most=MAX_BLOCKS
        )
        if self.conditioned_blocks is None:
            self.conditioned_blocks = self.conditions.conditioned_blocks
        config = self.network_config(filters=self.widths, num_blocks=num_blocks)
        return PixelCNNPlusPlusNetwork(config, name="network", dtype=self.dtype_policy)

    @property
    def widths(self) -> tuple[int, ...]:
        """Number of filters at each resolution, highest first."""
        return per_resolution("filters", self.filters, self.num_resolutions, at_most=MAX_FILTERS)


def per_resolution(
    name: str, value: int | tuple[int, ...], num_resolutions: int, at_most: int
) -> tuple[int, ...]:
    """Returns the values of an argument for each resolution. An integer holds for all of them."""
    values = value if isinstance(value, tuple) else (value,) * num_resolutions
    for number in values:
        require_integer(name, number, high=at_most)
    if len(values) != num_resolutions:
        expected = f"an integer, or one integer for each of num_resolutions={num_resolutions}"
        raise invalid_argument(name, value, expected)
    return values


class PixelCNNPlusPlusNetwork(AutoregressiveNetwork):
    """Causal network of PixelCNN++: two stacks of gated residual blocks at several resolutions.

    The parameters at pixel `(i, j)` depend only on earlier pixels in raster order and on the
    label. The vertical stack depends on all rows above, and the horizontal stack also on the pixels
    to the left in its own row; it gets the rows above through links.

    `filters` and `num_blocks` in its `config` have one integer for each resolution.

    Reference:
        Salimans et al. 2017, PixelCNN++, figure 2, https://arxiv.org/abs/1701.05517
    """

    def __init__(
        self,
        config: NetworkConfig,
        **kwargs: Any,
    ):
        super().__init__(config, **kwargs)
        blocks = config.conditioned_blocks
        require_choice("conditioned_blocks", blocks, ("all", "up", "up_horizontal"))
        self.filters = tuple(config.filters)
        dtype = self.dtype_policy
        width = self.filters[0]
        self.input_conditioning = self.conditioned("input")
        self.vertical_stem = DownShiftedConv2D(
            width, (2, 3), strict=True, name="vertical_stem", dtype=dtype
        )
        self.vertical_conditioning = self.conditioned("stem", "vertical_")
        self.vertical_stack = ResidualStack(
            config.without_conditioning() if blocks == "up_horizontal" else config,
            "down",
            name="vertical_stack",
            dtype=dtype,
        )
        self.horizontal_stem_above = DownShiftedConv2D(
            width, (1, 3), strict=True, name="horizontal_stem_above", dtype=dtype
        )
        self.horizontal_stem_left = DownRightShiftedConv2D(
            width, (2, 1), strict=True, name="horizontal_stem_left", dtype=dtype
        )
        self.horizontal_conditioning = self.conditioned("stem", "horizontal_")
        self.horizontal_stack = ResidualStack(
            config, "down_right", name="horizontal_stack", dtype=dtype
        )
        self.links = {
            block.name: WeightNormalizedDense(block.filters, name=f"link_{block.name}", dtype=dtype)
            for block in self.vertical_stack.blocks()
        }
        # Log-likelihoods need float32 under every dtype policy.
        self.head = WeightNormalizedDense(
            config.num_parameters, initial_scale=0.3, dtype="float32", name="head"
        )
        self.head_conditioning = self.conditioned("head")

    def build(self, levels_shape: Shape, values_shape: Shape | None = None) -> None:
        *leading, height, width, channels = levels_shape
        if self.level_embedding is not None:
            channels = self.level_embedding.compute_output_shape(levels_shape)[-1]
        pixel_shape = (*leading, height, width, channels + 1)
        for strategy in self.input_conditioning:
            strategy.build(pixel_shape)
            pixel_shape = strategy.compute_output_shape(pixel_shape)
        feature_shape = (*leading, height, width, self.filters[0])
        for stem in (self.vertical_stem, self.horizontal_stem_above, self.horizontal_stem_left):
            stem.build(pixel_shape)
        for strategy in self.vertical_conditioning + self.horizontal_conditioning:
            strategy.build(feature_shape)
        self.vertical_stack.build(feature_shape)
        self.horizontal_stack.build(feature_shape)
        for block in self.vertical_stack.blocks():
            self.links[block.name].build((None, 2 * block.filters))
        self.head.build(feature_shape)
        for strategy in self.head_conditioning:
            strategy.build((*leading, height, width, self.num_parameters), None, feature_shape)

    def to_pixels(self, levels: Tensor, evaluation: Evaluation = Evaluation()) -> Tensor:
        """Appends a channel of ones, which marks the image's area, and conditions the input."""
        pixels = super().to_pixels(levels, evaluation)
        pixels = ops.concatenate([pixels, ops.ones_like(pixels[..., :1])], axis=-1)
        return condition(self.input_conditioning, pixels, evaluation)

    def call_vertical_stack(
        self,
        pixels: Tensor,
        evaluation: Evaluation = Evaluation(),
        training: bool = False,
    ) -> tuple[Tensor, Tensors]:
        """Evaluates the vertical stack, which depends on the rows above.

        Returns:
            The contribution to the stem of the horizontal stack, and a dict of links, from the name
            of each of its blocks.
        """
        arithmetic = evaluation.arithmetic
        x = evaluation.convolve(self.vertical_stem, pixels)
        x = condition(self.vertical_conditioning, x, evaluation)
        outputs = arithmetic.apply(self.vertical_stack, x, evaluation=evaluation, training=training)
        links = {
            name: arithmetic.apply(self.links[name], arithmetic.concat_elu(output))
            for name, output in outputs.items()
        }
        return evaluation.convolve(self.horizontal_stem_above, pixels), links

    def call_horizontal_stack(
        self,
        pixels: Tensor,
        vertical: tuple[Tensor, Tensors],
        evaluation: Evaluation = Evaluation(),
        training: bool = False,
    ) -> Tensor:
        """Evaluates the horizontal stack and the head, given the output of the vertical stack."""
        arithmetic = evaluation.arithmetic
        stem, links = vertical
        x = evaluation.convolve(self.horizontal_stem_left, pixels) + evaluation.link(stem)
        x = condition(self.horizontal_conditioning, x, evaluation)
        outputs = arithmetic.apply(
            self.horizontal_stack,
            x,
            links=links,
            evaluation=evaluation,
            training=training,
        )
        features = arithmetic.elu(arithmetic.cast(list(outputs.values())[-1], "float32"))
        parameters = arithmetic.apply(self.head, features)
        return condition(self.head_conditioning, parameters, evaluation, features=features)
