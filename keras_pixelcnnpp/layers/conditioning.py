"""Strategies of conditioning the network, one layer for each."""

import math
from collections.abc import Sequence
from typing import Any, Self

import keras
from keras import ops

from keras_pixelcnnpp.conditions import (
    PLACES,
    Part,
    as_conditions,
    conditions_of,
)
from keras_pixelcnnpp.layers.evaluation import Evaluation
from keras_pixelcnnpp.utils.backend import Nest, Shape, Tensor
from keras_pixelcnnpp.utils.errors import invalid_argument


class Conditioning(keras.layers.Layer):
    """Base class of the conditioning strategies, which modify features depending on the condition.

    A strategy acts at one `place` of the network:

    | place | modified features |
    |---|---|
    | `input` | the scaled image, before the first convolution |
    | `stem` | the features after the first convolutions |
    | `hidden` | the features inside a block, between its two convolutions |
    | `gate` | the two halves of a block's gate, before the sigmoid |
    | `bottleneck` | the features at the lowest resolution |
    | `head` | the mixture parameters, from the last features |

    Args:
        conditions: A part, a list of parts, or an integer, the number of classes. A strategy gets
            its weights from them.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        x: Features `(batch, candidates, height, width, channels)`. `candidates` is 1 until a
            layer uses the condition.
        condition: The encoded condition, `evaluation.condition`, a tuple with a tensor for each
            part: for labels, int `(batch, candidates, 1, 1)`.
        evaluation: The network's `Evaluation`, whose `position` locates `x` in the image.

    Returns:
        Features with the candidates of `condition`.

    Example:

    >>> x, labels = keras.ops.ones((2, 1, 4, 4, 6)), keras.ops.zeros((2, 3, 1, 1), "int32")
    >>> FilmConditioning(3)(x, (labels,)).shape
    (2, 3, 4, 4, 6)
    >>> OneHotConditioning(3)(x, (labels,)).shape
    (2, 3, 4, 4, 9)
    """

    has_tables = True  # weights that the codec rounds, as those of other layers with tables
    place: str | None = None
    mixes_channels = False  # whether outputs of a channel group depend on other groups

    def __init__(self, conditions: Part | Sequence[Part] | int, **kwargs: Any):
        # In mixed precision, entries are rounded, and not the tables and codes of vectors.
        super().__init__(autocast=False, **kwargs)
        self.conditions = as_conditions(conditions)

    def get_config(self) -> dict:
        return {**super().get_config(), "conditions": self.conditions.arguments()}

    @classmethod
    def from_config(cls, config: dict) -> Self:
        return cls(**{**config, "conditions": conditions_of(**config["conditions"])})

    def add_table(self, name: str, shape: Shape, initializer: str) -> keras.Variable:
        """Creates a weight with one entry of `shape` for each label."""
        return self.conditions.entries(self, name, shape, initializer)

    def look_up(self, table: keras.Variable, condition: Nest, dtype: str) -> Tensor:
        """Returns the entries for `condition`, `(batch, candidates, 1, 1, channels)`."""
        return ops.cast(self.conditions.look_up(table, condition), dtype)

    def look_up_once(self, table: keras.Variable | Tensor, condition: Nest, dtype: str) -> Tensor:
        """Returns the entries for a condition that is the same everywhere, `(batch, K, ...)`."""
        once = keras.tree.map_structure(lambda part: part[:, :, 0, 0], condition)
        return ops.cast(self.conditions.look_up(table, once), dtype)

    def compute_output_shape(self, x_shape: Shape, condition_shape: Nest = None) -> Shape:
        return (x_shape[0], max(x_shape[1], _num_candidates(condition_shape)), *x_shape[2:])


