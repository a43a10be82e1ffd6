"""The optimizer of a training, averaged weights, and epochs of likelihood alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.backend import Tensor
from keras_pixelcnnpp.checks import require_choice, require_integer, require_number
from keras_pixelcnnpp.errors import invalid_argument


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Another schedule, times a factor that rises from 0 to 1 over the first steps.

    At step `t`, counted from 0: `schedule(t) * min(1, (t + 1) / warmup_steps)`; from `again_at` on,
    `t - again_at` takes the place of `t` in the factor.

    Adam divides by the root of the squared gradients' average, which follows over some
    `1 / (1 - beta_2)` steps. Where a term of much larger gradients joins the loss, as the
    cross-entropy does after epochs of likelihood alone, the steps would be up to
    `(1 - beta_1) / sqrt(1 - beta_2)` times as long and more, and undo what was learned.

    Args:
        schedule: A `keras.optimizers.schedules.LearningRateSchedule`.
        warmup_steps: Positive integer.
        again_at: Integer, the step at which the factor starts over, or `None`.

    Raises:
        ValueError: If `schedule` is no schedule, or `warmup_steps` no positive integer.

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
    """Muon for the kernels of convolutions, Adam for all other weights.

    `keras.optimizers.Muon` is for matrices. Here a kernel `(height, width, inputs, outputs)` is the
    matrix `(height * width * inputs, outputs)`. A Newton-Schulz iteration makes the average of its
    gradients nearly orthogonal; the elements of a step have the root mean square 0.2, so that
    learning rates are those of Adam. The kernel of the head is left to Adam.

    References:
        Jordan et al. 2024, Muon: An optimizer for hidden layers in neural networks,
        https://kellerjordan.github.io/posts/muon; Liu et al. 2025, Muon is Scalable for LLM
        Training, eq. 4, https://arxiv.org/abs/2502.16982

    Args:
        learning_rate: Float or schedule.
        weight_decay, adam_weight_decay: Float or `None`, for no weight decay.
        **kwargs: More arguments of `keras.optimizers.Muon`; no layers can be excluded.

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
    """Returns the optimizer that the section `training` of a preset describes, by default Adam.

    The average of the weights has the momentum `ema_momentum`, but at most `1 - 10 / steps`. Keras
    begins it with the weights after the first step, which keep the share `momentum ** steps`: at
    0.9995 nine tenths after 200 steps, so bounded less than 0.01 %.

    Args:
        training: `learning_rate`, which changes each step by `learning_rate_schedule` and
            `learning_rate_decay`, and rises over `learning_rate_warmup` steps, at most a tenth of
            all; `ema_momentum`; `gradient_clip_norm`; `optimizer`, `"adam"` or `"muon"`. Missing
            options are not applied.
        steps: Integer, of the whole training; a cosine ends there, at a hundredth of the peak.
        steps_of_likelihood: Integer, after which the cross-entropy joins the loss and the learning
            rate warms up again; 0: it is there from the start.
        **kwargs: More arguments of `keras.optimizers.Adam` or `KernelMuon`.
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
    """Inside the block the model has the averaged weights of its optimizer, after it the raw ones.

    Where the optimizer keeps no average or has made no step yet, both are the same. Both are copied
    bit for bit: `keras.callbacks.SwapEMAWeights` would round the raw weights a little every time.

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
    raw = _values(model)
    use_averages(model)
    try:
        yield
    finally:
        _assign(model, raw)


class LikelihoodFirst(keras.callbacks.Callback):
    """Trains on the likelihood alone for the first epochs, with the cross-entropy after them.

    The posterior of an untrained network is noise, and bits/dim fall faster without the
    cross-entropy. A training that continues at a later epoch (`initial_epoch`) uses the right loss.
    The model's `label_loss_weight` does not change. In these epochs, the cross-entropy and accuracy
    of training are NaN.

    Args:
        epochs: Integer, how many of the first epochs leave the cross-entropy out of the loss.

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

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Called by Keras."""
        self.model._set_likelihood_only(epoch < self.epochs)  # `fit` resets it at its end


def use_averages(model: keras.Model) -> None:
    """Puts the averaged weights, where there are any, into the model for good, as copies."""
    # The inner one, where another adds the loss scaling of `mixed_float16`.
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    # `int` fails for a variable of tf.distribute.
    if optimizer.use_ema and optimizer.built and variable_value(optimizer.iterations) > 0:
        optimizer.finalize_variable_values(model.trainable_variables)
        keep_own_weights(model)


def keep_own_weights(model: keras.Model) -> None:
    """Makes the weights, which `fit` has averaged at its end, copies of the averages.

    Under JAX that leaves model and optimizer with the same arrays, of which the next step of either
    deletes the other's.
    """
    _assign(model, _values(model))


def _values(model: keras.Model) -> list[np.ndarray]:
    return [variable_value(variable) for variable in model.trainable_variables]


def _assign(model: keras.Model, values: list[np.ndarray]) -> None:
    for variable, value in zip(model.trainable_variables, values, strict=True):
        variable.assign(value)


def variable_value(variable: keras.Variable) -> np.ndarray:
    """A copy of a variable's value, which later steps do not change."""
    # np.array and keras.ops.convert_to_numpy ask for a copy in a way that Keras's variables do not
    # understand yet; NumPy warns about it.
    return np.asarray(variable).copy()
