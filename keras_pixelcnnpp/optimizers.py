"""Adam in one operation a variable, under TensorFlow; averages that are of use from the start."""

import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.backend import Tensor
from keras_pixelcnnpp.checks import require_nonnegative_number, require_positive_integer

# Under torch a subclass that updates all variables together, which a plain subclass would not be.
_Adam = type(keras.optimizers.Adam.__new__(keras.optimizers.Adam))


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class FusedAdam(_Adam):
    """`keras.optimizers.Adam`, with TensorFlow's kernel for the update of a variable.

    Keras writes the update as some fifteen operations, the moving average of the weights as eight.
    A network of hundreds of small variables spends seconds of its start on tracing them, and a few
    hundredths of every step on running them. With the default `beta_2` a step differs from Keras's
    by less than a hundred-thousandth: the kernel rounds `beta_2` to float32 before it takes it from
    1. The variables are the same in number and order: each goes on from the other's checkpoints.

    Variables of another dtype than float32, gradients of an embedding (`tf.IndexedSlices`),
    `amsgrad` and other backends take Keras's own way; so do the averages where several devices
    share the work, but for the momentum of `ema_warmup`.

    With Keras's averages the weights of the first step keep the share `ema_momentum ** steps`: at
    0.9995, nine tenths after 200 steps. With `ema_warmup` the momentum after `n` steps is at most
    `(1 + n) / (10 + n)`, so that the average is at any time of about the last tenth of the steps.

    Args:
        learning_rate: A float or a schedule.
        ema_warmup: Let the momentum of the averages rise to `ema_momentum`.
        **kwargs: Those of `keras.optimizers.Adam`.

    Example:

    ```python
    model.compile(FusedAdam(1e-3, use_ema=True, ema_momentum=0.999, ema_warmup=True))
    ```

    Reference:
        Kingma & Ba 2015, Adam, the last lines of section 2, https://arxiv.org/abs/1412.6980; the
        rising momentum is that of `tf.train.ExponentialMovingAverage`.
    """

    def __init__(self, learning_rate: Any = 0.001, *, ema_warmup: bool = False, **kwargs: Any):
        super().__init__(learning_rate, **kwargs)
        self.ema_warmup = ema_warmup
        # In a namespace, since Keras tracks what a dict holds.
        self._shared = types.SimpleNamespace(scalars=None)

    def get_config(self) -> dict:
        """The arguments."""
        return {**super().get_config(), "ema_warmup": self.ema_warmup}

    def apply(
        self, grads: Sequence[Tensor], trainable_variables: Sequence[keras.Variable] | None = None
    ) -> None:
        """Updates the variables; see Keras."""
        try:
            super().apply(grads, trainable_variables)
        finally:
            self._shared.scalars = None

    def update_step(self, gradient: Tensor, variable: keras.Variable, learning_rate: Any) -> None:
        """Updates one variable."""
        moments = self._moments(variable)
        if moments is None or not _has_kernel(variable) or _is_sparse(gradient) or self.amsgrad:
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=moments[0].value.handle,
            v=moments[1].value.handle,
            grad=tf.cast(gradient, variable.dtype),
            **self._shared_by_variables(learning_rate),
        )

    def _moments(self, variable):
        # Private parts of Keras: where a version has others, its own update is taken.
        try:
            index = self._get_variable_index(variable)
            return self._momentums[index], self._velocities[index]
        except AttributeError:
            return None

    def _shared_by_variables(self, learning_rate):
        """What the updates of one call have in common, made by the first of them."""
        import tensorflow as tf

        if self._shared.scalars is None:
            step = tf.cast(self._step(), "float32") + 1
            beta_1, beta_2 = (tf.constant(b, "float32") for b in (self.beta_1, self.beta_2))
            self._shared.scalars = {
                "beta1_power": tf.pow(beta_1, step),
                "beta2_power": tf.pow(beta_2, step),
                "lr": tf.cast(learning_rate, "float32"),
                "beta1": beta_1,
                "beta2": beta_2,
                "epsilon": tf.constant(self.epsilon, "float32"),
            }
        return self._shared.scalars

    def finalize_variable_values(self, var_list: Sequence[keras.Variable]) -> None:
        """Puts the averages into the variables; before the first step there are none.

        Keras's own would then fill the variables with zeros, as when every step so far had
        gradients that `mixed_float16` could not hold.
        """
        if self.iterations.numpy() > 0:
            super().finalize_variable_values(var_list)

    def _step(self):
        # Not always a variable: with gradient accumulation it is computed.
        return ops.convert_to_tensor(self.iterations)

    def _update_model_variables_moving_average(self, trainable_variables):
        averages = getattr(self, "_model_variables_moving_average", None)
        known = averages is not None  # as in _moments
        fused = known and all(map(_has_kernel, averages)) and not _has_several_devices()
        if not known or not (fused or self.ema_warmup):
            super()._update_model_variables_moving_average(trainable_variables)
            return
        move = _move_fused if fused else _move
        momentum = self._momentum_of_averages()
        for variable, average in zip(trainable_variables, averages, strict=True):
            if average is not None:
                move(average, variable, momentum)

    def _momentum_of_averages(self):
        steps = ops.cast(self._step(), "float32")
        momentum = ops.convert_to_tensor(self.ema_momentum, "float32")
        if self.ema_warmup:
            momentum = ops.minimum(momentum, (1 + steps) / (10 + steps))
        # As in Keras, the first step makes the average the variable.
        return ops.where(steps == 0, 0.0, momentum)


