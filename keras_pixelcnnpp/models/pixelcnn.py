"""PixelCNN and Gated PixelCNN, the predecessors of PixelCNN++ with masked convolutions."""

from collections.abc import Sequence
from typing import Any, ClassVar

import keras
from keras import ops

from keras_pixelcnnpp.layers.arithmetic import FloatArithmetic
from keras_pixelcnnpp.layers.conditioning import condition
from keras_pixelcnnpp.layers.convolutions import (
    DownShiftedConv2D,
    MaskedConv2D,
    WeightNormalizedDense,
)
from keras_pixelcnnpp.layers.evaluation import Evaluation
from keras_pixelcnnpp.layers.gated_residual import SharedDropout
from keras_pixelcnnpp.layers.network_config import NetworkConfig
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.models.network import AutoregressiveNetwork
from keras_pixelcnnpp.utils.backend import Nest, Shape, Tensor, Tensors
from keras_pixelcnnpp.utils.checks import (
    MAX_BLOCKS,
    MAX_FILTERS,
    checked_image_shape,
    require_integer,
)
from keras_pixelcnnpp.utils.errors import invalid_argument


class MaskedModel(AutoregressiveModel):
    """Base class of `PixelCNN` and `GatedPixelCNN`.

    With the categorical head, the network's channels are masked in groups, such as R, G and B, so
    that the softmax of a sub-pixel depends on the earlier sub-pixels of its pixel.

    Args:
        image_shape, num_classes, num_levels: See `PixelCNNPlusPlus`.
        filters: Integer, number of features: an even number, and with the categorical head a
            multiple of twice the number of image channels. `None` is 96, or the next such multiple.
        num_blocks: Integer, number of residual blocks.
        head: `"categorical"`, as in the papers, or `"logistic_mixture"`.
        conditioning: `"none"`, or names from `keras_pixelcnnpp.layers.conditioning.STRATEGIES`
            joined by `+`, except `one_hot`, `spatial` and `cross_attention`, and with channel
            groups `adaptive_norm` and `mixture_head`. The default is `"bias"`, as in the paper, or
            `"none"` for fewer than two classes.
        **kwargs: Other arguments of `PixelCNNPlusPlus`, except `num_resolutions` and
            `conditioned_blocks`, and arguments of `keras.Model`.

    Raises:
        ValueError: If an argument is out of range.
    """

    _head_has_tables = False
    _network_class: type | None = None
    recipe: ClassVar = {
        "head": "logistic_mixture",
        "num_mixtures": 10,
        "label_loss_weight": 0.0,
        "epochs": 20,
        "learning_rate": 0.001,
        "learning_rate_schedule": "cosine",
        "learning_rate_warmup": 200,
    }

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int | None = None,
        num_levels: int = 256,
        filters: int | None = None,
        num_blocks: int = 5,
        head: str = "categorical",
        conditioning: str | None = None,
        **kwargs: Any,
    ):
        if filters is None:
            filters = 96 + -96 % (2 * checked_image_shape(image_shape)[-1])
        super().__init__(
            image_shape,
            num_classes,
            num_levels,
            filters=filters,
            num_blocks=num_blocks,
            head=head,
            conditioning=conditioning,
            **kwargs,
        )

    def make_network(self) -> AutoregressiveNetwork:
        groups = self.image_shape[-1] if self.distribution.needs_groups else 1
        config = self.network_config(groups=groups)
        return self._network_class(config, name="network", dtype=self.dtype_policy)


