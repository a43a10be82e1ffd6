"""Adam in one operation a variable, under TensorFlow."""

import keras

# Under torch a subclass that updates all variables together, which a plain subclass would not be.
_Adam = type(keras.optimizers.Adam.__new__(keras.optimizers.Adam))


@keras.saving.register_keras_serializable(package="keras_pixelcnnpp")
class FusedAdam(_Adam):
    """`keras.optimizers.Adam`, with TensorFlow's kernel for the update of a variable.

    Keras writes the update as some fifteen operations, the moving average of the weights as eight.
    A network of hundreds of small variables spends seconds of its start on tracing them, and a few
    hundredths of every step on running them. A step differs from Keras's by less than a
    hundred-thousandth: the kernel rounds `beta_2` to float32 before it takes it from 1. The
    variables are the same in number and order: each goes on from the other's checkpoints.

    Gradients of an embedding (`tf.IndexedSlices`), `amsgrad` and other backends take Keras's own
    way; so do the averages where several devices share the work.

    Args:
        **kwargs: Those of `keras.optimizers.Adam`.

    Example:

    ```python
    model.compile(FusedAdam(1e-3, use_ema=True, ema_momentum=0.999))
    ```

    Reference:
        Kingma & Ba 2015, Adam, the last lines of section 2, https://arxiv.org/abs/1412.6980
    """

    _scalars = None

    def apply(self, grads, trainable_variables=None):
        """Updates the variables; see Keras."""
        try:
            super().apply(grads, trainable_variables)
        finally:
            self._scalars = None

    def update_step(self, gradient, variable, learning_rate):
        """Updates one variable."""
        if not _is_tensorflow() or not _is_dense(gradient) or self.amsgrad:
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        index = self._get_variable_index(variable)
        if self._scalars is None:  # the first variable of this call
            self._scalars = self._shared_by_variables(learning_rate)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            grad=tf.cast(gradient, variable.dtype),
            **{name: tf.cast(value, variable.dtype) for name, value in self._scalars.items()},
        )

    def _shared_by_variables(self, learning_rate):
        import tensorflow as tf

        step = tf.cast(self.iterations.value + 1, "float32")
        return {
            "beta1_power": tf.pow(tf.constant(self.beta_1, "float32"), step),
            "beta2_power": tf.pow(tf.constant(self.beta_2, "float32"), step),
            "lr": tf.convert_to_tensor(learning_rate),
            "beta1": tf.constant(self.beta_1, "float32"),
            "beta2": tf.constant(self.beta_2, "float32"),
            "epsilon": tf.constant(self.epsilon, "float32"),
        }

    def _update_model_variables_moving_average(self, trainable_variables):
        if not (self.use_ema and _is_tensorflow()) or _has_several_devices():
            super()._update_model_variables_moving_average(trainable_variables)
            return
        import tensorflow as tf

        # As in Keras, the first step makes the average the variable.
        is_first = tf.cast(tf.equal(self.iterations.value, 0), "float32")
        share = tf.maximum(is_first, 1 - self.ema_momentum)
        averages = self._model_variables_moving_average
        for variable, average in zip(trainable_variables, averages, strict=True):
            if average is not None:
                tf.raw_ops.ResourceApplyGradientDescent(
                    var=average.value.handle,
                    alpha=tf.cast(share, average.dtype),
                    delta=average.value - variable.value,
                )


def _is_dense(gradient):
    return not hasattr(gradient, "indices")


def _is_tensorflow():
    return keras.backend.backend() == "tensorflow"


def _has_several_devices():
    import tensorflow as tf

    return tf.distribute.has_strategy()
