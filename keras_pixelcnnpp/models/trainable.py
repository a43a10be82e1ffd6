"""Training of the autoregressive models by Keras's `fit`, and the posterior that it learns."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.conditions import ANY_CLASS
from keras_pixelcnnpp.conditions.classes import class_of
from keras_pixelcnnpp.layers.posterior import LabelPosterior
from keras_pixelcnnpp.models.image_model import to_numpy
from keras_pixelcnnpp.models.likelihood import LikelihoodModel
from keras_pixelcnnpp.models.loss import batch_loss
from keras_pixelcnnpp.models.metrics import MeanMetric
from keras_pixelcnnpp.models.scoring import class_scores
from keras_pixelcnnpp.utils.backend import SeedGenerator, Tensor, with_shape
from keras_pixelcnnpp.utils.checks import plain, require_integer, require_number
from keras_pixelcnnpp.utils.errors import UserError, invalid_argument


class TrainableModel(LikelihoodModel):
    """Base class of models that Keras's loops train and evaluate, with a posterior of the label.

    The arguments of the constructor are documented in `PixelCNNPlusPlus`. Those that are named here
    concern training and the posterior, and all others the network.

    Attributes:
        likelihood_only: Boolean, whether training steps omit the cross-entropy. `fit` resets it.
    """

    lowest_label = ANY_CLASS

    def __init__(
        self,
        *args: Any,
        label_loss_weight: float | None = None,
        num_candidates: int | None = None,
        unlabeled_weight: float = 0.0,
        initial_logit_scale: float | None = None,
        learn_logit_scale: bool = True,
        learn_class_bias: bool = True,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        num_values = len(self.conditions.all_classes)
        compared = num_values > 1
        if label_loss_weight is None:
            label_loss_weight = 0.3 if compared else 0.0
        require_number("label_loss_weight", label_loss_weight, "[0, inf)")
        require_number("unlabeled_weight", unlabeled_weight, "[0, inf)")
        if initial_logit_scale is not None:
            require_number("initial_logit_scale", initial_logit_scale, "(0, inf)")
        if label_loss_weight and not compared and self.conditions.needs_values:
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
        self.label_loss_weight = plain(label_loss_weight)
        self.num_candidates = plain(num_candidates)
        self.unlabeled_weight = plain(unlabeled_weight)
        self.initial_logit_scale = plain(initial_logit_scale)
        self.learn_logit_scale = plain(learn_logit_scale)
        self.learn_class_bias = plain(learn_class_bias)
        self.likelihood_only = self._traced_likelihood_only = False
        self._in_step = self._in_training = False
        # Also with `label_loss_weight=0`, which gives no gradients, because it may change later.
        self.posterior = LabelPosterior(
            num_values,
            self.initial_logit_scale or (0.1 if self.label_loss_weight else 1.0),
            learn_logit_scale=self.learn_logit_scale and compared,
            learn_class_bias=self.learn_class_bias and compared,
            name="posterior",
        )
        self.seed_generator = SeedGenerator()
        # Archives contain the metrics under the names of these attributes.
        self._bits_per_dim_metric = MeanMetric(name="bits_per_dim")
        if compared:
            self._cross_entropy_metric = MeanMetric(name="cross_entropy")
            self._accuracy_metric = MeanMetric(name="accuracy", mode="max")
        self.build((None, *self.image_shape))

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.posterior.build()

    def arguments_of_network(self) -> dict[str, Any]:
        of_training = inspect.signature(TrainableModel.__init__).parameters
        found = super().arguments_of_network()
        return {name: value for name, value in found.items() if name not in of_training}

    @property
    def logit_scale(self) -> float:
        """Factor α of the posterior softmax(α · log p(x | y) + b)."""
        self.require_values()
        return float(np.exp(ops.convert_to_numpy(self.posterior.log_logit_scale)))

    @property
    def class_bias(self) -> np.ndarray:
        """Biases b of the posterior softmax(α · log p(x | y) + b), float32 `(num_classes,)`."""
        self.require_values()
        return ops.convert_to_numpy(self.posterior.class_bias)[: self.num_classes]

    # New functions, because JAX would reuse the trace of an equal one for another loss. The loss
    # evaluates the network in place of `call`, because it has the labels.
    @property
    def train_step(self) -> Callable:
        return partial(self._run_step, super().train_step, True)

    @property
    def test_step(self) -> Callable:
        if self.conditions.needs_values:  # `call` has no values, and the loss has
            return partial(self._run_step, super().test_step, False)
        return partial(super().test_step)

    def _run_step(self, step: Callable, training: bool, *args: Any) -> Any:
        self._in_step, self._in_training = True, training
        try:
            return step(*args)
        finally:
            self._in_step = self._in_training = False

    def make_train_function(self, force: bool = False) -> None:
        """Compiles the training step, again if `likelihood_only` has changed."""
        super().make_train_function(force or self.likelihood_only != self._traced_likelihood_only)
        self._traced_likelihood_only = self.likelihood_only

    def call(self, images: Tensor, training: bool = False) -> Tensor:
        """Returns the log-likelihood log p(x | y) of each image under every class, in nats.

        Args:
            images: Integer tensor `(batch, height, width, channels)`, 0 to 255.
            training: Boolean, whether dropout is active. Only within the step of Keras's `fit`,
                the images are returned, because the loss evaluates the network.

        Returns:
            Float32 tensor `(batch, num_classes)`; `(batch, 1)`, log p(x), from an unconditional
            model.
        """
        self.require_images(images)
        images = with_shape(images, self.image_shape)
        if self._in_step:
            return images
        self._require_no_values()
        return class_scores(self, images, training=training)

    def compute_output_spec(self, images: Any, training: bool = False) -> keras.KerasTensor:
        self.require_images(images)  # JAX could not compare an unknown number of images
        return keras.KerasTensor((images.shape[0], self._num_outputs), "float32")

    @property
    def _num_outputs(self) -> int:
        return len(self.conditions.all_classes)

    def _checked_targets(self, y: Any, count: int, name: str, lowest: int) -> Any:
        if y is None and self.conditions:
            raise UserError(
                f"`{name}` of a model of {self.conditions.description} needs a "
                f"{self.conditions.one_value} for each image: `model.{name}(images, "
                f"{self.conditions.several_values})`. Received: y=None"
            )
        y = keras.tree.map_structure(to_numpy, y) if isinstance(y, tuple | dict) else to_numpy(y)
        parsed = self.conditions.parse(y, count, unknown=lowest < 0)
        if name == "fit":
            self.conditions.note_one_for_all(y, count)
        return parsed

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> np.ndarray:
        self._require_no_values()
        return super().predict(x, *args, **kwargs)

    def predict_on_batch(self, x: Any) -> np.ndarray:
        self._require_no_values()
        return super().predict_on_batch(x)

    def _require_no_values(self) -> None:
        """Raises a `UserError` for a method of images alone, if the model needs values."""
        if not self.conditions.needs_values:
            return
        self.conditions.require_classes()
        raise UserError(
            f"A model of {self.conditions.description} needs more than images. Expected: "
            "class_probabilities(images, condition=…). Received: images alone"
        )

    def _predictions(self, outputs: np.ndarray) -> np.ndarray:
        if not self.conditions.num_classes:
            return outputs[:, 0]
        return self.posterior.probabilities(outputs).astype("float32")

    def _should_torch_compile(self) -> bool:
        return False  # torch's compiler finds only graph breaks in Keras's step

    def compile(self, optimizer: Any = "rmsprop", loss: Any = None, **kwargs: Any) -> None:
        """Configures training, like `keras.Model.compile`, with the model's own loss.

        Args:
            optimizer: An optimizer, or its name.
            loss: Must be `None`, like `loss_weights`.
            **kwargs: Other arguments of `keras.Model.compile`. `metrics` and `weighted_metrics`
                receive integer labels `(batch,)` and probabilities `(batch, num_classes)`, as
                Keras's sparse metrics do. `evaluate` and validation compute the metrics; training
                does not, because it lacks the probabilities of all classes.

        Raises:
            ValueError: If `loss` or `loss_weights` is not `None`, or a metric of Keras compares
                one-hot labels, such as `CategoricalAccuracy` and `F1Score`.
        """
        for name, value in {"loss": loss, "loss_weights": kwargs.get("loss_weights")}.items():
            if value is not None:
                raise UserError(
                    f"Invalid argument `{name}`. {type(self).__name__} defines its own loss, based "
                    f"on bits per dimension. Expected None. Received: {name}={value!r}"
                )
        has_metrics = kwargs.get("metrics") or kwargs.get("weighted_metrics")
        if has_metrics and not self.conditions.num_classes:
            raise UserError(
                "`metrics` compare labels. Expected none for a model of "
                f"{self.conditions.description}"
            )
        super().compile(optimizer, **kwargs)

    def _for_step(self, y: Any) -> Any:
        if y is None:
            return None
        values = self.encoder.scaled(y)
        if self._unweighted_metrics and (class_of(values) < 0).any():
            raise UserError("`metrics` count unlabeled images. Compile with `weighted_metrics`")
        return self.encoder.for_step(values)

    @property
    def lowest_training_label(self) -> int:
        return ANY_CLASS if self.unlabeled_weight else 0

    def targets_of(self, images: Any) -> np.ndarray:
        """Returns the condition of `LabeledImages` as the `y` of steps, and learns its bounds."""
        parsed = self.conditions.parse(self.conditions.from_data(images), len(images))
        self.encoder.learn(parsed)
        return self.encoder.for_step(self.encoder.scaled(parsed))

    def _before_training(self, x: Any, y: Any) -> None:
        self.encoder.learn(y)
        self.likelihood_only = False  # `LikelihoodFirst` sets it for its `fit`

    @property
    def compares_labels(self) -> bool:
        """Whether training evaluates each image under several labels."""
        weight = max(self.weight_in_training, self.unlabeled_weight)
        return self._num_outputs > 1 and weight > 0

    @property
    def weight_in_training(self) -> float:
        """Weight of the cross-entropy in the loss of a training step."""
        return 0.0 if self.likelihood_only else self.label_loss_weight

    @property
    def num_compared(self) -> int:
        """Number of candidate labels of each image in training."""
        most = self._num_outputs
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
        if not training and (y_pred is None or self.conditions.needs_values):
            y_pred = class_scores(self, x, self.encoder.targets(y, ops.shape(x)[0])[0])
        if not training and self.conditions.num_classes:
            # Not in `compute_metrics`, in which JAX has only the variables of metrics.
            labels = class_of(self.encoder.targets(y, ops.shape(x)[0])[0])
            probabilities = ops.softmax(self.posterior(y_pred), axis=-1)
            super().compute_metrics(x, labels, probabilities, sample_weight)
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
        if not self._in_training:
            return self.get_metrics_result()
        # The first metric is Keras's mean of the loss.
        of_all = self.metrics[0], self.loss_metrics["bits_per_dim"]
        results = {metric.name: metric.result() for metric in of_all}
        return results | {name: metric.result() for name, metric in self.label_metrics.items()}

    @property
    def label_metrics(self) -> dict[str, MeanMetric]:
        """Metrics of a training that compares labels, by their names in logs; otherwise none.

        They are NaN in steps on the likelihood alone.
        """
        weight = max(self.label_loss_weight, self.unlabeled_weight)
        if self._num_outputs < 2 or not weight:
            return {}
        is_part = self.num_compared < self._num_outputs
        prefix = "candidate_" if is_part else ""
        return {prefix + name: self.loss_metrics[name] for name in ("cross_entropy", "accuracy")}

    @property
    def loss_metrics(self) -> dict[str, MeanMetric]:
        """The metrics that the loss updates, by name."""
        names = ["bits_per_dim"]
        if self._num_outputs > 1:
            names += ["cross_entropy", "accuracy"]
        return {name: getattr(self, f"_{name}_metric") for name in names}