class MaskedNetwork(AutoregressiveNetwork):
    """Base class of the networks of both models, with the first and the last layers.

    Subclasses create a residual block in `make_block`. The arguments are documented in
    `AutoregressiveNetwork` and `MaskedModel`.
    """

    places = ("stem", "hidden", "gate", "head")
    stem_size = (7, 7)

    def __init__(
        self,
        config: NetworkConfig,
        **kwargs: Any,
    ):
        super().__init__(config, **kwargs)
        filters, num_blocks, groups = config.filters, config.num_blocks, config.groups
        require_integer("filters", filters, high=MAX_FILTERS)
        require_integer("num_blocks", num_blocks, high=MAX_BLOCKS)
        if filters % (2 * groups):
            raise invalid_argument("filters", filters, f"a multiple of {2 * groups}")
        self.filters = filters
        self.stem = self.masked(filters, self.stem_size, "stem", mask="A")
        self.stem_conditioning = self.conditioned("stem")
        self.hidden_dense = self.masked(filters, 1, "hidden_dense")
        # Log-likelihoods need float32 under every dtype policy.
        self.head = self.masked(config.num_parameters, 1, "head", dtype="float32")
        self.head_conditioning = self.conditioned("head")
        self.blocks = [self.make_block(index) for index in range(num_blocks)]

    def masked(
        self, filters: int, kernel_size: int | Sequence[int], name: str, **options: Any
    ) -> MaskedConv2D:
        """Creates a masked convolution with the network's channel groups."""
        given = {"groups": self.groups, "dtype": self.dtype_policy, **options}
        return MaskedConv2D(filters, kernel_size, name=name, **given)

    def build(self, levels_shape: Shape, values_shape: Shape | None = None) -> None:
        # A symbolic call builds every layer.
        values = self.conditions.spec(None, 1)
        self.call(keras.KerasTensor(levels_shape, "int32"), values)

    def parameters(self, x: Tensor, evaluation: Evaluation) -> Tensor:
        """Applies the last layers, which compute the parameters of each pixel."""
        arithmetic = evaluation.arithmetic
        x = ops.relu(arithmetic.apply(self.hidden_dense, ops.relu(x)))
        features = arithmetic.cast(x, "float32")
        parameters = arithmetic.apply(self.head, features)
        return condition(self.head_conditioning, parameters, evaluation, features=features)


class PixelCNNNetwork(MaskedNetwork):
    """Network of PixelCNN: a 7×7 masked convolution and residual blocks with 3×3 ones.

    The receptive field has a blind spot: a wedge of pixels above and to the right, which no number
    of layers covers.

    Reference:
        van den Oord et al. 2016, Pixel Recurrent Neural Networks, table 1 and figure 5,
        https://arxiv.org/abs/1601.06759
    """

    def make_block(self, index: int) -> dict[str, Any]:
        half, dtype, rate = self.filters // 2, self.dtype_policy, self.config.dropout_rate
        return {
            "narrow": self.masked(half, 1, f"narrow_{index}"),
            "hidden": self.conditioned("hidden", f"{index}_"),
            "dropout": SharedDropout(rate, name=f"dropout_{index}", dtype=dtype),
            "masked": self.masked(half, 3, f"masked_{index}"),
            "gate": self.conditioned("gate", f"{index}_"),
            "widen": self.masked(self.filters, 1, f"widen_{index}"),
        }

    def call_horizontal_stack(
        self,
        pixels: Tensor,
        vertical: Nest,
        evaluation: Evaluation = Evaluation(),
        training: bool = False,
    ) -> Tensor:
        apply = evaluation.arithmetic.apply
        x = evaluation.convolve(self.stem, pixels)
        x = condition(self.stem_conditioning, x, evaluation)
        for block in self.blocks:
            hidden = apply(block["narrow"], ops.relu(x))
            hidden = condition(block["hidden"], hidden, evaluation)
            hidden = apply(block["dropout"], ops.relu(hidden), training=training)
            hidden = evaluation.convolve(block["masked"], hidden)
            hidden = condition(block["gate"], hidden, evaluation)
            x = x + apply(block["widen"], ops.relu(hidden))
        return self.parameters(x, evaluation)