def _num_candidates(condition_shape: Nest) -> int:
    """Returns the number of candidates, from the shape of a condition or of its parts."""
    if condition_shape is None:
        return 1
    if isinstance(condition_shape[0], int | None):
        return condition_shape[1]
    return max(map(_num_candidates, condition_shape))


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class OneHotConditioning(Conditioning):
    """Appends the one-hot encoding of the label as constant channels."""

    place = "input"

    def call(self, x: Tensor, condition: Nest, evaluation: Evaluation = Evaluation()) -> Tensor:
        code = self.conditions.code(condition, x.dtype)
        # Adding zeros broadcasts both to the same candidates and positions.
        return ops.concatenate(
            [x + ops.zeros_like(code[..., :1]), code + ops.zeros_like(x[..., :1])], axis=-1
        )

    def compute_output_shape(self, x_shape: Shape, condition_shape: Nest = None) -> Shape:
        *leading, channels = super().compute_output_shape(x_shape, condition_shape)
        return (*leading, channels + self.conditions.code_size)


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class EmbeddingConditioning(Conditioning):
    """Adds `e_y`, a learned vector for each label, to the features after the stem."""

    place = "stem"

    def build(self, x_shape: Shape, condition_shape: Nest = None) -> None:
        self.table = self.add_table("table", (x_shape[-1],), "random_normal")

    def call(self, x: Tensor, condition: Nest, evaluation: Evaluation = Evaluation()) -> Tensor:
        return x + self.look_up(self.table, condition, x.dtype)


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class BiasConditioning(EmbeddingConditioning):
    """Adds `V_y`, a learned vector for each label, to the two halves of a gate.

    Reference:
        van den Oord et al. 2016, Conditional Image Generation with PixelCNN Decoders, eq. 4,
        https://arxiv.org/abs/1606.05328
    """

    place = "gate"


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class FilmConditioning(Conditioning):
    """Feature-wise linear modulation, `(1 + gamma_y) * h + beta_y`; gamma and beta start at 0.

    Reference:
        Perez et al. 2018, FiLM, eq. 2, https://arxiv.org/abs/1709.07871
    """

    place = "hidden"

    def build(self, x_shape: Shape, condition_shape: Nest = None) -> None:
        self.gamma = self.add_table("gamma", (x_shape[-1],), "zeros")
        self.beta = self.add_table("beta", (x_shape[-1],), "zeros")

    def call(self, x: Tensor, condition: Nest, evaluation: Evaluation = Evaluation()) -> Tensor:
        gamma = self.look_up(self.gamma, condition, x.dtype)
        return (1 + gamma) * x + self.look_up(self.beta, condition, x.dtype)


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class AdaptiveNormConditioning(FilmConditioning):
    """Adaptive layer normalization, `(1 + gamma_y) * LN(h) + beta_y`; gamma and beta start at 0.

    Each pixel is normalized over its channels. Statistics over height and width would violate
    causality, because they depend on later pixels.

    Reference:
        de Vries et al. 2017, Modulating early visual processing by language,
        https://arxiv.org/abs/1707.00683; Peebles & Xie 2023, Scalable Diffusion Models with
        Transformers, https://arxiv.org/abs/2212.09748
    """

    EPSILON = 1e-5
    mixes_channels = True

    def call(self, x: Tensor, condition: Nest, evaluation: Evaluation = Evaluation()) -> Tensor:
        return super().call(evaluation.arithmetic.normalize(x, self.EPSILON), condition, evaluation)


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class SpatialConditioning(Conditioning):
    """Adds `E_y[i, j]`, a learned vector for each label and position, which starts at 0.

    Reference:
        van den Oord et al. 2016, Conditional Image Generation with PixelCNN Decoders, section 2.3
        (the location-dependent variant), https://arxiv.org/abs/1606.05328
    """

    place = "bottleneck"

    def build(self, x_shape: Shape, condition_shape: Nest = None) -> None:
        self.table = self.add_table("table", tuple(x_shape[-3:]), "zeros")

    def call(self, x: Tensor, condition: Nest, evaluation: Evaluation = Evaluation()) -> Tensor:
        table = ops.convert_to_tensor(self.table)  # (labels, height, width, channels)
        for axis, index in enumerate(evaluation.position, start=1):
            if index is not None:
                table = ops.expand_dims(ops.take(table, index, axis=axis), axis)
        return x + self.look_up_once(table, condition, x.dtype)


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class CrossAttentionConditioning(Conditioning):
    """Adds `W softmax(q K_y^T / sqrt(d)) V_y`: cross-attention to four tokens of the label.

    With a single token, the softmax would be constant and the result a bias.

    Reference:
        Vaswani et al. 2017, Attention Is All You Need, eq. 1, https://arxiv.org/abs/1706.03762
    """

    place = "bottleneck"
    num_tokens = 4

    def build(self, x_shape: Shape, condition_shape: Nest = None) -> None:
        channels = x_shape[-1]
        self.query = self.add_weight(name="query", shape=(channels, channels))
        self.keys = self.add_table("keys", (self.num_tokens, channels), "random_normal")
        self.values = self.add_table("values", (self.num_tokens, channels), "random_normal")
        self.output_kernel = self.add_weight(
            name="output", shape=(channels, channels), initializer="zeros"
        )

    def call(self, x: Tensor, condition: Nest, evaluation: Evaluation = Evaluation()) -> Tensor:
        # The attention of a pixel does not depend on its position or on other pixels.
        height, width, channels = x.shape[2:]
        arithmetic = evaluation.arithmetic
        keys, values = (
            self.look_up_once(table, condition, x.dtype) for table in (self.keys, self.values)
        )
        queries = arithmetic.matmul(x, ops.cast(self.query, x.dtype))
        queries = ops.reshape(queries, (-1, x.shape[1], height * width, channels))
        scores = arithmetic.matmul(queries, ops.swapaxes(keys, -1, -2))
        weights = arithmetic.softmax(arithmetic.scale(scores, 1 / math.sqrt(channels)), axis=-1)
        answer = arithmetic.matmul(weights, values)
        answer = arithmetic.matmul(answer, ops.cast(self.output_kernel, x.dtype))
        return x + ops.reshape(answer, (-1, answer.shape[1], height, width, channels))


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class MixtureHeadConditioning(Conditioning):
    """Adds `W_y f` to the mixture parameters, where `f` are the last features; `W_y` starts at 0.

    This is late conditioning: the network itself does not depend on the label, and is evaluated
    once for all candidates.

    Call arguments:
        x: Mixture parameters `(batch, candidates, height, width, num_parameters)`.
        condition: Int tensor `(batch, candidates, 1, 1)`.
        features: Last features `(batch, candidates, height, width, channels)`.

    Example:

    >>> x, features = keras.ops.ones((2, 1, 4, 4, 6)), keras.ops.ones((2, 1, 4, 4, 8))
    >>> labels = keras.ops.zeros((2, 3, 1, 1), "int32")
    >>> MixtureHeadConditioning(3)(x, labels, features=features).shape
    (2, 3, 4, 4, 6)
    """

    place = "head"
    mixes_channels = True

    def __init__(self, conditions: Part | Sequence[Part] | int, **kwargs: Any):
        # Mixture parameters stay in float32 under every policy.
        super().__init__(conditions, **{**kwargs, "dtype": "float32"})

    def build(
        self,
        x_shape: Shape,
        condition_shape: Nest = None,
        features_shape: Shape | None = None,
    ) -> None:
        self.kernels = self.add_table("kernels", (features_shape[-1], x_shape[-1]), "zeros")

    def call(
        self,
        x: Tensor,
        condition: Nest,
        evaluation: Evaluation = Evaluation(),
        features: Tensor | None = None,
    ) -> Tensor:
        _, candidates, height, width, channels = features.shape
        kernels = self.look_up_once(self.kernels, condition, x.dtype)
        pixels = ops.reshape(features, (-1, candidates, height * width, channels))
        change = evaluation.arithmetic.matmul(pixels, kernels)
        return x + ops.reshape(change, (-1, change.shape[1], height, width, x.shape[-1]))


