"""The conditional PixelCNN++."""

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.distributions import logistic_mixture
from keras_pixelcnnpp.layers import LabelPosterior
from keras_pixelcnnpp.models.causal_network import CausalNetwork
from keras_pixelcnnpp.models.fitting import Fitting
from keras_pixelcnnpp.models.mean_over_batch import MeanOverBatch
from keras_pixelcnnpp.models.model_arguments import (
    check_arguments,
    checked_image_shape,
    per_resolution,
)
from keras_pixelcnnpp.models.scoring import Scoring

# For whoever loads a trained model: registers what its archive names.
from keras_pixelcnnpp.optimizers import fused_adam, warm_up_then_decay  # noqa: F401
from keras_pixelcnnpp.presets.presets import Presets
from keras_pixelcnnpp.sampling.generating import Generating


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
