import keras
import numpy as np
import pytest

from keras_pixelcnnpp.optimizers import averaged_weights, variable_value


def linear_model(**optimizer):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.1, **optimizer), loss="mse")
    return model


def weight(model):
    return float(variable_value(model.trainable_variables[0])[0, 0])


@pytest.fixture
def data():
    return np.array([[1.0]], "float32"), np.array([[3.0]], "float32")


def test_average_is_in_the_model_only_inside(data):
    model = linear_model(use_ema=True, ema_momentum=0.5)
    weights = []
    record = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: weights.append(weight(model))
    )
    inside = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            with averaged_weights(self.model):
                inside.append(weight(self.model))

    model.fit(*data, epochs=4, verbose=0, callbacks=[record, Look()])
    average, expected = weights[0], []
    for value in weights:
        average = 0.5 * average + 0.5 * value
        expected.append(average)
    assert inside == pytest.approx(expected, rel=1e-5)
    # The raw weights went on as if nobody had looked: the error falls by (1 - 2 * 0.1) per step.
    errors = [3 - value for value in weights]
    assert errors[1:] == pytest.approx([0.8 * error for error in errors[:-1]], rel=1e-5)


def test_raw_weights_come_back_bit_for_bit_even_after_an_error(data):
    model = linear_model(use_ema=True)
    model.fit(*data, epochs=2, verbose=0)
    model.trainable_variables[0].assign([[1e-8]])
    before = variable_value(model.trainable_variables[0])
    with pytest.raises(RuntimeError), averaged_weights(model):
        raise RuntimeError
    after = variable_value(model.trainable_variables[0])
    assert before.tobytes() == after.tobytes()


@pytest.mark.parametrize("use_ema", [True, False])
def test_nothing_to_average(use_ema):
    model = linear_model(use_ema=use_ema)
    before = weight(model)
    with averaged_weights(model):
        assert weight(model) == before
