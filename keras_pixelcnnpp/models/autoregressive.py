"""Base class of the autoregressive models: fit, score, classify, sample, complete, compress."""

import inspect
import types
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_pixelcnnpp.codec.container import compress_images, decompress_images
from keras_pixelcnnpp.distributions.bits import bits_per_dim
from keras_pixelcnnpp.distributions.heads import HEADS
from keras_pixelcnnpp.distributions.levels import cast, to_images, to_levels
from keras_pixelcnnpp.layers.arithmetic import FloatArithmetic
from keras_pixelcnnpp.layers.conditions import MARGINAL, UNLABELED, Conditions, conditions_of
from keras_pixelcnnpp.layers.evaluation import Evaluation
from keras_pixelcnnpp.layers.network_config import NetworkConfig
from keras_pixelcnnpp.layers.posterior import LabelPosterior, log_marginal
from keras_pixelcnnpp.models.grid_posterior import (
    GridPosterior,
    posterior_on_grid,
    scores_of_vectors,
    vectors_of,
)
from keras_pixelcnnpp.models.image_model import ImageModel
from keras_pixelcnnpp.models.loss import MeanMetric, batch_loss
from keras_pixelcnnpp.models.network import AutoregressiveNetwork
from keras_pixelcnnpp.models.scoring import (
    ERROR_RUNS,
    choose_classes,
    class_scores,
    evaluated,
    images_and_labels,
    jackknife_error,
    log_marginal_of_pixels,
    score,
    score_observed,
)
from keras_pixelcnnpp.models.statistics import (
    PixelStatistics,
    parameters_of,
    statistics_of_batch,
    with_pit,
)
from keras_pixelcnnpp.presets import Preset, preset_names, write_preset
from keras_pixelcnnpp.sampling.sampler import SamplingOptions, sample_images
from keras_pixelcnnpp.utils.backend import Tensor, require_tensorflow, with_shape
from keras_pixelcnnpp.utils.checks import (
    checked_image_shape,
    checked_observed,
    image_dtype,
    is_prefix,
    plain,
    require_choice,
    require_integer,
    require_number,
)
from keras_pixelcnnpp.utils.errors import UserError, invalid_argument

# Arguments of a model that concern its training and its posterior. All others, also new ones, are
# arguments of the network, which must be equal to copy or to decode with its weights.
_OF_TRAINING = (
    *("dropout_rate", "label_loss_weight", "num_candidates", "unlabeled_weight"),
    *("initial_logit_scale", "learn_logit_scale", "learn_class_bias"),
)


class _Presets:
    """Class attribute that lists the presets of a class and its subclasses."""

    def __get__(self, model: object, kind: type) -> dict[str, dict]:
        presets = {name: Preset(name) for name in preset_names()}
        return {name: preset.metadata for name, preset in presets.items() if preset.is_of(kind)}


