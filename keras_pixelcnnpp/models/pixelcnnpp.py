"""The conditional PixelCNN++."""

import keras
import numpy as np
from keras import ops

# For whoever loads a trained model: registers what its archive names.
from keras_pixelcnnpp.checks import (
    require_at_most,
    require_choice,
    require_nonnegative_number,
    require_positive_integer,
    require_positive_number,
    require_rate,
)
from keras_pixelcnnpp.conditioning import build_conditioning, parse_conditioning
from keras_pixelcnnpp.distributions import logistic_mixture
from keras_pixelcnnpp.layers.evaluation import WholeImage
from keras_pixelcnnpp.layers.gated_residual import ResidualStack, concat_elu
from keras_pixelcnnpp.layers.posterior import LabelPosterior
from keras_pixelcnnpp.layers.shifted import DownRightShiftedConv2D, DownShiftedConv2D
from keras_pixelcnnpp.layers.weight_normalized import WeightNormalizedDense
from keras_pixelcnnpp.models.autoregressive import (
    Fitting,
    Generating,
    MeanOverBatch,
    Presets,
    Scoring,
)


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class PixelCNNPlusPlus(Fitting, Scoring, Generating, Presets, keras.Model):
    """Class-conditional autoregressive image model: generates, classifies and scores pictures.

    The model is p(x | y), a product over pixels in raster order of discretized logistic mixtures
    whose parameters a causal network computes from the earlier pixels and the label.

    It takes K candidate labels per picture, the true one first. K = 1 is plain maximum
    likelihood. With K > 1 and `label_loss_weight` > 0, training adds the cross-entropy of the
    true label among the candidates:

        loss = bits/dim of the true label + label_loss_weight * cross-entropy (nats)

    Args:
        image_shape: Triple of integers `(height, width, channels)`. Height and width must be
            multiples of `2 ** (num_resolutions - 1)`.
        num_classes: Integer, number of classes; 0 for an unconditional model.
        num_levels: Integer from 2 to 256, number of values of a sub-pixel.
        filters: Integer, or one for each resolution (highest first): the width of the network.
        num_blocks: Integer, or one for each resolution: gated residual blocks.
        num_resolutions: Integer; each halves height and width.
        num_mixtures: Integer, number of logistic components.
        conditioning: How labels enter: `"none"`, or names from
            `keras_pixelcnnpp.conditioning.STRATEGIES` joined by `+`.
        conditioned_blocks: Which blocks see the label, of those strategies that act in blocks:
            `"all"`; `"up"`, from the lowest resolution on; `"up_left"`, of these only those that
            see what is to the left. What comes before is computed once for all candidates: with
            four of them, `"up_left"` takes about half the time of `"all"`.
        dropout_rate: Float in [0, 1).
        label_dropout_rate: Float in [0, 1): share of training pictures that are shown without
            their label, which teaches the model p(x) and enables guidance.
        label_loss_weight: Float >= 0, weight of the cross-entropy.
        initial_temperature: Float > 0, what the log-likelihoods are multiplied with before
            the cross-entropy, at first.
        learn_temperature: Boolean, whether that factor is learned.
        learn_offsets: Boolean, whether an offset for each class is learned.
        **kwargs: Arguments of `keras.Model`.

    Call arguments:
        inputs: Dict of `"image"`, uint8 levels `(batch, height, width, channels)`, and `"label"`,
            int `(batch,)` or `(batch, K)`. The label `num_classes` means "no label". An
            unconditional model needs no label.
        training: Boolean, whether dropout is active.

    Returns:
        Mixture parameters `(batch, K, height, width, num_parameters)`, float32.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    ```python
    model = PixelCNNPlusPlus(image_shape=(8, 8, 1), num_classes=10, num_levels=17)
    model.compile(optimizer="adam")
    model.fit({"image": images, "label": labels}, epochs=10)
    model.class_probabilities(images)      # (N, 10)
    model.sample([0, 1, 2], seed=0)        # uint8 (3, 8, 8, 1)
    ```

    Reference:
        Salimans et al. 2017, PixelCNN++, https://arxiv.org/abs/1701.05517
        van den Oord et al. 2016, Conditional Image Generation with PixelCNN Decoders,
        https://arxiv.org/abs/1606.05328
    """

    def __init__(
        self,
        image_shape,
        num_classes,
        num_levels=256,
        filters=40,
        num_blocks=1,
        num_resolutions=3,
        num_mixtures=5,
        conditioning="embedding",
        conditioned_blocks="all",
        dropout_rate=0.5,
        label_dropout_rate=0.0,
        label_loss_weight=0.0,
        initial_temperature=1.0,
        learn_temperature=True,
        learn_offsets=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.image_shape = checked_image_shape(image_shape, num_resolutions)
        self.num_classes = num_classes
        self.num_levels = num_levels
        self.filters = tuple(filters) if isinstance(filters, list | tuple) else filters
        self.num_blocks = tuple(num_blocks) if isinstance(num_blocks, list | tuple) else num_blocks
        self.num_resolutions = num_resolutions
        self.num_mixtures = num_mixtures
        self.conditioning = conditioning
        self.conditioned_blocks = conditioned_blocks
        self.dropout_rate = dropout_rate
        self.label_dropout_rate = label_dropout_rate
        self.label_loss_weight = label_loss_weight
        self.initial_temperature = initial_temperature
        self.learn_temperature = learn_temperature
        self.learn_offsets = learn_offsets
        check_arguments(self)

        self.network = CausalNetwork(
            self.num_parameters,
            self.widths,
            per_resolution(self.num_blocks, self.num_resolutions),
            dropout_rate,
            conditioning,
            num_classes,
            conditioned_blocks,
            name="network",
            dtype=self.dtype_policy,
        )
        hybrid = self.label_loss_weight > 0
        self.posterior = LabelPosterior(
            max(num_classes, 1),
            initial_temperature,
            learn_temperature=learn_temperature and hybrid,
            learn_offsets=learn_offsets and hybrid,
            name="posterior",
        )
        self.seed_generator = keras.random.SeedGenerator()
        self.bits_per_dim_metric = keras.metrics.Mean(name="bits_per_dim")
        self.cross_entropy_metric = keras.metrics.Mean(name="cross_entropy")
        self.accuracy_metric = keras.metrics.Mean(name="accuracy")
        self._compares_candidates = False
        self._traced_labels = {}
        self.build({"image": (None, *self.image_shape), "label": (None, None)})

    @property
    def num_parameters(self):
        """Number of parameters of a pixel's distribution, which `log_likelihood` takes apart."""
        return logistic_mixture.num_parameters(self.num_mixtures, self.image_shape[-1])

    @property
    def widths(self):
        """Number of filters at each resolution, highest first."""
        return per_resolution(self.filters, self.num_resolutions)

    @property
    def dimensions(self):
        """Number of sub-pixels of a picture, the divisor of bits per dimension."""
        return int(np.prod(self.image_shape))

    def build(self, input_shape):
        height, width, channels = self.image_shape
        self.network.build((None, 1, height, width, channels))
        self.posterior.build()
        self.initialized = self.add_weight(
            name="initialized", shape=(), dtype="int32", initializer="zeros", trainable=False
        )

    # Network and loss

    def call(self, inputs, training=False):
        labels = self._candidates(inputs)
        if training and self.label_dropout_rate > 0 and labels is not None:
            labels = self._drop_labels(labels)
        image = logistic_mixture.scale_to_unit(inputs["image"], self.num_levels)
        parameters = self.network(ops.expand_dims(image, 1), labels, training=training)
        if labels is not None and labels.shape[1] != parameters.shape[1]:
            parameters = ops.repeat(parameters, labels.shape[1], axis=1)
        return parameters

    def _candidates(self, inputs):
        """Labels as `(batch, K)`, or `None` for an unconditional model."""
        if self.num_classes == 0:
            return None
        labels = ops.cast(inputs["label"], "int32")
        return ops.expand_dims(labels, 1) if len(labels.shape) == 1 else labels

    def _drop_labels(self, labels):
        # A picture loses all its candidates at once: they are then equal, and the cross-entropy
        # sends no gradient into the network.
        shape = (ops.shape(labels)[0], 1)
        dropped = keras.random.uniform(shape, seed=self.seed_generator) < self.label_dropout_rate
        return ops.where(dropped, self.num_classes, labels)

    def log_likelihood(self, parameters, images):
        """Sums log p over the pixels: `(batch, K)`, nats.

        Args:
            parameters: Mixture parameters `(batch, K, height, width, num_parameters)`.
            images: Levels `(batch, height, width, channels)`.
        """
        levels = ops.expand_dims(images, 1)
        return ops.sum(logistic_mixture.log_prob(parameters, levels, self.num_levels), axis=(2, 3))

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True, **kwargs
    ):
        """Bits/dim of the true label, plus the weighted cross-entropy over the candidates."""
        log_likelihood = self.log_likelihood(y_pred, x["image"])
        bits = logistic_mixture.nats_to_bits_per_dim(-log_likelihood[:, 0], self.dimensions)
        self.bits_per_dim_metric.update_state(bits, sample_weight=sample_weight)
        self._compares_candidates = log_likelihood.shape[1] > 1
        if self._compares_candidates:
            logits = self.posterior(log_likelihood, self._candidates(x))
            cross_entropy = ops.logsumexp(logits, axis=1) - logits[:, 0]
            # A tie is no answer: a model that doesn't know the label yet has nothing but ties.
            correct = ops.cast(ops.all(logits[:, :1] > logits[:, 1:], axis=1), "float32")
            self.cross_entropy_metric.update_state(cross_entropy, sample_weight=sample_weight)
            self.accuracy_metric.update_state(correct, sample_weight=sample_weight)
            bits = bits + self.label_loss_weight * cross_entropy
        return MeanOverBatch()(None, bits, sample_weight)

    def get_metrics_result(self):
        """The metrics; those over candidates only where there were several."""
        results = super().get_metrics_result()
        if not self._compares_candidates:
            for metric in (self.cross_entropy_metric, self.accuracy_metric):
                results.pop(metric.name, None)
        return results

    # Serialization

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "image_shape": self.image_shape,
                "num_classes": self.num_classes,
                "num_levels": self.num_levels,
                "filters": self.filters,
                "num_blocks": self.num_blocks,
                "num_resolutions": self.num_resolutions,
                "num_mixtures": self.num_mixtures,
                "conditioning": self.conditioning,
                "conditioned_blocks": self.conditioned_blocks,
                "dropout_rate": self.dropout_rate,
                "label_dropout_rate": self.label_dropout_rate,
                "label_loss_weight": self.label_loss_weight,
                "initial_temperature": self.initial_temperature,
                "learn_temperature": self.learn_temperature,
                "learn_offsets": self.learn_offsets,
            }
        )
        return config


