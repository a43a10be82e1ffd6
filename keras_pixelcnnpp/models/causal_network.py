"""The network of PixelCNN++: two streams of causal features, and mixture parameters from them."""

import keras
from keras import ops

from keras_pixelcnnpp.arguments import require_choice
from keras_pixelcnnpp.conditioning import build_conditioning
from keras_pixelcnnpp.layers import (
    DownRightShiftedConv2D,
    DownShiftedConv2D,
    ResidualStack,
    WeightNormalizedDense,
    concat_elu,
)
from keras_pixelcnnpp.layers.evaluation import WholeImage


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class CausalNetwork(keras.layers.Layer):
    """Maps a scaled picture and candidate labels to the parameters of each pixel's distribution.

    The parameters at pixel `(i, j)` depend on the pixels before it in raster order and on the
    label, by construction: the stream `u` (stack `rows_above`) sees the rows above, the stream
    `ul` (stack `above_left`) sees those through links and, in its own row, what is to the left.

    Args:
        num_parameters: Integer, number of parameters of a pixel.
        filters: Sequence of integers, the width at each resolution, highest first.
        num_blocks: Sequence of integers, residual blocks at each resolution.
        dropout_rate: Float in [0, 1).
        conditioning: Names of the label strategies, joined by `+`.
        num_classes: Integer, number of classes (0 for none).
        conditioned_blocks: Which blocks see the label, if a strategy acts in blocks: `"all"`;
            `"up"`, those of both streams from the lowest resolution on; `"up_left"`, of these
            only those of the stream `ul`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        image: Float tensor `(batch, 1, height, width, channels)`, scaled to [-1, 1].
        labels: Int tensor `(batch, candidates)`, or `None`.
        training: Boolean, whether dropout is active.

    Returns:
        Float32 tensor `(batch, candidates, height, width, num_parameters)`; `candidates` stays 1
        if no strategy lets the labels in.

    Reference:
        Salimans et al. 2017, PixelCNN++, figure 2, https://arxiv.org/abs/1701.05517
    """

    def __init__(
        self,
        num_parameters,
        filters,
        num_blocks,
        dropout_rate=0.0,
        conditioning="none",
        num_classes=0,
        conditioned_blocks="all",
        **kwargs,
    ):
        super().__init__(**kwargs)
        require_choice("conditioned_blocks", conditioned_blocks, ("all", "up", "up_left"))
        self.num_parameters = num_parameters
        self.filters = tuple(filters)
        self.num_blocks = tuple(num_blocks)
        self.dropout_rate = dropout_rate
        self.conditioning = conditioning
        self.num_classes = num_classes
        self.conditioned_blocks = conditioned_blocks

        dtype = self.dtype_policy

        def conditioned(place, prefix=""):
            return build_conditioning(conditioning, place, num_classes, prefix, dtype)

        def stack(shift, conditioning, name):
            return ResidualStack(
                filters,
                num_blocks,
                shift,
                dropout_rate,
                conditioning,
                num_classes,
                "all" if conditioned_blocks == "all" else "up",
                name=name,
                dtype=dtype,
            )

        width = self.filters[0]
        self.input_conditioning = conditioned("input")
        self.rows_above_stem = DownShiftedConv2D(
            width, (2, 3), strict=True, name="rows_above_stem", dtype=dtype
        )
        self.rows_above_conditioning = conditioned("stem", "rows_above_")
        sees_label = conditioned_blocks != "up_left"
        self.rows_above = stack("down", conditioning if sees_label else "none", "rows_above")
        self.above_stem = DownShiftedConv2D(
            width, (1, 3), strict=True, name="above_stem", dtype=dtype
        )
        self.left_stem = DownRightShiftedConv2D(
            width, (2, 1), strict=True, name="left_stem", dtype=dtype
        )
        self.above_left_conditioning = conditioned("stem", "above_left_")
        self.above_left = stack("down_right", conditioning, "above_left")
        self.links = {
            block.name: WeightNormalizedDense(block.filters, name=f"link_{block.name}", dtype=dtype)
            for block in self.rows_above.blocks()
        }
        # Log-likelihoods need the precision of float32 under every policy.
        self.head = WeightNormalizedDense(num_parameters, dtype="float32", name="head")
        self.head_conditioning = conditioned("head")

    def build(self, image_shape, labels_shape=None):
        *leading, height, width, channels = image_shape
        pixel_shape = (*leading, height, width, channels + 1)
        for strategy in self.input_conditioning:
            strategy.build(pixel_shape)
            pixel_shape = strategy.compute_output_shape(pixel_shape)
        feature_shape = (*leading, height, width, self.filters[0])
        for stem in (self.rows_above_stem, self.above_stem, self.left_stem):
            stem.build(pixel_shape)
        for strategy in self.rows_above_conditioning + self.above_left_conditioning:
            strategy.build(feature_shape)
        self.rows_above.build(feature_shape)
        self.above_left.build(feature_shape, links_shape=feature_shape)
        for block in self.rows_above.blocks():
            self.links[block.name].build((None, 2 * block.filters))
        self.head.build(feature_shape)
        for strategy in self.head_conditioning:
            strategy.build((*leading, height, width, self.num_parameters), None, feature_shape)

    def call(self, image, labels=None, training=False):
        pixels = self.to_pixels(image, labels)
        above = self.see_above(pixels, labels, training=training)
        return self.see_above_left(pixels, above, labels, training=training)

    def to_pixels(self, image, labels):
        """Appends the channel of ones that tells picture from border, and conditions the input."""
        pixels = ops.concatenate([image, ops.ones_like(image[..., :1])], axis=-1)
        pixels = ops.cast(pixels, self.compute_dtype)
        for strategy in self.input_conditioning:
            pixels = strategy(pixels, labels)
        return pixels

    def see_above(self, pixels, labels, evaluation=WholeImage(), training=False):
        """Evaluates the stream `u`: all that a pixel may know of the rows above.

        Returns:
            The contribution to the stem of `ul`, and the links to its blocks by name.
        """
        x = evaluation.convolve(self.rows_above_stem, pixels)
        for strategy in self.rows_above_conditioning:
            x = strategy(x, labels)
        outputs = self.rows_above(x, labels=labels, evaluation=evaluation, training=training)
        links = {name: self.links[name](concat_elu(output)) for name, output in outputs.items()}
        return evaluation.convolve(self.above_stem, pixels), links

    def see_above_left(self, pixels, above, labels, evaluation=WholeImage(), training=False):
        """Evaluates the stream `ul` over what `see_above` returned, and the mixture parameters."""
        stem, links = above
        x = evaluation.convolve(self.left_stem, pixels) + evaluation.link(stem)
        for strategy in self.above_left_conditioning:
            x = strategy(x, labels)
        outputs = self.above_left(
            x, links=links, labels=labels, evaluation=evaluation, training=training
        )
        features = ops.elu(ops.cast(list(outputs.values())[-1], "float32"))
        parameters = self.head(features)
        for strategy in self.head_conditioning:
            parameters = strategy(parameters, labels, features=features)
        return parameters

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "num_parameters": self.num_parameters,
                "filters": self.filters,
                "num_blocks": self.num_blocks,
                "dropout_rate": self.dropout_rate,
                "conditioning": self.conditioning,
                "num_classes": self.num_classes,
                "conditioned_blocks": self.conditioned_blocks,
            }
        )
        return config