class AutoregressiveModel(ImageModel):
    """Base class of the autoregressive models of p(x | y), a product over pixels.

    A model combines a causal network and a distribution of one pixel. Subclasses create their
    network, an `AutoregressiveNetwork`, in `make_network`. Methods that take and return NumPy
    arrays check their inputs and work in batches. Several threads may sample, score and classify
    with these methods of one model, but not during its `fit`, `evaluate` or `predict`.

    The arguments of the constructor are documented in `PixelCNNPlusPlus`. Many methods have these
    arguments, and raise a `ValueError` for a value that doesn't fit:

    - `images`: uint8 array `(N, height, width, channels)`, values from 0 to 255; uint16 below
      `num_levels` if these are more than 256, or codes below `num_levels` for a model with
      `ordered_levels=False`. Images of one channel need no channel axis.
    - `labels`: int array `(N,)`, class names, or one label for all images. -1 stands for p(x), the
      mean of p(x | y) over equally likely classes. `None` for an unconditional model.
    - `observed`: the known part of each image, whose other pixels are ignored: an integer, the
      number of known rows from the top, or a boolean mask `(height, width)` or `(N, height,
      width)`, true for known pixels, or `(N, height, width, channels)`, true for known channels
      of a pixel. `None` for whole images.
    - `num_particles`: integer, number of particles for each image and class, where an unknown pixel
      precedes a known one in raster order.
    - `seed`: integer >= 0. `None`, where it is the default, gives different results in each call.
    - `batch_size`: integer, number of images or particles per batch.
    - `verbose`: 0, 1 (progress bar) or `"auto"`, which is 1 at a terminal for several batches.
    - `standard_error`: boolean, whether to return a pair of arrays: the results, from the mean of 8
      independent estimates of p, and their standard errors, by the jackknife. An error divided by
      its standard error follows a t distribution with 7 degrees of freedom, if the standard error
      is well below 1 nat; with one of 2 to 9 nats, a fifth of the errors exceed its 95 % interval.
      Exact results have the standard error 0. Estimates take 8 times as long.

    Attributes:
        presets: Dict from the names of the class's presets to the content of their
            `metadata.json`, such as a `"description"`.
    """

    network_name: str | None = None  # value of the option `network` of the commands
    presets = _Presets()
    _title: str | None = None  # name in reports
    _default_conditioning = "bias"
    _head_has_tables = True  # see `CategoricalHead`
    _lowest_label = -1

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int | None = None,
        num_levels: int = 256,
        *,
        filters: int | Sequence[int],
        num_blocks: int | Sequence[int],
        num_mixtures: int = 5,
        head: str | None = None,
        ordered_levels: bool = True,
        conditioning: str | None = None,
        dropout_rate: float = 0.0,
        label_loss_weight: float | None = None,
        num_candidates: int | None = None,
        unlabeled_weight: float = 0.0,
        initial_logit_scale: float | None = None,
        learn_logit_scale: bool = True,
        learn_class_bias: bool = True,
        class_names: Sequence[str] | None = None,
        conditions: Conditions | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.conditions = conditions_of(num_classes, class_names, conditions)
        num_values = max(1, self.conditions.num_candidates)
        compared = num_values > 1
        if conditioning is None:
            conditioning = "none" if self.conditions.is_constant else self._default_conditioning
        if label_loss_weight is None:
            label_loss_weight = 0.3 if compared else 0.0
        if head is None:
            head = "logistic_mixture" if ordered_levels else "categorical"
        require_choice("head", head, tuple(HEADS))
        if HEADS[head].uses_order and not ordered_levels:
            expected = (
                "a head that does not use the order of the levels, such as 'categorical', for"
            )
            raise invalid_argument("head", head, f"{expected} ordered_levels=False")
        require_integer("num_levels", num_levels, low=2, high=HEADS[head].max_levels)
        require_number("dropout_rate", dropout_rate, "[0, 1)")
        require_number("label_loss_weight", label_loss_weight, "[0, inf)")
        require_number("unlabeled_weight", unlabeled_weight, "[0, inf)")
        if initial_logit_scale is not None:
            require_number("initial_logit_scale", initial_logit_scale, "(0, inf)")
        if label_loss_weight and not self.conditions.num_candidates:
            expected = f"0 for a model of {self.conditions.description}"
            raise invalid_argument("label_loss_weight", label_loss_weight, expected)
        if unlabeled_weight and not compared:
            expected = f"0 for a model of {self.conditions.description}"
            raise invalid_argument("unlabeled_weight", unlabeled_weight, expected)
        if num_candidates is not None:
            require_integer("num_candidates", num_candidates, low=2)
        if unlabeled_weight and num_candidates is not None and num_candidates < num_values:
            expected = f"0 for num_candidates={num_candidates} of {num_values} classes"
            raise invalid_argument("unlabeled_weight", unlabeled_weight, expected)
        self.image_shape = checked_image_shape(image_shape)
        self.num_levels = plain(num_levels)
        self.ordered_levels = plain(ordered_levels)
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
        channels = self.image_shape[-1]
        require_integer("num_mixtures", num_mixtures)
        self.distribution = HEADS[head](
            channels, self.num_levels, self.num_mixtures, self._head_has_tables
        )
        # Compiled functions by their settings. In a namespace, because Keras would track and save
        # models inside a dict.
        self._functions = types.SimpleNamespace(
            scorers={}, samplers={}, coders={}, kept={}, network=None, in_step=False
        )
        self._label_loss_weight = plain(label_loss_weight)
        # The order must not change, because checkpoints number the variables.
        self.network = self.make_network()
        # Also with `label_loss_weight=0`, which gives no gradients, because it may change later.
        self.posterior = LabelPosterior(
            num_values,
            self.initial_logit_scale or (0.1 if self.label_loss_weight else 1.0),
            learn_logit_scale=self.learn_logit_scale and compared,
            learn_class_bias=self.learn_class_bias and compared,
            name="posterior",
        )
        self.seed_generator = keras.random.SeedGenerator()
        self._bits_per_dim_metric = MeanMetric(name="bits_per_dim")
        if compared:
            self._cross_entropy_metric = MeanMetric(name="cross_entropy")
            self._accuracy_metric = MeanMetric(name="accuracy")
        self.build((None, *self.image_shape))

    def make_network(self) -> AutoregressiveNetwork:
        """Creates the network. The constructor calls it after setting its attributes."""
        raise NotImplementedError

    def network_config(self, **options: Any) -> NetworkConfig:
        """Returns the options of the network: attributes of the model, or those in `options`."""
        of_pixels = {"num_parameters": self.distribution.num_parameters}
        options = {**of_pixels, "channels": self.image_shape[-1], **options}
        for name in NetworkConfig.names():
            if name not in options and hasattr(self, name):
                options[name] = getattr(self, name)
        return NetworkConfig(**options)

    def arguments_of_network(self) -> dict[str, Any]:
        """Returns the arguments that determine the network and the head, without those of data.

        Models with equal ones can have the same weights, except for those of the condition.
        """
        found = self.arguments()
        others = "image_shape", *inspect.signature(conditions_of).parameters, *_OF_TRAINING
        return {name: value for name, value in found.items() if name not in others}

    def arguments(self, omitted: Collection[str] = ()) -> dict[str, Any]:
        of_conditions = inspect.signature(conditions_of).parameters
        return {**super().arguments({*omitted, *of_conditions}), **self.conditions.arguments()}

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 for an unconditional model."""
        return self.conditions.num_classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.conditions.class_names

    def build(self, input_shape: Any) -> None:
        height, width, channels = self.image_shape
        self.network.build((None, 1, height, width, channels))
        self.posterior.build()
        self._initialized = self.add_weight(
            name="initialized", shape=(), dtype="int32", initializer="zeros", trainable=False
        )

    @property
    def _compiled_functions(self) -> types.SimpleNamespace:
        self._require_values()
        return self._functions

    def _require_values(self) -> None:
        """Gives the variables their values, which JAX removes during `fit`, for its callbacks."""
        if keras.backend.backend() == "jax":
            self.jax_state_sync()

    @property
    def widths(self) -> tuple[int, ...]:
        """Number of filters at each resolution, highest first."""
        return (self.filters,)

    @property
    def logit_scale(self) -> float:
        """Factor α of the posterior softmax(α · log p(x | y) + b)."""
        self._require_values()
        return float(np.exp(ops.convert_to_numpy(self.posterior.log_logit_scale)))

    @property
    def class_bias(self) -> np.ndarray:
        """Biases b of the posterior softmax(α · log p(x | y) + b), float32 `(num_classes,)`."""
        self._require_values()
        return ops.convert_to_numpy(self.posterior.class_bias)[: self.num_classes]

    @property
    def label_loss_weight(self) -> float:
        """Weight of the cross-entropy in the loss. It may be changed after `compile`."""
        return self._label_loss_weight

    @label_loss_weight.setter
    def label_loss_weight(self, value: float) -> None:
        require_number("label_loss_weight", value, "[0, inf)")
        before, made = self._label_loss_weight, (self.train_function, self.test_function)
        if value == before:
            return
        # The steps of the previous weight are kept, because `LikelihoodFirst` returns to it.
        kept, self._compiled_functions.kept = self._compiled_functions.kept, {before: made}
        self._label_loss_weight = plain(value)
        self.train_function, self.test_function = kept.get(value, (None, None))
        if made[0] is not None:
            self.make_train_function()
        if made[1] is not None:
            self.make_test_function()

    # New functions, because JAX would reuse the trace of an equal one for another weight.
    @property
    def train_step(self) -> Callable:
        return partial(self._without_scores, super().train_step)

    def _without_scores(self, step: Callable, *args: Any) -> Any:
        """Runs a step of Keras whose loss evaluates the network, because it has the labels."""
        self._functions.in_step = True
        try:
            return step(*args)
        finally:
            self._functions.in_step = False

    @property
    def test_step(self) -> Callable:
        if self.conditions.num_candidates:
            return partial(super().test_step)
        return partial(self._without_scores, super().test_step)

    def call(self, images: Tensor, training: bool = False) -> Tensor:
        self.require_images(images)
        if self._functions.in_step:
            return images
        self._require_candidates()
        return class_scores(self, images, training)

    def compute_output_spec(self, images: Any, training: bool = False) -> keras.KerasTensor:
        self.require_images(images)  # JAX could not compare an unknown number of images
        return keras.KerasTensor((images.shape[0], self._num_outputs), "float32")

    @property
    def _num_outputs(self) -> int:
        return max(1, self.conditions.num_candidates)

    def _checked_targets(self, y: Any, count: int, name: str, lowest: int) -> np.ndarray:
        if self.conditions.are_labels:
            return super()._checked_targets(y, count, name, lowest)
        y = ops.convert_to_numpy(y) if ops.is_tensor(y) else y
        if not self.conditions.is_constant:
            return self.conditions.checked(y, count)
        if y is not None and not np.array_equal(y, np.full(count, MARGINAL)):
            raise UserError(
                f"`{name}` of an unconditional model takes images without labels. Expected "
                f"y=None. Received: y of shape {np.shape(y)}"
            )
        # Keras drops sample weights without labels.
        return np.full(count, MARGINAL, "int32")

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> np.ndarray:
        self._require_candidates()
        return super().predict(x, *args, **kwargs)

    def predict_on_batch(self, x: Any) -> np.ndarray:
        self._require_candidates()
        return super().predict_on_batch(x)

    def _require_candidates(self) -> None:
        if not self.conditions.num_candidates:
            raise self.conditions.refusal()

    def _predictions(self, outputs: np.ndarray) -> np.ndarray:
        return (
            self.posterior.probabilities(outputs) if self.conditions.are_labels else outputs[:, 0]
        )

    # Likelihoods of tensors

    def pixel_parameters(
        self, images: Tensor, labels: Tensor | None = None, training: bool = False
    ) -> Tensor:
        """Computes the parameters of each pixel's distribution, given earlier pixels and a label.

        Args:
            images: Integer tensor `(batch, height, width, channels)`, 0 to 255.
            labels: Int tensor `(batch, K)`, candidate labels of each image, or `None` for an
                unconditional model.
            training: Boolean, whether dropout is active.

        Returns:
            Float32 tensor `(batch, K, height, width, num_parameters)`.
        """
        self.require_images(images)
        network = self._compiled_network() or self.network
        parameters = network(self._levels(images), labels, training=training)
        if labels is not None and labels.shape[1] != parameters.shape[1]:
            parameters = ops.repeat(parameters, labels.shape[1], axis=1)
        return parameters

    def to_levels(self, images: np.ndarray | Tensor) -> np.ndarray | Tensor:
        """Converts images to the levels from 0 to `num_levels - 1` that the model distinguishes.

        Codes (`ordered_levels=False`) are levels already, and returned unchanged.
        """
        return to_levels(images, self.num_levels) if self.ordered_levels else images

    def to_images(self, levels: np.ndarray | Tensor) -> np.ndarray | Tensor:
        """Converts levels to images, the right inverse of `to_levels`: uint8, or uint16 codes."""
        if self.ordered_levels:
            return to_images(levels, self.num_levels)
        return cast(levels, image_dtype(self.num_levels))

    def _levels(self, images: Tensor) -> Tensor:
        """Returns images as the network's input, `(batch, 1, height, width, channels)`."""
        levels = self.to_levels(with_shape(images, self.image_shape))
        if self.may_be_invalid(images):  # networks and heads look up levels
            levels = ops.clip(ops.cast(levels, "int32"), 0, self.num_levels - 1)
        return ops.expand_dims(levels, 1)

    def pixel_log_likelihood(
        self, images: Tensor, labels: Tensor | None = None, training: bool = False
    ) -> Tensor:
        """Computes the log-likelihood of each pixel given earlier pixels and candidate labels.

        Args:
            images: Integer tensor `(batch, height, width, channels)`, 0 to 255. Images with values
                out of range give NaN.
            labels: Int tensor `(batch, K)`, candidate labels of each image, or `None` for an
                unconditional model.
            training: Boolean, whether dropout is active.

        Returns:
            Float32 tensor `(batch, K, height, width)`, nats; K is 1 for an unconditional model.
        """
        parameters = self.pixel_parameters(images, labels, training)
        log_prob = self.distribution.log_prob(parameters, self._levels(images))
        return self.nan_where_invalid(images, log_prob)

    def log_likelihood(
        self, images: Tensor, labels: Tensor | None = None, training: bool = False
    ) -> Tensor:
        """Sums `pixel_log_likelihood` over the pixels: float32 tensor `(batch, K)`, nats."""
        return ops.sum(self.pixel_log_likelihood(images, labels, training), axis=(2, 3))

    def _compiled_network(self) -> Callable | None:
        """Returns the network for torch's compiler with `jit_compile=True`, else `None`."""
        wanted = keras.backend.backend() == "torch" and self.jit_compile
        if not wanted:
            return None
        if self._compiled_functions.network is None:
            from keras_pixelcnnpp.models.torch_network import CompiledNetwork

            self._compiled_functions.network = CompiledNetwork(self.network)
        return self._compiled_functions.network

    def _should_torch_compile(self) -> bool:
        return False  # torch's compiler finds only graph breaks in Keras's step

    # Training

    def compile(self, optimizer: Any = "rmsprop", loss: Any = None, **kwargs: Any) -> None:
        """Configures training, like `keras.Model.compile`, with the model's own loss.

        Args:
            optimizer: An optimizer, or its name.
            loss: Must be `None`, like `loss_weights`.
            **kwargs: Other arguments of `keras.Model.compile`. `metrics` and `weighted_metrics`
                receive labels and probabilities `(batch, num_classes)`. The labels are integers for
                Keras's sparse metrics and one-hot for its other metrics. Your own metrics and
                functions have an attribute `sparse`, true for integers. These metrics are computed
                by `evaluate` and in validation. Training omits them, because it does not compute
                the probabilities of all classes.

        Raises:
            ValueError: If `loss` or `loss_weights` is not `None`.
        """
        for name, value in {"loss": loss, "loss_weights": kwargs.get("loss_weights")}.items():
            if value is not None:
                raise UserError(
                    f"Invalid argument `{name}`. {type(self).__name__} defines its own loss, based "
                    f"on bits per dimension. Expected None. Received: {name}={value!r}"
                )
        has_metrics = kwargs.get("metrics") or kwargs.get("weighted_metrics")
        if has_metrics and not self.conditions.are_labels:
            raise UserError(
                "`metrics` compare labels. Expected none for an unconditional model or vectors"
            )
        self._compiled_functions.kept = {}
        super().compile(optimizer, **kwargs)

    def initialize(self, images: np.ndarray, labels: ArrayLike | None = None) -> None:
        """Initializes gains and biases of weight-normalized layers from one batch of data.

        `fit` does this before the first step of a new model.

        Args:
            images: uint8 array `(batch, height, width, channels)`.
            labels: Int array `(batch,)`. With `unlabeled_weight` > 0, -1 marks unlabeled images.

        Raises:
            ValueError: If the model is already initialized, or images or labels don't fit it.
        """
        lowest = self._lowest_training_label
        images, labels = self._checked_arrays(images, labels, "initialize", lowest)
        self._require_values()
        if self._initialized.numpy():
            raise UserError("The model is already initialized, and may have been trained")
        # Unlabeled images get class 0, because gains and biases hardly depend on the label.
        values = self.conditions.filled(labels)
        evaluation = Evaluation(FloatArithmetic(initializes=True))
        self.network(self._levels(ops.convert_to_tensor(images)), values, evaluation=evaluation)
        self._initialized.assign(1)

    def _gains_have_changed(self) -> bool:
        """Returns whether the model was trained in a loop without `fit`.

        In a new layer, all gains are equal.
        """
        gains = [variable for variable in self.variables if variable.name == "gain"]
        return any(np.ptp(gain.numpy()) > 0 for gain in gains)

    @property
    def _lowest_training_label(self) -> int:
        return UNLABELED if self.unlabeled_weight else 0

    def _before_training(self, x: Any, y: Any, first: tuple | None) -> None:
        # int() fails for variables of `tf.distribute`.
        if hasattr(x, "shape"):
            self.conditions.fit(y)
        if self._initialized.numpy() or self._gains_have_changed():
            return
        if hasattr(x, "shape"):
            # A random choice, because arrays are often sorted by class. The statistics of 128
            # images are stable.
            rows = np.random.default_rng(0).permutation(len(x))[:128]
            first = x[rows], y[rows]
        if first is not None:
            self.initialize(*first)

    @contextmanager
    def _state_kept(self) -> Iterator[None]:
        weight = self.label_loss_weight
        try:
            with super()._state_kept():
                yield
        except BaseException:
            self.label_loss_weight = weight  # within an epoch of `LikelihoodFirst`, it is 0
            raise

    @property
    def _compares_labels(self) -> bool:
        """Whether training evaluates each image under several labels."""
        weight = max(self.label_loss_weight, self.unlabeled_weight)
        return self.conditions.num_candidates > 1 and weight > 0

    @property
    def _num_candidates(self) -> int:
        """Number of candidate labels of each image in training."""
        most = self.conditions.num_candidates
        return min(self.num_candidates or (most if self.unlabeled_weight else 10), most)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """Computes the scalar loss of a batch, which `PixelCNNPlusPlus` defines.

        Args:
            x: Integer tensor `(batch, height, width, channels)`, images.
            y: Int tensor `(batch,)`, labels. A label that is out of range makes the loss NaN.
            y_pred: The output of `call`, log p(x | y) of every class, which training ignores. By
                default, it is computed.
            sample_weight: Float tensor `(batch,)`, or `None`.
            training: Boolean. Training compares candidate labels, evaluation all classes.
        """
        if y_pred is None and not training and self.conditions.num_candidates:
            y_pred = self(x, training=False)
        if not training and self.conditions.are_labels:
            # Not in `compute_metrics`, in which JAX has only the variables of metrics.
            probabilities = ops.softmax(self.posterior(y_pred), axis=-1)
            super().compute_metrics(x, y, probabilities, sample_weight)
        return batch_loss(self, x, y, y_pred, sample_weight, training)

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Returns the results of all metrics, or, in training, of those of the loss.

        `compute_loss` has updated them.

        If training compares only a part of the classes, accuracy and cross-entropy are named
        `candidate_accuracy` and `candidate_cross_entropy`. Both are left out if training does not
        compare labels, because `label_loss_weight` and `unlabeled_weight` are 0.
        """
        if len(y_pred.shape) < 4:
            return self.get_metrics_result()
        # In training, `y_pred` is the images. The first metric is Keras's mean of the loss.
        results = {m.name: m.result() for m in (self.metrics[0], self._bits_per_dim_metric)}
        return results | {name: metric.result() for name, metric in self._label_metrics.items()}

    @property
    def _label_metrics(self) -> dict[str, keras.metrics.Metric]:
        """Metrics of a training that compares labels, by their names in logs; otherwise none."""
        if not self._compares_labels:
            return {}
        is_part = self._num_candidates < self.conditions.num_candidates
        prefix = "candidate_" if is_part else ""
        metrics = self._cross_entropy_metric, self._accuracy_metric
        return {prefix + metric.name: metric for metric in metrics}

    # Scoring

    def log_prob(
        self,
        images: np.ndarray,
        labels: ArrayLike | None = None,
        batch_size: int = 32,
        verbose: int | str = 0,
        observed: ArrayLike | None = None,
        num_particles: int = 64,
        seed: int = 0,
    ) -> np.ndarray:
        """Returns the log-likelihood log p(x | y) of each image, or of a part, under its label.

        Args:
            images, labels, batch_size, verbose, observed, num_particles, seed: See
                `AutoregressiveModel`. Several vectors for each image are `(N, K, size)`.

        Returns:
            Float32 array `(N,)`, nats; `(N, K)` for several vectors.
        """
        images = self.checked_images(images)
        labels = self.conditions.checked(labels, len(images), several=True)
        known = None
        if observed is not None:
            known = checked_observed(observed, len(images), self.image_shape)
        options = SamplingOptions(seed=seed, batch_size=batch_size, verbose=verbose)
        if np.ndim(labels) == 3:
            return score_observed(self, images, labels, known, options, num_particles)[0]
        result = np.zeros(len(images), "float32")
        for rows, candidates in self.conditions.groups(labels, len(images)):
            given = images[rows], candidates, None if known is None else known[rows]
            scores, _ = score_observed(self, *given, options, num_particles)
            result[rows] = log_marginal(scores)
        return result

    def pixel_log_probs(
        self,
        images: np.ndarray,
        labels: ArrayLike | None = None,
        batch_size: int = 32,
        verbose: int | str = 0,
    ) -> np.ndarray:
        """Returns the log-probability log p(x_i | x_<i, y) of each pixel given those before it.

        The result is a map of each image that shows where the image is improbable. A pixel has all
        its channels together, and the pixels before it are those above it and on its left. The sum
        over an image is its `log_prob`.

        Args:
            images, labels, batch_size, verbose: See `AutoregressiveModel`.

        Returns:
            Float32 array `(N, height, width)`, nats.
        """
        images = self.checked_images(images)
        labels = self.conditions.checked(labels, len(images))
        result = np.zeros(images.shape[:3], "float32")
        for rows, candidates in self.conditions.groups(labels, len(images)):
            given = images[rows], candidates, batch_size, verbose, "pixel"
            result[rows] = score(self, *given, finish=log_marginal_of_pixels)
        return result

    def pixel_statistics(
        self,
        images: np.ndarray,
        labels: ArrayLike | None = None,
        seed: int = 0,
        batch_size: int = 32,
        verbose: int | str = 0,
    ) -> PixelStatistics:
        """Returns how probable each sub-pixel is, and how probable the model expects it to be.

        One pass computes the conditional distribution of each sub-pixel given the earlier pixels
        and the earlier channels of its pixel: the log-probability of its value, the entropy and the
        variance of -log p under the distribution, and the probability integral transform. They tell
        whether an image is surprising, or only noisy.

        Args:
            images, batch_size, verbose: See `AutoregressiveModel`.
            labels: See `AutoregressiveModel`. `None` stands for p(x). Vectors must be given.
            seed: Integer >= 0, random seed of the probability integral transform. Its random
                numbers depend on the seed and the image, not on the position in `images`.

        Returns:
            `PixelStatistics`: a named tuple of float32 arrays `(N, height, width, channels)`.

        Example:

        ```python
        found = model.pixel_statistics(images)
        found.log_prob.sum(axis=(1, 2, 3))          # log_prob(images, -1)
        found.excess_surprisal                      # mean 0 for samples of the model
        ```

        Reference:
            Dawid 1984, Statistical Theory: The Prequential Approach.
        """
        require_integer("seed", seed, low=0)
        images = self.checked_images(images)
        if labels is None and self.conditions.are_labels:
            labels = MARGINAL
        labels = self.conditions.checked(labels, len(images))
        found, finish = np.zeros((*images.shape, 4), "float32"), partial(statistics_of_batch, self)
        for rows, candidates in self.conditions.groups(labels, len(images)):
            inputs = images_and_labels(images[rows], candidates)
            found[rows] = evaluated(self, parameters_of, inputs, batch_size, verbose, finish)
        return with_pit(found, images, seed)

    def class_log_likelihoods(
        self,
        images: np.ndarray,
        batch_size: int = 32,
        verbose: int | str = 0,
        observed: ArrayLike | None = None,
        num_particles: int = 64,
        seed: int = 0,
        standard_error: bool = False,
    ) -> Any:
        """Returns the log-likelihood log p(x | y) of images, or of parts of them, for each class.

        If an unknown pixel precedes a known pixel in raster order, the likelihood is estimated by
        sequential Monte Carlo: `num_particles` images are sampled for each image and class,
        weighted by the probability of each known pixel, and resampled after a row if the effective
        sample size is small. The estimate of p, though not of log p, is unbiased. A warning is
        issued if all particles of an image descend from one. In all other cases, the likelihood is
        exact.

        Args:
            images, batch_size, verbose, num_particles, seed: See `AutoregressiveModel`.
            observed: See `AutoregressiveModel`; or a sequence of M numbers of rows, which are
                evaluated in one pass.
            standard_error: See `AutoregressiveModel`.

        Returns:
            Float32 array `(N, num_classes)`, nats; `(N, M, num_classes)` for a sequence.

        Reference:
            Doucet & Johansen 2011, A Tutorial on Particle Filtering and Smoothing.
        """
        self.conditions.require_classes()
        options = SamplingOptions(seed=seed, batch_size=batch_size, verbose=verbose)
        return self._of_observed(
            np.asarray, images, observed, options, num_particles, standard_error
        )

    def _of_observed(
        self,
        statistic: Callable[[np.ndarray], np.ndarray],
        images: np.ndarray,
        observed: ArrayLike | None,
        options: SamplingOptions,
        num_particles: int,
        standard_error: bool,
        labels: np.ndarray | None = None,
    ) -> Any:
        """Returns a statistic of log-likelihoods `(..., K)`, and its standard error.

        `labels` are the values `(N, K, ...)`; `None` stands for all candidates.
        """
        images = self.checked_images(images)
        labels = self.conditions.candidates(len(images)) if labels is None else labels
        runs = ERROR_RUNS if standard_error else 1
        scores, without = score_observed(
            self, images, labels, observed, options, num_particles, runs
        )
        result = statistic(scores)
        if not standard_error:
            return result
        return result, jackknife_error(statistic(without)).astype(result.dtype)

    def class_probabilities(
        self,
        images: np.ndarray,
        batch_size: int = 32,
        verbose: int | str = 0,
        observed: ArrayLike | None = None,
        num_particles: int = 64,
        seed: int = 0,
        standard_error: bool = False,
    ) -> Any:
        """Returns the posterior p(y | x), as `predict`, given whole images or parts of them.

        Logit scale and class biases are learned from whole images, so the posterior given a part
        may be poorly calibrated. If nothing is known, it is the softmax of the class biases.

        Args:
            images, batch_size, verbose, num_particles, seed: See `AutoregressiveModel`.
            observed: See `class_log_likelihoods`.
            standard_error: See `AutoregressiveModel`.

        Returns:
            Float32 array `(N, num_classes)`; `(N, M, num_classes)` for a sequence.

        Example:

        ```python
        model.class_probabilities(images, observed=8)                     # given the first 8 rows
        model.class_probabilities(images, observed=range(height + 1))     # given 0, 1, … rows
        model.class_probabilities(images, observed=mask)                  # given any pixels
        ```
        """
        self.conditions.require_classes()
        options = SamplingOptions(seed=seed, batch_size=batch_size, verbose=verbose)
        statistic = self.posterior.probabilities
        return self._of_observed(
            statistic, images, observed, options, num_particles, standard_error
        )

    def bits_per_dim(
        self,
        images: np.ndarray,
        labels: ArrayLike | None = None,
        batch_size: int = 32,
        verbose: int | str = 0,
        observed: ArrayLike | None = None,
        num_particles: int = 64,
        seed: int = 0,
        standard_error: bool = False,
    ) -> Any:
        """Returns bits per dimension of p(x), or of p(x | y) under given labels.

        Args:
            images, batch_size, verbose, num_particles, seed: See `AutoregressiveModel`.
            labels: See `AutoregressiveModel`. `None` and -1 stand for p(x), the mean of p(x | y)
                over equally likely classes. Vectors must be given.
            observed: See `AutoregressiveModel`. The bits of the known sub-pixels are divided by
                their number.
            standard_error: See `AutoregressiveModel`.

        Returns:
            Float64 array `(N,)`, bits/dim; NaN for images without known pixels.
        """
        share = 1.0
        if observed is not None:
            known = checked_observed(observed, len(images), self.image_shape)
            share = known.reshape(len(images), known[0].size if len(known) else 1).mean(axis=1)
            share[share == 0] = np.nan
        options = SamplingOptions(seed=seed, batch_size=batch_size, verbose=verbose)

        def statistic(scores: np.ndarray) -> np.ndarray:
            return bits_per_dim(log_marginal(scores), self.image_shape) / share

        values = None
        if labels is not None and not np.array_equal(labels, MARGINAL):
            values = self.conditions.checked(labels, len(images), unknown=False)[:, None]
        return self._of_observed(
            statistic, images, observed, options, num_particles, standard_error, values
        )

    def grid_posterior(
        self,
        images: np.ndarray,
        grid: ArrayLike,
        log_prior: ArrayLike | None = None,
        observed: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        batch_size: int = 32,
        verbose: int | str = 0,
        num_particles: int = 64,
        seed: int = 0,
    ) -> GridPosterior:
        """Returns the posterior of the vector h of each image, or group of images, on a grid.

        It is Bayes' rule with the model's likelihood, p(h | x) ∝ p(h) p(x | h). Images of one group
        share h, so that their log-likelihoods add up.

        Args:
            images, batch_size, verbose, num_particles, seed: See `AutoregressiveModel`.
            grid: Float array `(K, size)`, vectors; `(K,)` for vectors of one component.
            log_prior: Optional array `(K,)`, log-probabilities of the vectors before an image is
                seen, nats, up to a constant. By default, all are equally likely.
            observed: See `AutoregressiveModel`. The posterior is that given the known part.
            groups: Optional array `(N,)`, integers or strings, the group of each image.

        Returns:
            `GridPosterior` of N images, or of the groups in sorted order.

        Raises:
            UserError: If the model is not conditioned on `Vectors`, or arguments don't fit.

        Example:

        ```python
        found = model.grid_posterior(images, np.linspace(0.2, 0.6, 41))
        found.mean, found.interval(0.9)         # (N, 1), (N, 1, 2)
        ```

        Reference:
            Papamakarios et al. 2019, Sequential Neural Likelihood,
            https://arxiv.org/abs/1805.07226
        """
        vectors_of(self)
        images = self.checked_images(images)
        options = SamplingOptions(seed=seed, batch_size=batch_size, verbose=verbose)
        return posterior_on_grid(
            self, images, grid, log_prior, observed, groups, options, num_particles
        )

    def score_function(
        self,
        images: np.ndarray,
        vectors: ArrayLike,
        batch_size: int = 32,
        verbose: int | str = 0,
    ) -> np.ndarray:
        """Returns the gradient ∂ log p(x | h) / ∂h of each image, by automatic differentiation.

        Args:
            images, batch_size, verbose: See `AutoregressiveModel`.
            vectors: Float array `(N, size)`, or one vector for all images.

        Returns:
            Float32 array `(N, size)`, nats per unit of each component.

        Raises:
            UserError: If the model is not conditioned on `Vectors`, or the vectors don't fit.
        """
        images = self.checked_images(images)
        values = vectors_of(self).checked(vectors, len(images))
        return scores_of_vectors(self, images, values, batch_size, verbose)

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
            labels: Int array `(N,)`, or class names. -1 samples the class at random, and thus from
                p(x). A single label gives one image. For an unconditional model, the integer N.
            seed: Integer >= 0, or `None`. Seed and position in `labels` determine an image,
                independent of the batch size. (A SavedModel generates its random numbers in the
                graph, so the same seed gives different images there.)
            temperature: Number from 1e-6 to 1e6. Values below 1 give smoother and less diverse
                images. It divides the logits of each pixel's distribution (those of the mixture
                components or of the levels), and multiplies the scales of a mixture. The
                result is not the mixture to the power 1/T.
            guidance: Number w >= 0. Values above 0 give images that are more typical of their class
                and less diverse. Each sub-pixel is sampled with a probability proportional to
                p(l | y)^(1 + w) / q(l)^w. Here q is the mean of p(l | k) over all classes k,
                weighted by softmax(β r_k), and r_k is the log-likelihood of the earlier sub-pixels
                under class k. Guidance evaluates the network under all classes.
            guidance_logit_scale: Number β >= 0, by default half of `logit_scale`. With 1, q is
                based on Bayes' rule, and soon hardly differs from p(l | y).
            batch_size, verbose: See `AutoregressiveModel`.

        Returns:
            uint8 array `(N, height, width, channels)`.

        Reference:
            Ho & Salimans 2022, Classifier-Free Diffusion Guidance, https://arxiv.org/abs/2207.12598
        """
        options = SamplingOptions(
            seed, temperature, guidance, guidance_logit_scale, batch_size, verbose
        ).checked(self)
        values = self.conditions.requested(labels)
        return sample_images(self, choose_classes(self, values, options), options)[0]

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
        num_samples: int | None = None,
        batch_size: int = 100,
        verbose: int | str = "auto",
    ) -> np.ndarray:
        """Completes images of which an arbitrary part is known (inpainting).

        If all known pixels precede the unknown ones in raster order, completions are exact samples
        of p(unknown | known, y). Otherwise, they approach this distribution with the number of
        particles, by the sequential Monte Carlo of `class_log_likelihoods`. With one particle,
        known pixels have no influence on unknown pixels before them. A warning is issued if the
        particles of an image descend from fewer than two, or `num_samples`, different ones.

        Args:
            images, observed, num_particles, seed, batch_size, verbose: See `AutoregressiveModel`.
            labels: See `AutoregressiveModel`. -1 samples a class by Bayes' rule from the known
                pixels, with equally likely classes: p(y | known) of the model itself, not the
                tempered `class_probabilities`.
            temperature, guidance, guidance_logit_scale: See `sample`.
            num_samples: Integer K, number of completions of each image, or `None` for one without
                an axis. They are independent if all known pixels come first. Otherwise, they are
                drawn from the weighted particles of one run, and share the class of label -1.

        Returns:
            uint8 array `(N, height, width, channels)`, or with `num_samples` `(N, K, height, width,
            channels)`. Known pixels are those of `images`, rounded to the model's levels.
        """
        images = self.checked_images(images)
        labels = self.conditions.checked(labels, len(images))
        known = checked_observed(observed, len(images), self.image_shape)
        require_integer("num_particles", num_particles)
        if num_samples is not None:
            require_integer("num_samples", num_samples)
        options = SamplingOptions(
            seed, temperature, guidance, guidance_logit_scale, batch_size, verbose
        ).checked(self)
        count, particles = num_samples or 1, num_particles
        if is_prefix(known):  # independent samples without particles
            rows, count, particles = np.arange(len(images)).repeat(count), 1, 0
            images, known = images[rows], known[rows]
            labels = None if labels is None else labels[rows]
        given = images, known, max(1, particles)
        labels = choose_classes(self, len(images) if labels is None else labels, options, *given)
        samples, _ = sample_images(self, labels, options, images, known, particles, count)
        shape = self.image_shape if num_samples is None else (num_samples, *self.image_shape)
        return samples.reshape(-1, *shape)

    def evidence_map(
        self,
        images: np.ndarray,
        labels: ArrayLike,
        against: ArrayLike,
        batch_size: int = 32,
        verbose: int | str = 0,
    ) -> np.ndarray:
        """Returns the evidence of each pixel for one class against another, as a map.

        It is the difference of two maps of `pixel_log_probs`, at each pixel i

            log p(x_i | x_<i, y) - log p(x_i | x_<i, y')

        The sum over an image is log p(x | y) - log p(x | y'). The posterior multiplies this
        difference by the logit scale, and adds the difference of the class biases.

        Args:
            images, batch_size, verbose: See `AutoregressiveModel`.
            labels: The classes y; see `AutoregressiveModel`.
            against: The classes y', in the same form.

        Returns:
            Float32 array `(N, height, width)`, nats. Positive values are evidence for y.

        Example:

        ```python
        evidence = model.evidence_map(images, labels, (labels + 1) % model.num_classes)
        evidence.sum(axis=(1, 2))      # log_prob(images, labels) - log_prob(images, …)
        ```
        """
        self.conditions.require_classes()
        evidence = self.pixel_log_probs(images, labels, batch_size, verbose)
        return evidence - self.pixel_log_probs(images, against, batch_size, verbose)

    # Compressing

    def compress(
        self,
        images: np.ndarray,
        labels: ArrayLike | None = None,
        verbose: int | str = "auto",
    ) -> bytes:
        """Compresses images losslessly after rounding to the model's levels.

        Each image takes about -log2 p(x | y) bits. Nothing is rounded with 256 levels or more.
        `decompress` needs a model with the same weights; machine and backend may differ.

        Args:
            images, verbose: See `AutoregressiveModel`.
            labels: Int array `(N,)`, class names, or one label for all images. Labels are stored in
                the file. `None` chooses for each image the class with the shortest code.

        Returns:
            Bytes: a header of about a hundred bytes, and a stream for each image. A stream is about
            3 bytes longer than -log2 p(x | y).

        Raises:
            UserError: If the model contains a layer that is not part of this package, or weights
                that are too large for exact arithmetic.

        Example:

        ```python
        data = model.compress(images)
        8 * len(data) / images.size              # about model.bits_per_dim(images).mean()
        (model.decompress(data) == images).all()     # True if num_levels is 256
        ```

        Reference:
            Duda 2013, Asymmetric numeral systems, https://arxiv.org/abs/1311.2540
        """
        return compress_images(self, images, labels, None, verbose)

    def decompress(
        self, data: bytes, batch_size: int = 100, verbose: int | str = "auto"
    ) -> np.ndarray:
        """Decompresses the images in the result of `compress`.

        Args:
            data: Bytes that `compress` returned.
            batch_size, verbose: See `AutoregressiveModel`.

        Returns:
            uint8 array `(N, height, width, channels)`.

        Raises:
            UserError: If `data` is damaged, or was compressed by a model with other weights.
        """
        return decompress_images(self, data, batch_size, verbose)[0]

    # Presets and export

    @classmethod
    def from_preset(cls, preset: str | Path, load_weights: bool = True, **kwargs: Any) -> Self:
        """Creates a model from a preset.

        Args:
            preset: Name of a built-in preset, path of a folder written by `save_to_preset`, or
                `"hf://USER/NAME"`, a repository of the Hugging Face Hub, which needs the extra
                `hub`. `"hf://USER/NAME@COMMIT"` selects a fixed version.
            load_weights: Boolean. `False` gives randomly initialized weights.
            **kwargs: Constructor arguments that replace those of the preset. With a different
                `num_classes`, the weights of the labels are newly initialized. With other
                `class_names`, those of the preset's classes are used in their order. A warning says
                so in both cases. `dtype="mixed_bfloat16"` sets the precision, which presets do not
                store.

        Returns:
            A model of the preset's class, which is this class or a subclass.

        Raises:
            UserError: If the preset is unknown, can't be downloaded, is damaged, has no weights or
                a different class, or its weights don't fit the arguments.

        Example:

        >>> model = AutoregressiveModel.from_preset("digits", dropout_rate=0.1)
        >>> model.image_shape, model.num_classes
        ((8, 8, 1), 10)
        """
        found = Preset(preset)
        if load_weights:
            found.require_weights(cls)
        model = found.make(cls, **kwargs)
        if load_weights:
            found.load_weights(model, **kwargs)
        return model

    def save_to_preset(self, path: str | Path, metadata: dict | None = None) -> None:
        """Saves the model as a preset, a folder for `from_preset` and `upload_preset`.

        The precision is not saved. A loaded model has the dtype policy that is set at that time.

        Args:
            path: The folder, which is created if necessary. An existing model card, `README.md`, is
                kept.
            metadata: Optional dict for `metadata.json`, such as a `"description"`, results, and
                `"training"`, a dict of training options for `pixelcnnpp train --preset`.

        Raises:
            UserError: If `path` is the name of a built-in preset or the folder of a run, or
                `"training"` has an option that a preset may not set.
        """
        self._require_values()
        # A copy without the optimizer, whose moments and averages would quadruple the file size.
        copy = type(self).from_config(self.get_config())
        copy.set_weights(self.get_weights())
        write_preset(path, copy, metadata or {})

    def export(
        self,
        filepath: str | Path,
        format: str = "tf_saved_model",  # noqa: A002
        verbose: bool | None = None,
    ) -> None:
        """Exports a SavedModel that classifies, scores and samples without this package.

        `export.endpoints.export_saved_model` documents the endpoints. Image files with another
        aspect ratio are center-cropped. (The command `pixelcnnpp export` exports a run, with the
        option `--resize` of its training.)

        Args:
            filepath: The folder to write: new, empty, or a SavedModel, which is replaced.
            format: Must be `"tf_saved_model"`.
            verbose: Boolean, whether to print the folder.

        Raises:
            UserError: If the backend is not TensorFlow, the format is unknown, the model has more
                than 256 levels, or the folder has other content.

        Example:

        ```python
        model.export("savedmodel/1")
        SavedModelClassifier("savedmodel").predict(images)
        ```
        """
        require_choice("format", format, ("tf_saved_model",))
        require_tensorflow()
        # Imported late, because TensorFlow may not be installed under another backend.
        from keras_pixelcnnpp.export.endpoints import export_saved_model

        export_saved_model(self, filepath)
        if verbose:
            print(f"Saved artifact at {str(filepath)!r}.")
