"""What every model of the family does: fit, score, classify, sample, complete, compress."""

import functools
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_pixelcnnpp.backend import Tensor, Tensors, require_tensorflow, with_shape
from keras_pixelcnnpp.checks import (
    checked_class_names,
    checked_image_shape,
    checked_images,
    checked_labels,
    checked_observed,
    is_prefix,
    plain,
    require_choice,
    require_integer,
    require_number,
)
from keras_pixelcnnpp.codec.container import compress_images, decompress_images
from keras_pixelcnnpp.distributions import logistic_mixture
from keras_pixelcnnpp.distributions.bits import bits_per_dim
from keras_pixelcnnpp.distributions.heads import make_head
from keras_pixelcnnpp.distributions.levels import to_levels
from keras_pixelcnnpp.errors import UserError, invalid_argument
from keras_pixelcnnpp.layers.convolutions import data_dependent_initialization, is_initializing
from keras_pixelcnnpp.layers.posterior import LabelPosterior, log_marginal
from keras_pixelcnnpp.models.first_batch import with_first_batch
from keras_pixelcnnpp.models.image_model import ImageModel
from keras_pixelcnnpp.models.loss import MeanMetric, batch_loss, last_output
from keras_pixelcnnpp.models.network import AutoregressiveNetwork
from keras_pixelcnnpp.models.scoring import (
    ERROR_RUNS,
    class_scores,
    log_marginal_of_pixels,
    score,
    score_observed,
)
from keras_pixelcnnpp.presets import Preset, preset_names, write_preset
from keras_pixelcnnpp.sampling.sampler import SamplingOptions, sample_images

# Images for the data-dependent initialization: more would not steady the statistics.
MAX_INITIAL_IMAGES = 128


class _Presets:
    """The presets of a class, as an attribute of it."""

    def __get__(self, model: object, kind: type) -> dict[str, dict]:
        presets = {name: Preset(name) for name in preset_names()}
        return {name: preset.metadata for name, preset in presets.items() if preset.is_of(kind)}