#: Dict from the names in the argument `conditioning` to classes. Add your own strategies here.
STRATEGIES = {
    "one_hot": OneHotConditioning,
    "embedding": EmbeddingConditioning,
    "bias": BiasConditioning,
    "film": FilmConditioning,
    "adaptive_norm": AdaptiveNormConditioning,
    "spatial": SpatialConditioning,
    "cross_attention": CrossAttentionConditioning,
    "mixture_head": MixtureHeadConditioning,
}


def parse_conditioning(
    conditioning: str,
    places: Sequence[str] = PLACES,
    groups: int = 1,
    description: str = "its condition",
) -> list[str]:
    """Splits an argument such as `"bias+embedding"` into names of strategies.

    Args:
        conditioning: Names of strategies, joined by `+`, or `"none"`.
        places: The places at which the network supports conditioning.
        groups: Integer, number of channel groups of the network's masks.
        description: What the network is conditioned on, for messages.

    Raises:
        ValueError: If a name is unknown or repeated, or the network doesn't support it.
    """
    names = [] if conditioning == "none" else str(conditioning).split("+")
    fitting = [
        name
        for name, strategy in STRATEGIES.items()
        if strategy.place in places and not (groups > 1 and strategy.mixes_channels)
    ]
    if not set(names) <= set(fitting) or len(set(names)) != len(names):
        expected = (
            f"'none' or different names from {', '.join(fitting)}, which this network supports for "
            f"{description}, joined by '+'"
        )
        raise invalid_argument("conditioning", conditioning, expected)
    return names


def condition(
    strategies: Sequence[Conditioning],
    x: Tensor,
    evaluation: Evaluation,
    **features: Tensor,
) -> Tensor:
    """Applies the conditioning layers of a place, from `NetworkConfig.strategies`, to `x`."""
    for strategy in strategies:
        here = evaluation.condition
        x = evaluation.arithmetic.apply(strategy, x, here, evaluation=evaluation, **features)
    return x