def _move(average, variable, momentum):
    """One step of an average, in float32 or the dtype of the variable, whichever is wider."""
    moved = ops.add(ops.multiply(momentum, average), ops.multiply(1 - momentum, variable))
    average.assign(ops.cast(moved, average.dtype))


def _move_fused(average, variable, momentum):
    import tensorflow as tf

    tf.raw_ops.ResourceApplyGradientDescent(
        var=average.value.handle,
        alpha=1 - momentum,
        delta=average.value - ops.convert_to_tensor(variable),
    )


def _has_kernel(variable):
    if keras.backend.backend() != "tensorflow" or variable is None:
        return False
    return keras.backend.standardize_dtype(variable.dtype) == "float32"


def _is_sparse(gradient):
    return hasattr(gradient, "indices")


def _has_several_devices():
    import tensorflow as tf

    return tf.distribute.has_strategy()


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class WarmUpThenDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly over the first steps while it decays by a factor each step.

    At step `t`, counted from 0: `initial_learning_rate * decay_rate**t * min(1, (t + 1) /
    warmup_steps)`. Adam's first steps are as long as the learning rate whatever the gradient is,
    which a trained model (`--initial-weights`) takes many epochs to recover from.

    Args:
        initial_learning_rate: Number of at least 0.
        decay_rate: Number of at least 0; 1: no decay.
        warmup_steps: Integer of at least 0; 0: none.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    ```python
    keras.optimizers.Adam(WarmUpThenDecay(1e-3, decay_rate=0.9995, warmup_steps=500))
    ```
    """

    def __init__(
        self, initial_learning_rate: float, decay_rate: float = 1.0, warmup_steps: int = 0
    ):
        super().__init__()
        require_nonnegative_number("initial_learning_rate", initial_learning_rate)
        require_nonnegative_number("decay_rate", decay_rate)
        if warmup_steps != 0:
            require_positive_integer("warmup_steps", warmup_steps)
        self.initial_learning_rate = initial_learning_rate
        self.decay_rate = decay_rate
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        step = ops.cast(step, "float32")
        decayed = self.initial_learning_rate * ops.power(self.decay_rate, step)
        return decayed * ops.minimum(1.0, (step + 1) / max(self.warmup_steps, 1))

    def get_config(self) -> dict:
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_rate": self.decay_rate,
            "warmup_steps": self.warmup_steps,
        }


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class WarmUpAgain(keras.optimizers.schedules.LearningRateSchedule):
    """Another schedule that rises anew from a step on, where the loss changes.

    At step `t`, counted from 0 and not before `first_step`: `schedule(t) * min(1, (t - first_step +
    1) / warmup_steps)`. Adam divides by the root of the squared gradients' average, which follows
    over some `1 / (1 - beta_2)` steps. Where a term of much larger gradients joins the loss, as the
    cross-entropy does after epochs of likelihood alone, the steps would be up to
    `(1 - beta_1) / sqrt(1 - beta_2)` times as long and more, and undo what was learned.

    Args:
        schedule: A `keras.optimizers.schedules.LearningRateSchedule`.
        first_step: Integer of at least 1, the first step of the new loss.
        warmup_steps: Positive integer.

    Raises:
        ValueError: If an argument is out of range, or `schedule` is no schedule.

    Example:

    ```python
    schedule = keras.optimizers.schedules.CosineDecay(4e-3, decay_steps=20_000)
    kp.FusedAdam(WarmUpAgain(schedule, first_step=8_000, warmup_steps=500))
    ```
    """

    def __init__(self, schedule: Any, first_step: int, warmup_steps: int):
        super().__init__()
        require_positive_integer("first_step", first_step)
        require_positive_integer("warmup_steps", warmup_steps)
        is_config = isinstance(schedule, dict)
        self.schedule = keras.optimizers.schedules.deserialize(schedule) if is_config else schedule
        if not isinstance(self.schedule, keras.optimizers.schedules.LearningRateSchedule):
            raise ValueError(
                "Invalid value for argument `schedule`. Expected a "
                f"keras.optimizers.schedules.LearningRateSchedule. Received: schedule={schedule!r}"
            )
        self.first_step = first_step
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        new = ops.cast(step, "float32") - self.first_step
        share = ops.minimum(1.0, (new + 1) / self.warmup_steps)
        return self.schedule(step) * ops.where(new < 0, 1.0, share)

    def get_config(self) -> dict:
        return {
            "schedule": keras.optimizers.schedules.serialize(self.schedule),
            "first_step": self.first_step,
            "warmup_steps": self.warmup_steps,
        }


# What is left of the learning rate at the end of a cosine.
COSINE_END = 0.01


def make_optimizer(
    training: dict, steps: int, steps_of_likelihood: int = 0
) -> keras.optimizers.Optimizer:
    """Adam as the section `training` of a preset has it; of what it lacks, there is none.

    Args:
        training: `learning_rate`, which changes each step by `learning_rate_schedule`,
            `learning_rate_decay` and, over `warmup_steps`, `learning_rate_warmup`; and what
            `averaged_adam` takes.
        steps: Integer, of the whole training; a cosine is at its lowest then.
        steps_of_likelihood: Integer, after which the cross-entropy joins the loss and the learning
            rate warms up again; 0: it is there from the start.
    """
    peak = training["learning_rate"]
    warmup = warmup_steps(training, steps)
    if training.get("learning_rate_schedule") == "cosine":
        schedule = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else peak,
            max(1, steps - warmup),
            alpha=COSINE_END,
            warmup_target=peak if warmup else None,
            warmup_steps=warmup,
        )
    else:
        decay = training.get("learning_rate_decay", 1.0)
        schedule = WarmUpThenDecay(peak, decay_rate=decay, warmup_steps=warmup)
    if warmup and 0 < steps_of_likelihood < steps:
        schedule = WarmUpAgain(schedule, steps_of_likelihood, warmup)
    return averaged_adam(schedule, training)


def warmup_steps(training: dict, steps: int) -> int:
    """Over how many steps the learning rate rises: of `steps` in all, at most a tenth."""
    return min(training.get("learning_rate_warmup") or 0, steps // 10)


def averaged_adam(schedule, training: dict, **kwargs) -> FusedAdam:
    """Adam, averaged by `ema_momentum` and clipped to `gradient_clip_norm`, of which 0 is none."""
    momentum = training.get("ema_momentum", 0.0)
    return FusedAdam(
        schedule,
        use_ema=momentum > 0,
        ema_momentum=momentum,
        ema_warmup=True,
        global_clipnorm=training.get("gradient_clip_norm") or None,
        **kwargs,
    )


@contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Inside the block the model has the averaged weights of its optimizer, after it the raw ones.

    Does nothing when the optimizer keeps no average or has made no step yet.

    `keras.callbacks.SwapEMAWeights` is not used, for two reasons: it leaves the averaged weights
    in the model after `predict`, and under TensorFlow it swaps by adding and subtracting, which
    rounds the raw weights a little every time. Here both are copied, bit for bit.

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
    if not has_averages(model):
        yield
        return
    raw = [variable_value(variable) for variable in model.trainable_variables]
    use_averages(model)
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, raw, strict=True):
            variable.assign(value)


class RawWeights(keras.callbacks.Callback):
    """Leaves the model its raw weights where `fit` puts the averaged ones into it, at its end.

    So that another `fit` goes on from them.
    """

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Called by Keras."""
        self._raw = [variable_value(variable) for variable in self.model.trainable_variables]

    def on_train_end(self, logs: dict | None = None) -> None:
        """Called by Keras, which has averaged them by now."""
        for variable, value in zip(self.model.trainable_variables, self._raw, strict=True):
            variable.assign(value)


def has_averages(model: keras.Model) -> bool:
    """Whether the model's optimizer averages weights and has made a step."""
    optimizer = inner_optimizer(model.optimizer)
    return bool(optimizer.use_ema and optimizer.built and int(optimizer.iterations) > 0)


def use_averages(model: keras.Model) -> None:
    """Puts the averaged weights, where there are any, into the model for good, as copies."""
    inner_optimizer(model.optimizer).finalize_variable_values(model.trainable_variables)
    keep_own_weights(model)


def keep_own_weights(model: keras.Model) -> None:
    """Makes the weights, which `fit` has averaged at its end, copies of the averages.

    Under JAX that leaves model and optimizer with the same arrays, of which the next step of either
    deletes the other's.
    """
    for variable in model.trainable_variables:
        variable.assign(variable_value(variable))


def variable_value(variable: keras.Variable) -> np.ndarray:
    """A copy of a variable's value, which later steps do not change."""
    # np.array and keras.ops.convert_to_numpy ask for a copy in a way that Keras's variables do not
    # understand yet; NumPy warns about it.
    return np.asarray(variable).copy()


def inner_optimizer(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer that holds the averages, without the loss scaling of `mixed_float16`."""
    return getattr(optimizer, "inner_optimizer", optimizer)
