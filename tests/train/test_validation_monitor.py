import keras
import numpy as np
import pytest
import tiny

from keras_pixelcnnpp.optimizers import variable_value
from keras_pixelcnnpp.train.monitors import ValidationMonitor


@pytest.mark.parametrize("use_ema", [True, False])
def test_raw_weights_are_measured_now_and_then(use_ema):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    optimizer = keras.optimizers.SGD(0.1, use_ema=use_ema, ema_momentum=0.5)
    model.compile(optimizer, loss="mse")

    def weight():
        return float(variable_value(model.trainable_variables[0])[0, 0])

    raw = []
    look = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: raw.append(weight()))
    monitor = ValidationMonitor(lambda _: ({"weight": weight()}, None), tiny.tiny_split(3))
    history = {}
    write = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: history.update({epoch + 1: dict(logs)})
    )
    data = np.array([[1.0]], "float32"), np.array([[3.0]], "float32")
    model.fit(*data, epochs=7, verbose=0, callbacks=[look, monitor, write])

    average, averages = raw[0], []
    for value in raw:
        average = 0.5 * average + 0.5 * value
        averages.append(average)
    expected = averages if use_ema else raw
    assert [row["val_weight"] for row in history.values()] == pytest.approx(expected, rel=1e-5)
    measured = {epoch: row.get("val_raw_weight") for epoch, row in history.items()}
    # Every fifth epoch and the last.
    wanted = {5: raw[4], 7: raw[6]} if use_ema else {}
    assert {epoch: value for epoch, value in measured.items() if value is not None} == wanted
