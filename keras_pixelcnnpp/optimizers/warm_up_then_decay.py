"""The learning rate of a training, step by step."""

import keras
from keras import ops

from keras_pixelcnnpp.arguments import require_nonnegative_number, require_positive_integer


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

    def get_config(self):
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_rate": self.decay_rate,
            "warmup_steps": self.warmup_steps,
        }
