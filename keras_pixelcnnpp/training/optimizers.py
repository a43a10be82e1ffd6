"""Optimizers, learning-rate warm-up, averaged weights, and epochs with only the likelihood."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

from keras_pixelcnnpp.utils.backend import (
    Tensor,
    assign_weights,
    keep_own_weights,
    variable_value,
    weight_values,
)
from keras_pixelcnnpp.utils.checks import require_choice, require_integer, require_number
from keras_pixelcnnpp.utils.errors import invalid_argument


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Learning-rate schedule with a linear warm-up, which can be repeated.

    At step `t` the learning rate is `schedule(t) * min(1, (t + 1) / warmup_steps)`. From step
    `again_at` on, `t - again_at` replaces `t` in the warm-up factor.

    Adam divides by a moving average of squared gradients over about `1 / (1 - beta_2)` steps. When
    a term with much larger gradients is added to the loss, such as the cross-entropy after epochs
    with only the likelihood, the first steps would be `(1 - beta_1) / sqrt(1 - beta_2)` times too
    large, or more.

    Args:
        schedule: A `keras.optimizers.schedules.LearningRateSchedule`.
        warmup_steps: Integer >= 1, number of steps of the warm-up.
        again_at: Integer, step at which the warm-up is repeated, or `None`.

    Raises:
        ValueError: If `schedule` is not a schedule, or `warmup_steps` not a positive integer.

    Example:

    ```python
    cosine = keras.optimizers.schedules.CosineDecay(4e-3, decay_steps=20_000)
    keras.optimizers.Adam(WarmUp(cosine, warmup_steps=500, again_at=8_000))
    ```
    """

    def __init__(self, schedule: Any, warmup_steps: int, again_at: int | None = None):
        super().__init__()
        require_integer("warmup_steps", warmup_steps)
        if isinstance(schedule, dict):
            schedule = keras.optimizers.schedules.deserialize(schedule)
        if not callable(schedule):
            expected = "a learning-rate schedule, such as `keras.optimizers.schedules.CosineDecay`"
            raise invalid_argument("schedule", schedule, expected)
        self.schedule = schedule
        self.warmup_steps = warmup_steps
        self.again_at = again_at

    def __call__(self, step: int | Tensor) -> Tensor:
        count = ops.cast(step, "float32") + 1
        if self.again_at is not None:
            count = ops.where(count > self.again_at, count - self.again_at, count)
        return self.schedule(step) * ops.minimum(1.0, count / self.warmup_steps)

    def get_config(self) -> dict:
        return {
            "schedule": keras.optimizers.schedules.serialize(self.schedule),
            "warmup_steps": self.warmup_steps,
            "again_at": self.again_at,
        }


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class KernelMuon(keras.optimizers.Muon):
    """Muon for the kernels of convolutions, and Adam for all other weights.

    `keras.optimizers.Muon` is defined for matrices. Here, a kernel `(height, width, inputs,
    outputs)` is used as a matrix `(height * width * inputs, outputs)`. Newton-Schulz iterations
    make the average of its gradients nearly orthogonal. The elements of an update have a root mean
    square of 0.2, so learning rates for Adam can be used. The head's kernel is updated by Adam.

    References:
        Jordan et al. 2024, Muon: An optimizer for hidden layers in neural networks,
        https://kellerjordan.github.io/posts/muon; Liu et al. 2025, Muon is Scalable for LLM
        Training, eq. 4, https://arxiv.org/abs/2502.16982

    Args:
        learning_rate: Float, or a `keras.optimizers.schedules.LearningRateSchedule`.
        weight_decay: Float, weight decay of the kernels, or `None`.
        adam_weight_decay: Float, weight decay of all other weights, or `None`.
        **kwargs: Other arguments of `keras.optimizers.Muon`, except those that exclude layers.

    Example:

    ```python
    model = PixelCNNPlusPlus((8, 8, 1), num_classes=10)
    model.compile(KernelMuon(4e-3, use_ema=True))
    ```
    """

    def __init__(
        self,
        learning_rate: Any = 1e-3,
        weight_decay: float | None = None,
        adam_weight_decay: float | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            learning_rate, weight_decay=weight_decay, adam_weight_decay=adam_weight_decay, **kwargs
        )

    def _should_use_adamw(self, variable: keras.Variable) -> bool:
        is_plain_kernel = variable.name == "kernel" and len(variable.shape) == 4
        is_kernel = variable.name == "direction" or is_plain_kernel
        return not is_kernel or "/head/" in variable.path

    def zeropower_via_newtonschulz5(self, x: Tensor, steps: int) -> Tensor:
        matrix = ops.reshape(x, (-1, x.shape[-1]))
        return ops.reshape(super().zeropower_via_newtonschulz5(matrix, steps), x.shape)

    def lr_adjust(self, x: Tensor) -> Tensor:
        return ops.reshape(super().lr_adjust(ops.reshape(x, (-1, x.shape[-1]))), x.shape)


