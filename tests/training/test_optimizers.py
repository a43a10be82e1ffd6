import keras
import numpy as np
import pytest
import tiny
from keras import ops

from keras_pixelcnnpp.layers import DownShiftedConv2D
from keras_pixelcnnpp.training.optimizers import (
    KernelMuon,
    WarmUp,
    averaged_weights,
    make_optimizer,
    variable_value,
)

schedules = keras.optimizers.schedules


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
    weights, inside = [], []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            weights.append(weight(self.model))
            with averaged_weights(self.model):
                inside.append(weight(self.model))

    model.fit(*data, epochs=4, verbose=0, callbacks=[Look()])
    average, expected = weights[0], []
    for value in weights:
        average = 0.5 * average + 0.5 * value
        expected.append(average)
    assert inside == pytest.approx(expected, rel=1e-5)
    # The raw weights are not affected: the error falls by a factor of (1 - 2 * 0.1) per step.
    errors = [3 - value for value in weights]
    assert errors[1:] == pytest.approx([0.8 * error for error in errors[:-1]], rel=1e-5)
    # They come back bit for bit, even after an error.
    model.trainable_variables[0].assign([[1e-8]])
    before = weight(model)
    with pytest.raises(RuntimeError), averaged_weights(model):
        raise RuntimeError
    assert weight(model) == before


STEPS = np.arange(0, 2000, 97)


def rates(schedule, steps=STEPS):
    return ops.convert_to_numpy(schedule(ops.convert_to_tensor(steps)))


@pytest.mark.once
@pytest.mark.parametrize(
    ("again_at", "places", "factors"),
    [(None, [-1, 499], [0, 1]), (900, [-1, 499, 899, 900, 1399], [0, 1, 1, 0.002, 1])],
)
def test_rises_linearly_once_or_twice(again_at, places, factors):
    decay = schedules.CosineDecay(0.01, decay_steps=2000)
    expected = rates(decay) * np.interp(STEPS, places, factors)
    np.testing.assert_allclose(rates(WarmUp(decay, 500, again_at)), expected, rtol=1e-4)


@pytest.mark.once
@pytest.mark.parametrize("warmup", [None, 10])
def test_a_cosine_ends_at_a_hundredth_of_the_peak(warmup):
    training = {"learning_rate": 1e-3, "learning_rate_schedule": "cosine"}
    optimizer = make_optimizer({**training, "learning_rate_warmup": warmup}, steps=110)
    steps = np.arange(111)
    cosine = 1e-3 * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * steps / 110)))
    expected = cosine * np.minimum(1, (steps + 1) / (warmup or 1))
    np.testing.assert_allclose(rates(optimizer._learning_rate, steps), expected, rtol=1e-4)


@pytest.mark.once
def test_a_factor_per_step():
    optimizer = make_optimizer({"learning_rate": 0.01, "learning_rate_decay": 0.998}, 2000)
    expected = 0.01 * 0.998**STEPS
    np.testing.assert_allclose(rates(optimizer._learning_rate), expected, rtol=1e-4)


@pytest.mark.once
@pytest.mark.parametrize(
    ("steps", "expected"), [(5, 0.0), (100, 0.9), (544, 0.97), (0, 0.0), (10_000, 0.97)]
)
def test_averages_forget_the_first_step_in_a_short_training(steps, expected):
    optimizer = make_optimizer({"learning_rate": 0.01, "ema_momentum": 0.97}, steps)
    assert optimizer.ema_momentum == pytest.approx(expected)
    assert optimizer.use_ema  # also for a longer training from its checkpoint
    assert expected**steps < 1e-4 or steps == 0


def orthogonalized(matrix):
    """Runs five Newton-Schulz steps in float64, as published by Jordan et al."""
    x = matrix / np.linalg.norm(matrix)
    x = x.T if x.shape[0] > x.shape[1] else x
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    assert np.all((np.linalg.svd(x)[1] > 0.6) & (np.linalg.svd(x)[1] < 1.3))
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def test_muon_is_for_kernels_and_adam_for_the_rest(rng):
    def convolution():
        layer = DownShiftedConv2D(4, (2, 3))
        layer.build((None, 5, 5, 3))
        layer.direction.assign(start)
        return layer

    start = rng.normal(size=(2, 3, 3, 4)).astype("float32")
    layer, other = convolution(), convolution()
    muon, adam = KernelMuon(0.01), keras.optimizers.Adam(0.01)
    expected, momentum = start.astype("float64"), np.zeros((2, 3, 3, 4))
    for _ in range(3):
        gradients = [
            rng.normal(size=weight.shape).astype("float32") for weight in layer.trainable_variables
        ]
        tensors = [ops.convert_to_tensor(gradient) for gradient in gradients]
        muon.apply(tensors, layer.trainable_variables)
        adam.apply(tensors, other.trainable_variables)
        (place,) = (i for i, w in enumerate(layer.trainable_variables) if w.name == "direction")
        momentum = 0.95 * momentum + gradients[place]
        looked_ahead = (gradients[place] + 0.95 * momentum).reshape(18, 4)
        step = 0.2 * np.sqrt(18) * orthogonalized(looked_ahead)
        expected -= 0.01 * step.reshape(2, 3, 3, 4)
    np.testing.assert_allclose(variable_value(layer.direction), expected, atol=1e-5)
    for name in ("gain", "bias"):
        theirs = variable_value(getattr(other, name))
        np.testing.assert_allclose(variable_value(getattr(layer, name)), theirs, atol=1e-6)


@pytest.mark.once
def test_what_muon_keeps():
    model = tiny.untrained_pixelcnn()
    optimizer = make_optimizer({"learning_rate": 0.01, "optimizer": "muon"}, 100)
    optimizer.build(model.trainable_variables)
    by_muon = {
        weight.path
        for weight, velocity in zip(
            model.trainable_variables, optimizer.adam_velocities, strict=True
        )
        if velocity is None
    }
    kernels = {weight.path for weight in model.trainable_variables if weight.name == "direction"}
    assert kernels - by_muon == {f"{model.name}/network/head/direction"}
    assert by_muon < kernels
    again = KernelMuon.from_config(optimizer.get_config())
    assert again.weight_decay is None
    assert again.adam_weight_decay is None


@pytest.mark.once
def test_schedule_comes_back_with_the_optimizer():
    schedule = WarmUp(schedules.CosineDecay(0.01, 90), 30, 5)
    stored = keras.optimizers.serialize(keras.optimizers.Adam(schedule))
    again = keras.optimizers.deserialize(stored)
    assert again._learning_rate.get_config() == schedule.get_config()