def check_arguments(model):
    """Raises a `ValueError` unless the numbers that a model was made with are in range."""
    for name in ("num_mixtures", "num_levels"):
        require_positive_integer(name, getattr(model, name))
    for name in ("dropout_rate", "label_dropout_rate"):
        require_rate(name, getattr(model, name))
    if not 2 <= model.num_levels <= 256:
        raise ValueError(
            "Invalid value for argument `num_levels`. Expected an integer from 2 to 256. "
            f"Received: num_levels={model.num_levels}"
        )
    if isinstance(model.num_classes, bool) or not (
        isinstance(model.num_classes, int) and model.num_classes >= 0
    ):
        raise ValueError(
            "Invalid value for argument `num_classes`. Expected an integer of at least 0. "
            f"Received: num_classes={model.num_classes!r}"
        )
    for name in ("filters", "num_blocks"):
        value = getattr(model, name)
        values = per_resolution(value, model.num_resolutions)
        for number in values:
            require_positive_integer(name, number)
            require_at_most(name, number, 2**20 if name == "filters" else 1000)
        if len(values) != model.num_resolutions:
            raise ValueError(
                f"Invalid value for argument `{name}`. Expected an integer or one for each of "
                f"num_resolutions={model.num_resolutions}. Received: {name}={value}"
            )
    require_nonnegative_number("label_loss_weight", model.label_loss_weight)
    require_positive_number("initial_temperature", model.initial_temperature)
    parse_conditioning(model.conditioning)


def checked_image_shape(image_shape, num_resolutions):
    """Three integers `(height, width, channels)`; a `ValueError` if they don't fit the network."""
    require_positive_integer("num_resolutions", num_resolutions)
    require_at_most("num_resolutions", num_resolutions, 16)
    try:
        height, width, channels = (int(size) for size in image_shape)
    except (TypeError, ValueError):
        height = width = channels = 0
    if min(height, width, channels) < 1:
        raise ValueError(
            "Invalid value for argument `image_shape`. Expected three positive integers "
            f"(height, width, channels). Received: image_shape={image_shape}"
        )
    step = 2 ** (num_resolutions - 1)
    if height % step or width % step:
        raise ValueError(
            f"Invalid value for argument `image_shape`. Expected a height and width that {step} "
            f"divides, for num_resolutions={num_resolutions}. Received: image_shape={image_shape}"
        )
    return height, width, channels


def per_resolution(value, num_resolutions):
    """The values for each resolution, highest first, of an argument that may be one for all."""
    return value if isinstance(value, tuple) else (value,) * num_resolutions


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