def make_optimizer(
    training: dict, steps: int, steps_of_likelihood: int = 0, **kwargs: Any
) -> keras.optimizers.Optimizer:
    """Creates the optimizer for the training options of a preset.

    The momentum of the weight average is bounded by `1 - 10 / steps`. Keras starts the average with
    the weights after the first step, whose final share is `momentum ** steps`: 90% for 0.9995 and
    200 steps, but less than 0.01% with the bound.

    Args:
        training: Dict of training options: `learning_rate`, the peak; `learning_rate_schedule`,
            `"cosine"` or `"exponential"` (default); `learning_rate_decay`, the factor per step of
            the latter; `learning_rate_warmup`, the number of warm-up steps, at most a tenth of all
            steps; `ema_momentum`; `gradient_clip_norm`; and `optimizer`, `"adam"` (default) or
            `"muon"`. Missing options are not applied.
        steps: Integer, number of steps of the whole training. The cosine schedule ends there at a
            hundredth of the peak.
        steps_of_likelihood: Integer, number of first steps with only the likelihood. The warm-up is
            repeated after them.
        **kwargs: Other arguments of `keras.optimizers.Adam` or `KernelMuon`.
    """
    peak, steps = training["learning_rate"], max(1, steps)
    require_number("learning_rate", peak, "[0, inf)")
    kind = training.get("learning_rate_schedule", "exponential")
    require_choice("learning_rate_schedule", kind, ("cosine", "exponential"))
    if kind == "cosine":
        schedule = keras.optimizers.schedules.CosineDecay(peak, steps, alpha=0.01)
    else:
        decay = training.get("learning_rate_decay", 1.0)
        schedule = keras.optimizers.schedules.ExponentialDecay(peak, 1, decay)
    if warmup := min(training.get("learning_rate_warmup") or 0, steps // 10):
        again_at = steps_of_likelihood if 0 < steps_of_likelihood < steps else None
        schedule = WarmUp(schedule, warmup, again_at)
    momentum, norm = training.get("ema_momentum", 0.0), training.get("gradient_clip_norm") or 0.0
    require_number("gradient_clip_norm", norm, "[0, inf)")
    name = training.get("optimizer", "adam")
    require_choice("optimizer", name, ("adam", "muon"))
    return {"adam": keras.optimizers.Adam, "muon": KernelMuon}[name](
        schedule,
        use_ema=momentum > 0,
        ema_momentum=max(0.0, min(momentum, 1 - 10 / steps)),
        global_clipnorm=norm or None,
        **kwargs,
    )


@contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Context manager in which a model has the averaged weights of its optimizer.

    Afterwards, the raw weights are restored exactly, which `keras.callbacks.SwapEMAWeights` does
    not do. If the optimizer has no averages or has made no step, the weights do not change.

    Args:
        model: A compiled model.

    Example:

    ```python
    model.compile(keras.optimizers.Adam(use_ema=True))
    model.fit(...)
    with averaged_weights(model):
        model.class_probabilities(images)
    ```
    """
    raw = weight_values(model)
    use_averages(model)
    try:
        yield
    finally:
        assign_weights(model, raw)


class LikelihoodFirst(keras.callbacks.Callback):
    """Callback that omits the cross-entropy from the loss in the first epochs.

    The posterior of an untrained network is noise, and bits/dim decrease faster without the
    cross-entropy. In these epochs, the cross-entropy and accuracy of the training are NaN, and the
    validation is as in the others. The training step is compiled again at the end of the phase. A
    run that continues at a later epoch (`initial_epoch`) uses the correct loss.

    Args:
        epochs: Integer >= 0, number of epochs without the cross-entropy.

    Example:

    ```python
    model = PixelCNNPlusPlus((8, 8, 1), num_classes=10, label_loss_weight=0.3)
    model.compile("adam")
    model.fit(images, labels, epochs=20, callbacks=[LikelihoodFirst(10)])
    ```
    """

    def __init__(self, epochs: int):
        super().__init__()
        require_integer("epochs", epochs, low=0)
        self.epochs = epochs
        self._goes_on = epochs > 0

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        model.likelihood_only = self._goes_on  # before `fit` compiles the step

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._goes_on = epoch < self.epochs
        if self.model.likelihood_only != self._goes_on:
            self.model.likelihood_only = self._goes_on
            self.model.make_train_function()


def use_averages(model: keras.Model) -> None:
    """Replaces the model's weights by copies of their averages, if the optimizer has averages."""
    # Unwraps the loss scaling of `mixed_float16`.
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    # `int` fails for variables of `tf.distribute`.
    if optimizer.use_ema and optimizer.built and variable_value(optimizer.iterations) > 0:
        optimizer.finalize_variable_values(model.trainable_variables)
        keep_own_weights(model)
