"""How a model of the family is trained: candidates for its labels, loss and metrics."""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_pixelcnnpp.backend import Tensor
from keras_pixelcnnpp.checks import checked_images
from keras_pixelcnnpp.distributions.levels import refuse_levels
from keras_pixelcnnpp.distributions.logistic_mixture import bits_per_dim
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.layers.convolutions import data_dependent_initialization
from keras_pixelcnnpp.layers.posterior import log_marginal
from keras_pixelcnnpp.models.inputs import as_inputs, checked_training_labels
from keras_pixelcnnpp.models.scoring import MeanOverBatch


class Training:
    """The methods of an `AutoregressiveModel` that `fit` and `evaluate` call."""

    def compile(self, optimizer: Any = "rmsprop", loss: Any = None, **kwargs: Any) -> None:
        """Configures training as `keras.Model.compile`; loss and metrics are the model's own.

        Args:
            optimizer: An optimizer, or its name.
            loss: Not to be given, nor are `loss_weights`, `metrics` and `weighted_metrics`.
            **kwargs: Other arguments of `keras.Model.compile`.

        Raises:
            ValueError: If a loss or metrics are given.
        """
        for name in ("loss", "loss_weights", "metrics", "weighted_metrics"):
            if value := {"loss": loss, **kwargs}.get(name):
                raise UserError(
                    f"Invalid argument `{name}`. {type(self).__name__} brings its own loss, bits "
                    "per dimension of the images, and its own metrics: leave it out. "
                    f"Received: {name}={value!r}"
                )
        super().compile(optimizer, **kwargs)

    def initialize(self, images: np.ndarray, labels: ArrayLike | None = None) -> None:
        """Sets gains and biases from one batch of data (weight normalization), before training.

        Args:
            images: uint8 `(batch, height, width, channels)`.
            labels: Int `(batch,)`; -1 where there is none.

        Raises:
            ValueError: If that was done before, or images or labels don't fit the model.
        """
        images = checked_images(images, self.image_shape)
        refuse_levels(images, self.num_levels)
        inputs = {"image": ops.convert_to_tensor(images)}
        if self.num_classes:
            labels = checked_training_labels(labels, len(images), self)
            # Class 0 stands for -1, no label: gains and biases hardly depend on it.
            inputs["label"] = ops.convert_to_tensor(np.maximum(labels, 0))
        if self._initialized.numpy():
            raise UserError("The model has been initialized: that would overwrite what it learned")
        with data_dependent_initialization():
            self(inputs)
        self._initialized.assign(1)

    def _before_training(self, first):
        if not self._initialized.numpy():  # int() fails for a variable of tf.distribute
            self.initialize(first["image"], first.get("label"))
        super()._before_training(first)

    def _after_training(self):
        self._set_likelihood_only(False)

    def _set_likelihood_only(self, alone):
        """Leaves the cross-entropy out, as the callback `LikelihoodFirst` asks."""
        if self._likelihood_only != alone:
            self._likelihood_only = alone
            # The steps were traced with the other loss.
            self.make_train_function(force=True)
            self.test_function = None

    @property
    def _cross_entropy_weight(self):
        return 0.0 if self._likelihood_only else self.label_loss_weight

    @property
    def _compares_labels(self) -> bool:
        """Whether training and `evaluate` score an image under several labels."""
        return self.num_classes > 1 and max(self._cross_entropy_weight, self.unlabeled_weight) > 0

    def train_step(self, *args: Any) -> Any:
        """One step, on a batch in any form that `fit` takes; see `keras.Model`."""
        *state, data = args
        count = self.num_candidates or (self.num_classes if self.unlabeled_weight else 10)
        count = min(count, self.num_classes)
        if not state:
            return super().train_step(self._with_candidates(data, count))
        # Under JAX the state of the seed generator is one of the variables that are handed around.
        trainable, non_trainable, *others = state[0]
        variables = self.non_trainable_variables
        pairs = zip(variables, non_trainable, strict=True)
        with keras.StatelessScope(state_mapping=pairs) as scope:
            data = self._with_candidates(data, count)
        non_trainable = [scope.get_current_value(variable) for variable in variables]
        return super().train_step((trainable, non_trainable, *others), data)

    def test_step(self, *args: Any) -> Any:
        """One step of `evaluate`, which compares all classes, as `predict` does."""
        return super().test_step(*args[:-1], self._with_candidates(args[-1], self.num_classes))

    def _with_candidates(self, data, count):
        """A batch for Keras's steps, each label with `count - 1` others to compare it with."""
        x, y, sample_weight = as_inputs(data)
        if self._compares_labels:
            y = ops.reshape(ops.cast(x["label"], "int32"), (-1,))
            x = {**x, "label": self._choose_candidates(y, count)}
        return x, y, sample_weight

    def _choose_candidates(self, labels, count):
        """The true label, then different others, at random unless all: `(batch, count)`."""
        true = ops.maximum(labels[:, None], 0)  # class 0 stands for -1, no label
        if count == self.num_classes:
            others = (true + ops.arange(1, count, dtype="int32")) % count
        else:
            shape = (ops.shape(true)[0], self.num_classes)
            scores = keras.random.uniform(shape, seed=self.seed_generator)
            scores = ops.where(true == ops.arange(self.num_classes, dtype="int32"), -1.0, scores)
            others = ops.cast(ops.top_k(scores, count - 1)[1], "int32")
        return ops.concatenate([true, others], axis=1)

    def _drop_labels(self, labels):
        # An image loses all its candidates at once: they are then equal, and the cross-entropy
        # sends no gradient into the network.
        shape = (ops.shape(labels)[0], 1)
        dropped = keras.random.uniform(shape, seed=self.seed_generator) < self.label_dropout_rate
        return ops.where(dropped, self.num_classes, labels)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
        **kwargs: Any,
    ) -> Tensor:
        """See the class: the loss of a batch, of the parameters `y_pred`."""
        if sample_weight is not None:
            sample_weight = ops.reshape(sample_weight, (-1,))
        log_likelihood = self.log_likelihood(y_pred, x["image"])
        log_prob, weight, of_labeled = log_likelihood[:, 0], sample_weight, sample_weight
        if self.unlabeled_weight and log_likelihood.shape[1] > 1:
            labeled = y >= 0
            log_prob = ops.where(labeled, log_prob, log_marginal(log_likelihood))
            weight = ops.where(labeled, 1.0, self.unlabeled_weight)
            of_labeled = ops.cast(labeled, "float32")
            if sample_weight is not None:
                weight, of_labeled = weight * sample_weight, of_labeled * sample_weight
        bits = bits_per_dim(log_prob, self.image_shape)
        self._bits_per_dim_metric.update_state(bits, sample_weight=sample_weight)
        if log_likelihood.shape[1] > 1:
            logits = self.posterior(log_likelihood, self._candidates(x))
            cross_entropy = ops.logsumexp(logits, axis=1) - logits[:, 0]
            # A tie is no answer: a model that doesn't know the label yet has nothing but ties.
            correct = ops.cast(ops.all(logits[:, :1] > logits[:, 1:], axis=1), "float32")
            self._cross_entropy_metric.update_state(cross_entropy, sample_weight=of_labeled)
            self._accuracy_metric.update_state(correct, sample_weight=of_labeled)
            if self.unlabeled_weight:
                cross_entropy = ops.where(labeled, cross_entropy, 0.0)
            bits = bits + self._cross_entropy_weight * cross_entropy
        loss = MeanOverBatch()(bits, bits, weight)
        if not self._cross_entropy_weight:
            # Gradients of 0 for what the cross-entropy alone teaches: Keras warns of missing ones.
            loss = loss + 0.0 * sum(map(ops.sum, self.posterior.trainable_variables))
        if self.losses:  # of regularizers and `add_loss`
            loss = loss + super().compute_loss(x, y, y_pred, sample_weight, training)
        return loss

    def get_metrics_result(self) -> dict[str, float]:
        """The metrics; those of labels only where labels are compared."""
        results = super().get_metrics_result()
        if not self._compares_labels:
            for metric in (self._cross_entropy_metric, self._accuracy_metric):
                results.pop(metric.name, None)
        return results