class AutoregressiveModel(ImageModel):
    """p(x | y) as a product over pixels: a causal network and a distribution of one pixel.

    A subclass creates its network, an `AutoregressiveNetwork`, in `make_network`. The methods that
    take and return arrays check their inputs and work in batches. Several threads may
    sample, score and classify with these methods of one model, but not while it is trained,
    evaluated, or asked to `predict`.

    The arguments are described in `PixelCNNPlusPlus`.

    Attributes:
        presets: Dict of the class's presets: for each name, the content of its `metadata.json`,
            such as a `"description"`.
    """

    network_name: str | None = None  # the name by which commands know a subclass
    presets = _Presets()
    _title: str | None = None  # the name by which people know a subclass
    _default_conditioning = "bias"
    # Whether a softmax's sub-pixels depend on each other by tables: the network computes them all
    # at once.
    _head_has_tables = True
    train_step: Callable  # Keras's, of which a model makes others to compile them again
    test_step: Callable
    _lowest_label = -1

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        num_levels: int = 256,
        *,
        filters: int | Sequence[int],
        num_blocks: int | Sequence[int],
        num_mixtures: int = 5,
        head: str = "logistic_mixture",
        conditioning: str | None = None,
        dropout_rate: float = 0.0,
        label_loss_weight: float | None = None,
        num_candidates: int | None = None,
        unlabeled_weight: float = 0.0,
        initial_logit_scale: float | None = None,
        learn_logit_scale: bool = True,
        learn_class_bias: bool = True,
        class_names: Sequence[str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        require_integer("num_classes", num_classes, low=0, high=100_000)
        conditional = num_classes > 1
        if conditioning is None:
            conditioning = self._default_conditioning if conditional else "none"
        if label_loss_weight is None:
            label_loss_weight = 0.3 if conditional else 0.0
        require_integer("num_levels", num_levels, low=2, high=256)
        require_number("dropout_rate", dropout_rate, "[0, 1)")
        require_number("label_loss_weight", label_loss_weight, "[0, inf)")
        require_number("unlabeled_weight", unlabeled_weight, "[0, inf)")
        if initial_logit_scale is not None:
            require_number("initial_logit_scale", initial_logit_scale, "(0, inf)")
        if unlabeled_weight and not conditional:
            raise UserError(
                "Invalid value for argument `unlabeled_weight`. It is for two classes or more. "
                f"Received: unlabeled_weight={unlabeled_weight}, num_classes={num_classes}"
            )
        if num_candidates is not None:
            require_integer("num_candidates", num_candidates, low=2)
        if unlabeled_weight and num_candidates is not None and num_candidates < num_classes:
            raise UserError(
                "Invalid value for argument `unlabeled_weight`. Images without a label need all "
                f"{num_classes} classes as candidates. Received: "
                f"unlabeled_weight={unlabeled_weight}, num_candidates={num_candidates}"
            )
        self.image_shape = checked_image_shape(image_shape)
        self.num_classes = plain(num_classes)
        self.num_levels = plain(num_levels)
        self.filters = plain(filters)
        self.num_blocks = plain(num_blocks)
        self.num_mixtures = plain(num_mixtures)
        self.head = head
        self.conditioning = conditioning
        self.dropout_rate = plain(dropout_rate)
        self.num_candidates = plain(num_candidates)
        self.unlabeled_weight = plain(unlabeled_weight)
        self.initial_logit_scale = plain(initial_logit_scale)
        self.learn_logit_scale = plain(learn_logit_scale)
        self.learn_class_bias = plain(learn_class_bias)
        self.class_names = checked_class_names(class_names, num_classes)
        channels = self.image_shape[-1]
        self.distribution = make_head(
            head, channels, self.num_levels, self.num_mixtures, self._head_has_tables
        )
        # Compiled functions, by what they were compiled for. In a namespace: Keras tracks the
        # models in a dict, and saves them with this one.
        self._compiled_functions = types.SimpleNamespace(
            scorers={}, samplers={}, coders={}, training={}, network=None
        )
        self._likelihood_only = False
        self._label_loss_weight = plain(label_loss_weight)
        # In this order: checkpoints number the variables.
        self.network = self.make_network()
        # By likelihood alone they get no gradients. Not left out: `label_loss_weight` may change.
        self.posterior = LabelPosterior(
            max(self.num_classes, 1),
            self.initial_logit_scale or (0.1 if self.label_loss_weight else 1.0),
            learn_logit_scale=self.learn_logit_scale and conditional,
            learn_class_bias=self.learn_class_bias and conditional,
            name="posterior",
        )
        self.seed_generator = keras.random.SeedGenerator()
        self._bits_per_dim_metric = MeanMetric(name="bits_per_dim")
        if conditional:
            self._cross_entropy_metric = MeanMetric(name="cross_entropy")
            self._accuracy_metric = MeanMetric(name="accuracy")
        self.build((None, *self.image_shape))

    def make_network(self) -> AutoregressiveNetwork:
        """Creates the network, once the arguments of this class are attributes."""
        raise NotImplementedError

    def build(self, input_shape: Any) -> None:
        height, width, channels = self.image_shape
        self.network.build((None, 1, height, width, channels))
        self.posterior.build()
        self._initialized = self.add_weight(
            name="initialized", shape=(), dtype="int32", initializer="zeros", trainable=False
        )

    @property
    def widths(self) -> tuple[int, ...]:
        """Number of filters at each resolution, highest first."""
        return (self.filters,)

    @property
    def dimensions(self) -> int:
        """Number of sub-pixels of an image, the divisor of bits per dimension."""
        return int(np.prod(self.image_shape))

    @property
    def logit_scale(self) -> float:
        """The factor α of the posterior softmax(α · log p(x | y) + b)."""
        return float(np.exp(ops.convert_to_numpy(self.posterior.log_logit_scale)))

    @property
    def class_bias(self) -> np.ndarray:
        """The biases b of the posterior, float32 `(num_classes,)`."""
        return ops.convert_to_numpy(self.posterior.class_bias)[: self.num_classes]

    @property
    def label_loss_weight(self) -> float:
        """Weight of the cross-entropy in the loss. Steps that are compiled follow a change."""
        return self._label_loss_weight

    @label_loss_weight.setter
    def label_loss_weight(self, value: float) -> None:
        require_number("label_loss_weight", value, "[0, inf)")
        self._label_loss_weight = plain(value)
        self._compiled_functions.training.clear()
        if self.train_function is not None:
            self._new_train_function()
        if self.test_function is not None:
            self.test_step = functools.partial(type(self).test_step, self)
            self.make_test_function(force=True)

    def call(self, images: Tensor, training: bool = False) -> Tensor:
        self.require_images(images)
        if training:
            return images  # the loss needs the label, and evaluates the network itself
        if not self.num_classes:
            return self.class_log_likelihood_tensor(images)[:, 0]
        found = self.posterior_tensors(images)
        last_output.set((found["probabilities"], found["log_likelihood"]))
        return found["probabilities"]

    # The likelihood, as tensors

    def pixel_parameters(
        self, images: Tensor, labels: Tensor | None = None, training: bool = False
    ) -> Tensor:
        """Parameters of the distribution of each pixel, given the pixels before it and a label.

        Args:
            images: Integer tensor `(batch, height, width, channels)`, 0 to 255.
            labels: Int tensor `(batch, K)`, candidates for the label of each image; `None` for an
                unconditional model.
            training: Boolean, whether dropout is active.

        Returns:
            Float32 tensor `(batch, K, height, width, num_parameters)`.
        """
        levels = to_levels(with_shape(images, self.image_shape), self.num_levels)
        image = logistic_mixture.scale_to_unit(levels, self.num_levels)
        network = self._compiled_network() or self.network
        parameters = network(ops.expand_dims(image, 1), labels, training=training)
        if labels is not None and labels.shape[1] != parameters.shape[1]:
            parameters = ops.repeat(parameters, labels.shape[1], axis=1)
        return parameters

    def pixel_log_likelihood(
        self, images: Tensor, labels: Tensor | None = None, training: bool = False
    ) -> Tensor:
        """Log-likelihood of each pixel given the pixels before it, under candidate labels.

        Args:
            images: As in `pixel_parameters`. An image with a value out of range gives NaN.
            labels: As in `pixel_parameters`.
            training: As in `pixel_parameters`.

        Returns:
            Float32 tensor `(batch, K, height, width)`, nats; K is 1 for an unconditional model.
        """
        parameters = self.pixel_parameters(images, labels, training)
        levels = ops.expand_dims(to_levels(images, self.num_levels), 1)
        return self.nan_where_invalid(images, self.distribution.log_prob(parameters, levels))

    def log_likelihood(
        self, images: Tensor, labels: Tensor | None = None, training: bool = False
    ) -> Tensor:
        """Sum of `pixel_log_likelihood` over each image: a float32 tensor `(batch, K)`, nats."""
        return ops.sum(self.pixel_log_likelihood(images, labels, training), axis=(2, 3))

    def class_log_likelihood_tensor(self, images: Tensor) -> Tensor:
        """Log-likelihood of images under every class, some images at a time to bound the memory.

        A batch whose size TensorFlow doesn't know while it traces is taken for one of 32 images.

        Args:
            images: As in `pixel_parameters`.

        Returns:
            Float32 tensor `(batch, num_classes)`, nats; `(batch, 1)` for an unconditional model.
        """
        return class_scores(self, images)

    def _compiled_network(self) -> Callable | None:
        """What torch compiles if asked to with `jit_compile=True`; else `None`."""
        wanted = keras.backend.backend() == "torch" and self.jit_compile
        if not wanted or is_initializing():
            return None
        if self._compiled_functions.network is None:
            from keras_pixelcnnpp.models.torch_network import CompiledNetwork

            self._compiled_functions.network = CompiledNetwork(self.network)
        return self._compiled_functions.network

    def _should_torch_compile(self) -> bool:
        return False  # Keras's whole step, in which its compiler finds breaks only

    def posterior_tensors(self, images: Tensor) -> Tensors:
        """Scores and classifies a batch.

        Args:
            images: As in `pixel_parameters`.

        Returns:
            Dict of tensors: `"log_likelihood"` and `"probabilities"`, `(batch, num_classes)`, and
            `"bits_per_dim"` of p(x), `(batch,)`.
        """
        log_likelihood = self.class_log_likelihood_tensor(images)
        return {
            "log_likelihood": log_likelihood,
            "probabilities": ops.softmax(self.posterior(log_likelihood), axis=-1),
            "bits_per_dim": bits_per_dim(log_marginal(log_likelihood), self.image_shape),
        }

    # Training

    def compile(self, optimizer: Any = "rmsprop", loss: Any = None, **kwargs: Any) -> None:
        """Configures training as `keras.Model.compile`; the loss is the model's own.

        Args:
            optimizer: An optimizer, or its name.
            loss: Not to be given, nor are `loss_weights`.
            **kwargs: Other arguments of `keras.Model.compile`. `metrics` and `weighted_metrics`
                compare the labels with the probabilities `(batch, num_classes)`; the labels are
                integers for Keras's sparse metrics, else one-hot, so the two kinds can't be mixed.
                They are measured by `evaluate` and in validation, not in training, which does not
                compute the probabilities of all classes.

        Raises:
            ValueError: If a loss is given.
        """
        for name, value in {"loss": loss, "loss_weights": kwargs.get("loss_weights")}.items():
            if value is not None:
                raise UserError(
                    f"Invalid argument `{name}`. {type(self).__name__} brings its own loss, bits "
                    f"per dimension of the images: leave it out. Received: {name}={value!r}"
                )
        super().compile(optimizer, **kwargs)
        self._compiled_functions.training.clear()

    def initialize(self, images: np.ndarray, labels: ArrayLike | None = None) -> None:
        """Sets gains and biases from one batch of data (weight normalization), before training.

        Args:
            images: uint8 `(batch, height, width, channels)`.
            labels: Int `(batch,)`; -1 where there is none.

        Raises:
            ValueError: If that was done before, or images or labels don't fit the model.
        """
        images, labels = self._checked(images, labels, "initialize", self._lowest_training_label)
        if self._initialized.numpy():
            raise UserError("The model has been initialized: that would overwrite what it learned")
        # Class 0 stands for -1, no label: gains and biases hardly depend on it.
        labels = ops.convert_to_tensor(np.maximum(labels, 0)[:, None])
        with data_dependent_initialization():
            labels = labels if self.num_classes else None
            self.pixel_parameters(ops.convert_to_tensor(images), labels)
        self._initialized.assign(1)

    @property
    def _lowest_training_label(self) -> int:
        return -1 if self.unlabeled_weight else 0

    def _before_training(self, x: Any, y: Any) -> Any:
        if self._initialized.numpy():  # int() fails for a variable of tf.distribute
            return x
        if hasattr(x, "shape"):
            # At random, since arrays often lie sorted by class.
            rows = np.random.default_rng(0).permutation(len(x))[:MAX_INITIAL_IMAGES]
            self.initialize(x[rows], y[rows])
            return x
        batch, x = with_first_batch(x)
        if batch is not None:
            images, labels, _ = keras.utils.unpack_x_y_sample_weight(batch)
            self.initialize(images, labels)
        return x

    def _after_training(self) -> None:
        self._set_likelihood_only(False)

    def _set_likelihood_only(self, alone: bool) -> None:
        """Leaves the cross-entropy out, as the callback `LikelihoodFirst` asks."""
        if self._likelihood_only == alone:
            return
        self._likelihood_only = alone
        # Each of the two losses keeps its compiled step.
        steps = self._compiled_functions.training
        steps[not alone] = self.train_function
        if alone in steps:
            self.train_function = steps[alone]
        else:
            self._new_train_function()

    def _new_train_function(self) -> None:
        # JAX takes equal methods for one function, which it has traced already.
        self.train_step = functools.partial(type(self).train_step, self)
        self.make_train_function(force=True)

    @property
    def _compares_labels(self) -> bool:
        """Whether training scores an image under several labels."""
        return self.num_classes > 1 and max(self.label_loss_weight, self.unlabeled_weight) > 0

    @property
    def _num_candidates(self) -> int:
        """How many labels training compares for each image."""
        count = self.num_candidates or (self.num_classes if self.unlabeled_weight else 10)
        return min(count, self.num_classes)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """The loss of a batch, see the class: a scalar.

        Args:
            x: Images, an integer tensor `(batch, height, width, channels)`.
            y: Labels, an int tensor `(batch,)`. One that is no class makes the loss NaN.
            y_pred: The output of a call.
            sample_weight: Float tensor `(batch,)`, or `None`.
            training: Boolean. Training compares the candidates, evaluation all classes.
        """
        return batch_loss(self, x, y, y_pred, sample_weight, training)

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Metrics as `keras.Model.compute_metrics`; in training, those of the loss alone.

        If training compares only some of the classes, its accuracy and cross-entropy are called
        `candidate_accuracy` and `candidate_cross_entropy`.
        """
        if len(y_pred.shape) < 4:  # in training, it is the images
            return super().compute_metrics(x, y, y_pred, sample_weight)
        results = {
            metric.name: metric.result()
            for metric in (self._loss_tracker, self._bits_per_dim_metric)
        }
        if self._compares_labels:
            prefix = "candidate_" if self._num_candidates < self.num_classes else ""
            for metric in (self._cross_entropy_metric, self._accuracy_metric):
                results[prefix + metric.name] = metric.result()
        return results

    # Scoring

    def log_prob(
        self,
        images: np.ndarray,
        labels: ArrayLike | None = None,
        batch_size: int = 32,
        verbose: int | str = 0,
    ) -> np.ndarray:
        """Log-likelihood log p(x | y) of each image under its label.

        Args:
            images: uint8 `(N, height, width, channels)`.
            labels: Int `(N,)`, or names of classes; -1 gives log p(x), the logarithm of the mean of
                p(x | y) over the classes. `None` for an unconditional model.
            batch_size: Integer, images at a time.
            verbose: As in `keras.Model.predict`.

        Returns:
            Float32 array `(N,)`, nats.

        Raises:
            ValueError: If images or labels don't fit the model.
        """
        images = checked_images(images, self.image_shape, self.num_levels)
        labels = self._checked_labels(labels, len(images))
        if labels is None:
            return score(self, images, None, batch_size, verbose)[:, 0]
        result = score(self, images, np.maximum(labels, 0), batch_size, verbose)[:, 0]
        if (unlabeled := labels < 0).any():
            scores = self.class_log_likelihoods(images[unlabeled], batch_size, verbose)
            result[unlabeled] = log_marginal(scores)
        return result

    def _checked_labels(
        self, labels: ArrayLike | None, count: int, lowest: int = -1
    ) -> np.ndarray | None:
        """Labels of a call, or one for all, as int32 `(count,)`; `None` if there are no classes."""
        if self.num_classes:
            return checked_labels(labels, count, self.num_classes, self.class_names, lowest)
        if labels is not None:
            raise invalid_argument("labels", labels, "None, as the model is unconditional")
        return None

    def class_log_likelihoods(
        self,
        images: np.ndarray,
        batch_size: int = 32,
        verbose: int | str = 0,
        observed: ArrayLike | None = None,
        num_particles: int = 64,
        seed: int = 0,
        standard_error: bool = False,
    ) -> np.ndarray | Any:
        """Log-likelihood log p(x | y) of each image, or of a part of it, under every class.

        The likelihood of a part in which an unknown pixel precedes a known one, in raster order, is
        estimated by sequential Monte Carlo: `num_particles` images are sampled for each image and
        class, weighed by the probability of each known pixel, and resampled after a row if the
        weights have become too unequal. The estimate of p (not of log p) is unbiased. All other
        likelihoods are exact.

        Args:
            images: uint8 `(N, height, width, channels)`.
            batch_size: Integer, images (or particles) at a time.
            verbose: As in `keras.Model.predict`.
            observed: Which part is known: an integer, the number of first rows, or a sequence of M
                of these, all from one pass; or a boolean mask `(height, width)` or `(N, height,
                width)`. `None` for the whole image. Other pixels make no difference.
            num_particles: Integer, particles of each image and class where they are needed.
            seed: Integer >= 0, determines the particles.
            standard_error: Boolean, whether to return a pair: the logarithm of the mean of 8
                independent estimates, and its standard error, 0 where it is exact. With particles,
                this takes 8 times as long.

        Returns:
            Float32 array `(N, num_classes)`, nats; `(N, M, num_classes)` for a sequence.

        Raises:
            ValueError: If the images don't fit the model, or there are no such rows.

        Reference:
            Doucet & Johansen 2011, A Tutorial on Particle Filtering and Smoothing.
        """
        self._require_classes()
        images = checked_images(images, self.image_shape, self.num_levels)
        labels = np.tile(np.arange(self.num_classes, dtype="int32"), (len(images), 1))
        options = SamplingOptions(seed=seed, batch_size=batch_size, verbose=verbose)
        runs = ERROR_RUNS if standard_error else 1
        scores, errors = score_observed(
            self, images, labels, observed, options, num_particles, runs
        )
        return (scores, errors) if standard_error else scores

    def _require_classes(self) -> None:
        if not self.num_classes:
            raise UserError("This model has no classes to compare")

    def class_probabilities(
        self,
        images: np.ndarray,
        batch_size: int = 32,
        verbose: int | str = 0,
        observed: ArrayLike | None = None,
        num_particles: int = 64,
        seed: int = 0,
    ) -> np.ndarray:
        """Posterior p(y | x) by Bayes' rule, of the whole image or of a part of it.

        The logit scale and the class biases, where training learned some, are those of whole
        images, so the posterior of parts may be badly calibrated; if nothing is known, it is the
        softmax of the class biases.

        Args:
            images: As in `class_log_likelihoods`.
            batch_size: As in `class_log_likelihoods`.
            verbose: As in `class_log_likelihoods`.
            observed: As in `class_log_likelihoods`.
            num_particles: As in `class_log_likelihoods`.
            seed: As in `class_log_likelihoods`.

        Returns:
            Float32 array `(N, num_classes)`; `(N, M, num_classes)` for a sequence.

        Example:

        ```python
        model.class_probabilities(images, observed=8)                     # of the first 8 rows
        model.class_probabilities(images, observed=range(height + 1))     # from one pass
        model.class_probabilities(images, observed=mask)                  # of any pixels
        ```
        """
        scores = self.class_log_likelihoods(
            images, batch_size, verbose, observed, num_particles, seed
        )
        return self.posterior.probabilities(scores)

    def bits_per_dim(
        self,
        images: np.ndarray,
        batch_size: int = 32,
        verbose: int | str = 0,
        observed: ArrayLike | None = None,
        num_particles: int = 64,
        seed: int = 0,
    ) -> np.ndarray:
        """Bits/dim of p(x), the mean of p(x | y) over equally likely classes.

        Args:
            images: As in `class_log_likelihoods`.
            batch_size: As in `class_log_likelihoods`.
            verbose: As in `class_log_likelihoods`.
            observed: As in `class_log_likelihoods`, but no sequence. A part has the bits of its
                sub-pixels, divided by their number.
            num_particles: As in `class_log_likelihoods`.
            seed: As in `class_log_likelihoods`.

        Returns:
            Float64 array `(N,)`; NaN where nothing is observed.
        """
        images = checked_images(images, self.image_shape, self.num_levels)
        share = 1.0
        if observed is not None:
            share = checked_observed(observed, len(images), self.image_shape).mean(axis=(1, 2))
            share[share == 0] = np.nan
        if self.num_classes:
            scores = self.class_log_likelihoods(
                images, batch_size, verbose, observed, num_particles, seed
            )
            log_likelihood = log_marginal(scores)
        else:
            options = SamplingOptions(seed=seed, batch_size=batch_size, verbose=verbose)
            scores, _ = score_observed(self, images, None, observed, options, num_particles)
            log_likelihood = scores[:, 0]
        return bits_per_dim(log_likelihood, self.image_shape) / share

    # Sampling

    def sample(
        self,
        labels: ArrayLike,
        seed: int | None = None,
        temperature: float = 1.0,
        guidance: float = 0.0,
        guidance_logit_scale: float | None = None,
        batch_size: int = 100,
        verbose: int | str = "auto",
    ) -> np.ndarray:
        """Samples images of the given classes.

        Args:
            labels: Int `(N,)` or names of classes; -1 samples from p(x): a class at random. A
                single label gives one image. An integer N for an unconditional model.
            seed: Integer >= 0: seed and position in `labels` determine an image, whatever the
                batch size. `None`: other images at each call. (A SavedModel makes its noise in
                the graph, so that one seed gives other images there.)
            temperature: Number from 1e-6 to 1e6; below 1, safer and smoother images. It divides the
                logits of each pixel's distribution (of a mixture's components, or of a softmax's
                levels) and multiplies the scales of a mixture.
            guidance: Number w >= 0; above 0, images that are more typical of their class and less
                diverse. Every sub-pixel has a probability proportional to p(l | y)^(1 + w) /
                q(l)^w, where q is the mean of p(l | k) over all classes k, weighted by softmax(b
                r), and r their log-likelihoods of the sub-pixels before. It evaluates the network
                under all classes.
            guidance_logit_scale: Number b >= 0. `None`: half of `logit_scale`. With 1, q is the
                model's p(x), which soon hardly differs from p(x | y).
            batch_size: Integer, images at a time, which bounds the memory.
            verbose: 0, 1 (progress bar) or `"auto"`: 1 at a terminal, of more than one batch.

        Returns:
            uint8 `(N, height, width, channels)`.

        Raises:
            ValueError: If an argument is out of range.

        Reference:
            Ho & Salimans 2022, Classifier-Free Diffusion Guidance, https://arxiv.org/abs/2207.12598
        """
        options = SamplingOptions(
            seed, temperature, guidance, guidance_logit_scale, batch_size, verbose
        )
        if self.num_classes:
            labels = self._checked_labels(labels, np.size(labels))
        else:
            require_integer("labels", labels)
        return sample_images(self, labels, options)[0]

    def complete(
        self,
        images: np.ndarray,
        observed: ArrayLike,
        labels: ArrayLike | None = None,
        seed: int | None = None,
        temperature: float = 1.0,
        guidance: float = 0.0,
        guidance_logit_scale: float | None = None,
        num_particles: int = 64,
        batch_size: int = 100,
        verbose: int | str = "auto",
    ) -> np.ndarray:
        """Completes images of which any part is given.

        If all known pixels precede the unknown ones in raster order, completions are samples of
        p(unknown | known, y). Else they approach that distribution with more particles: see
        `class_log_likelihoods`. With one particle, later pixels make no difference to earlier ones.

        Args:
            images: uint8 `(N, height, width, channels)`; unknown pixels are ignored.
            observed: Integer, the number of first rows that are kept; or a boolean mask `(height,
                width)` or `(N, height, width)`, true where a pixel is kept.
            labels: Int `(N,)` or names of classes, or one for all images; -1 chooses a class at
                random by its probability given the known pixels. Not for an unconditional model.
            seed: As in `sample`.
            temperature: As in `sample`.
            guidance: As in `sample`.
            guidance_logit_scale: As in `sample`.
            num_particles: Integer, particles of each image where a known pixel follows an unknown
                one.
            batch_size: Integer, images (or particles) at a time.
            verbose: As in `sample`.

        Returns:
            uint8 `(N, height, width, channels)`; where known, `images` in the model's levels.

        Raises:
            ValueError: If an argument is out of range.
        """
        images = checked_images(images, self.image_shape, self.num_levels)
        labels = self._checked_labels(labels, len(images))
        known = checked_observed(observed, len(images), self.image_shape)
        require_integer("num_particles", num_particles)
        options = SamplingOptions(
            seed, temperature, guidance, guidance_logit_scale, batch_size, verbose
        )
        labels = len(images) if labels is None else labels
        particles = 1 if is_prefix(known) else num_particles
        return sample_images(self, labels, options, images, known, particles)[0]

    def evidence_map(
        self,
        images: np.ndarray,
        labels: ArrayLike,
        against: ArrayLike,
        batch_size: int = 32,
        verbose: int | str = 0,
    ) -> np.ndarray:
        """Where in an image the decision for one class and against another comes from.

        For each pixel i, in raster order, all its channels together,

            log p(x_i | x_<i, y) - log p(x_i | x_<i, y')

        The sum over an image is log p(x | y) - log p(x | y'): the evidence of the whole image,
        which the posterior multiplies with its logit scale before it adds the biases.

        Args:
            images: uint8 `(N, height, width, channels)`.
            labels: Int `(N,)` or names, the classes y, or one for all; -1 stands for all classes,
                with p(x) in place of p(x | y).
            against: The classes y', likewise.
            batch_size: Integer, images at a time.
            verbose: As in `keras.Model.predict`.

        Returns:
            Float32 array `(N, height, width)`, nats; positive where a pixel speaks for y.

        Raises:
            ValueError: If images or labels don't fit the model, or it knows no classes.

        Example:

        ```python
        evidence = model.evidence_map(images, labels, (labels + 1) % model.num_classes)
        evidence.sum(axis=(1, 2))      # log_prob(images, labels) - log_prob(images, …)
        ```
        """
        self._require_classes()
        images = checked_images(images, self.image_shape, self.num_levels)
        pairs = [self._checked_labels(one, len(images)) for one in (labels, against)]
        pairs = np.stack(pairs, axis=1)
        scores = score(self, images, np.maximum(pairs, 0), batch_size, verbose, "pixel")
        if (pairs < 0).any():
            by_class = self._class_pixel_log_likelihoods(images, batch_size, verbose)
            marginal = log_marginal_of_pixels(by_class)[:, None]
            scores = np.where(pairs[..., None, None] < 0, marginal, scores)
        return scores[:, 0] - scores[:, 1]

    def _class_pixel_log_likelihoods(
        self, images: np.ndarray, batch_size: int, verbose: int | str = 0
    ) -> np.ndarray:
        """Log p(x_i | x_<i, y) under every class: `(N, num_classes, height, width)`, nats."""
        classes = np.tile(np.arange(self.num_classes, dtype="int32"), (len(images), 1))
        return score(self, images, classes, batch_size, verbose, "pixel")

    # Compressing

    def compress(
        self,
        images: np.ndarray,
        labels: ArrayLike | None = None,
        batch_size: int = 100,
        verbose: int | str = "auto",
    ) -> bytes:
        """Compresses images without loss, to about -log2 p(x | y) bits each.

        That is, what `num_levels` keeps of them: all where it is 256. `decompress` needs a model
        with these weights, on any machine, under any backend.

        Args:
            images: uint8 `(N, height, width, channels)`.
            labels: Int `(N,)` or names, or one for all, coded too. `None`: the class that makes
                each image shortest.
            batch_size: Integer, images at a time. The result does not depend on it.
            verbose: 0, 1 (progress bar) or `"auto"`: 1 at a terminal.

        Returns:
            Bytes: a header of some hundred, and the images' streams, of which each is some 3 bytes
            longer than its likelihood promises.

        Raises:
            ValueError: If an argument doesn't fit the model.
            UserError: If a layer of the model is not of this package, or its weights are too large
                to be computed exactly.

        Example:

        ```python
        data = model.compress(images)
        8 * len(data) / images.size              # about model.bits_per_dim(images).mean()
        (model.decompress(data) == images).all()     # True of a model of 256 levels
        ```

        Reference:
            Duda 2013, Asymmetric numeral systems, https://arxiv.org/abs/1311.2540
        """
        return compress_images(self, images, labels, None, batch_size, verbose).data

    def decompress(
        self, data: bytes, batch_size: int = 100, verbose: int | str = "auto"
    ) -> np.ndarray:
        """Gives back the images that `compress` was given.

        Args:
            data: Bytes that `compress` returned.
            batch_size: Integer, images at a time.
            verbose: As in `compress`.

        Returns:
            uint8 `(N, height, width, channels)`.

        Raises:
            UserError: If they are damaged, or this model is not the one which compressed them.
        """
        return decompress_images(self, data, batch_size, verbose)[0]

    # Presets and export

    @classmethod
    def from_preset(cls, preset: str | Path, load_weights: bool = True, **kwargs: Any) -> Self:
        """Creates a model from a preset: of its class, which is this one or a subclass.

        Args:
            preset: Name of a built-in preset, path of a folder written by `save_to_preset`, or
                `"hf://USER/NAME"`, which is downloaded from the Hugging Face Hub (the extra
                `hub`); `"hf://USER/NAME@COMMIT"` are always the same files.
            load_weights: Boolean; `False` for a model of random weights.
            **kwargs: Constructor arguments that replace the preset's. With another `num_classes`,
                all weights but those of the labels are kept; a warning names those that are new.
                `dtype="mixed_bfloat16"` chooses the precision, which a preset does not store.

        Returns:
            A model.

        Raises:
            UserError: If there is no such preset or no way to it, it is of another class, without
                weights or damaged, or its weights don't fit the arguments.

        Example:

        >>> model = AutoregressiveModel.from_preset("digits", dropout_rate=0.1)
        >>> model.image_shape, model.num_classes
        ((8, 8, 1), 10)
        """
        found = Preset(preset)
        model = found.make(cls, **kwargs)
        if load_weights:
            found.load_weights(model, **kwargs)
        return model

    def save_to_preset(self, path: str | Path, metadata: dict | None = None) -> None:
        """Writes the model as a preset: a folder that `from_preset` and `upload_preset` read.

        The precision is not stored: a model of `mixed_bfloat16` comes back in the dtype policy that
        is set when it is loaded, by default float32.

        Args:
            path: The folder; created if need be. A `README.md` in it, its card, is left as it is.
            metadata: Optional dict for `metadata.json`: `"training"`, a dict of the options of the
                training, which `train --preset` takes; a `"description"`; facts and figures.
        """
        # A copy has no optimizer, whose moments and averages would make the file four times larger.
        copy = type(self).from_config(self.get_config())
        copy.set_weights(self.get_weights())
        write_preset(path, copy, metadata or {})

    def export(
        self,
        filepath: str | Path,
        format: str = "tf_saved_model",  # noqa: A002
        verbose: bool | None = None,
    ) -> None:
        """Writes a SavedModel that classifies, scores and samples without this package.

        Its endpoints are those of `pixelcnnpp export`: see
        `export.endpoints.export_saved_model`. They cut the middle out of image files of another
        aspect ratio; that command exports a run, with the `--resize` that it was trained with.

        Args:
            filepath: The folder to write, replaced as a whole.
            format: `"tf_saved_model"`; there is no other.
            verbose: Boolean, whether to print the folder.

        Raises:
            UserError: Under another backend than TensorFlow, for another format, or for a model
                that cannot be exported: without labels, or not of 1 or 3 channels.

        Example:

        ```python
        model.export("savedmodel/1")
        SavedModelClassifier("savedmodel").predict(images)
        ```
        """
        require_choice("format", format, ("tf_saved_model",))
        require_tensorflow()
        # Here: TensorFlow is there under its own backend only.
        from keras_pixelcnnpp.export.endpoints import export_saved_model

        export_saved_model(self, filepath)
        if verbose:
            print(f"Saved artifact at {str(filepath)!r}.")