class GatedPixelCNNNetwork(MaskedNetwork):
    """Network of Gated PixelCNN: a vertical stack for the rows above, and a horizontal stack.

    Each layer of the vertical stack is linked to the horizontal stack. This removes the blind spot.

    Reference:
        van den Oord et al. 2016, Conditional Image Generation with PixelCNN Decoders, figure 2 and
        eq. 2 and 4, https://arxiv.org/abs/1606.05328
    """

    stem_size = (1, 7)
    gated_scale = 3.0  # initial gain after a gate, whose features have a third of the scale

    def __init__(self, config: NetworkConfig, **kwargs: Any):
        super().__init__(config, **kwargs)
        dtype, filters = self.dtype_policy, self.filters
        like: dict[str, Any] = {"initial_scale": 1.0, "dtype": dtype}
        self.vertical_stem = DownShiftedConv2D(
            filters, (3, 7), strict=True, name="vertical_stem", **like
        )
        self.vertical_stem_conditioning = self.conditioned("stem", "vertical_")
        self.stem_link = WeightNormalizedDense(filters, name="stem_link", **like)

    def make_block(self, index: int) -> dict[str, Any]:
        dtype, double, rate = self.dtype_policy, 2 * self.filters, self.config.dropout_rate
        scale = self.gated_scale if index else 1.0
        return {
            "vertical_hidden": self.conditioned("hidden", f"vertical_{index}_"),
            "vertical": DownShiftedConv2D(
                double, (2, 3), initial_scale=scale, name=f"vertical_{index}", dtype=dtype
            ),
            # The output of the last block's gate would not be used.
            "vertical_gate": self.conditioned("gate", f"vertical_{index}_")
            if index < self.config.num_blocks - 1
            else None,
            "link": WeightNormalizedDense(double, 1.0, name=f"link_{index}", dtype=dtype),
            "hidden": self.conditioned("hidden", f"{index}_"),
            "dropout": SharedDropout(rate, name=f"dropout_{index}", dtype=dtype),
            "masked": self.masked(double, (1, 3), f"masked_{index}"),
            "gate": self.conditioned("gate", f"{index}_"),
            "residual": self.masked(
                self.filters, 1, f"residual_{index}", initial_scale=self.gated_scale
            ),
        }

    def call_vertical_stack(
        self,
        pixels: Tensor,
        evaluation: Evaluation = Evaluation(),
        training: bool = False,
    ) -> Tensors:
        apply = evaluation.arithmetic.apply
        x = evaluation.convolve(self.vertical_stem, pixels)
        x = condition(self.vertical_stem_conditioning, x, evaluation)
        links = {"stem": apply(self.stem_link, x)}
        for index, block in enumerate(self.blocks):
            x = condition(block["vertical_hidden"], x, evaluation)
            double = evaluation.convolve(block["vertical"], x)
            links[f"{index}"] = apply(block["link"], double)
            if block["vertical_gate"] is not None:
                double = condition(block["vertical_gate"], double, evaluation)
                x = gated(double, evaluation.arithmetic)
        return links

    def call_horizontal_stack(
        self,
        pixels: Tensor,
        vertical: Nest,
        evaluation: Evaluation = Evaluation(),
        training: bool = False,
    ) -> Tensor:
        apply = evaluation.arithmetic.apply
        x = evaluation.convolve(self.stem, pixels) + evaluation.link(vertical["stem"])
        x = condition(self.stem_conditioning, x, evaluation)
        for index, block in enumerate(self.blocks):
            hidden = condition(block["hidden"], x, evaluation)
            hidden = apply(block["dropout"], hidden, training=training)
            double = evaluation.convolve(block["masked"], hidden)
            double = double + evaluation.link(vertical[f"{index}"])
            double = condition(block["gate"], double, evaluation)
            hidden = gated(double, evaluation.arithmetic, self.groups)
            x = x + apply(block["residual"], hidden)
        return self.parameters(x, evaluation)


def gated(x: Tensor, arithmetic: FloatArithmetic, groups: int = 1) -> Tensor:
    """Returns `tanh(a) * sigmoid(b)`, where `a` and `b` are the halves of each channel group."""
    *leading, channels = x.shape
    leading = [-1 if size is None else size for size in leading]
    value, gate = ops.split(ops.reshape(x, (*leading, groups, channels // groups)), 2, axis=-1)
    outputs = arithmetic.gated(arithmetic.tanh(value), gate)
    return ops.reshape(outputs, (*leading, channels // 2))


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class PixelCNN(MaskedModel):
    """Class-conditional PixelCNN: one stack of masked convolutions, with a blind spot.

    It has the methods of `PixelCNNPlusPlus`. The arguments are documented in `MaskedModel`.

    Example:

    ```python
    model = PixelCNN(image_shape=(8, 8, 1), num_classes=10, num_levels=17)
    model.compile(optimizer="adam")
    model.fit(images, labels, epochs=10)
    model.sample([0, 1, 2], seed=0)        # uint8 (3, 8, 8, 1)
    ```

    Reference:
        van den Oord et al. 2016, Pixel Recurrent Neural Networks, https://arxiv.org/abs/1601.06759
    """

    _network_class = PixelCNNNetwork
    network_name = "pixelcnn"
    recipe: ClassVar = {"filters": 120, "num_blocks": 8, **MaskedModel.recipe}
    title = "PixelCNN"


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class GatedPixelCNN(MaskedModel):
    """Class-conditional Gated PixelCNN: two stacks with gates, without a blind spot.

    It has the methods of `PixelCNNPlusPlus`. The arguments are documented in `MaskedModel`.

    Example:

    ```python
    model = GatedPixelCNN(image_shape=(8, 8, 1), num_classes=10, num_levels=17)
    model.compile(optimizer="adam")
    model.fit(images, labels, epochs=10)
    ```

    Reference:
        van den Oord et al. 2016, Conditional Image Generation with PixelCNN Decoders,
        https://arxiv.org/abs/1606.05328
    """

    _network_class = GatedPixelCNNNetwork
    network_name = "gated_pixelcnn"
    title = "Gated PixelCNN"
    recipe: ClassVar = {"filters": 72, "num_blocks": 6, **MaskedModel.recipe}
