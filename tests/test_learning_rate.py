import keras
import numpy as np
import pytest

from keras_pixelcnnpp.optimizers import WarmUpThenDecay

STEPS = np.arange(2000)


def rates(schedule):
    return [float(keras.ops.convert_to_numpy(schedule(step))) for step in STEPS[::97]]


def test_without_warm_up_it_is_keras_exponential_decay():
    expected = keras.optimizers.schedules.ExponentialDecay(0.01, decay_steps=1, decay_rate=0.998)
    np.testing.assert_allclose(rates(WarmUpThenDecay(0.01, 0.998)), rates(expected), rtol=1e-5)


def test_rises_linearly_and_decays():
    expected = 0.01 * 0.998**STEPS * np.interp(STEPS, [-1, 499], [0, 1])
    np.testing.assert_allclose(rates(WarmUpThenDecay(0.01, 0.998, 500)), expected[::97], rtol=1e-4)


def test_survives_saving():
    schedule = WarmUpThenDecay(0.01, decay_rate=0.9, warmup_steps=3)
    optimizer = keras.optimizers.Adam(schedule)
    loaded = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert loaded._learning_rate.get_config() == schedule.get_config()


@pytest.mark.parametrize("warmup_steps", [0, 10])
def test_first_step_moves(warmup_steps):
    assert WarmUpThenDecay(0.01, warmup_steps=warmup_steps)(0) > 0


@pytest.mark.parametrize(
    "arguments",
    [{"warmup_steps": -1}, {"warmup_steps": 2.5}, {"decay_rate": -0.1}, {"decay_rate": np.nan}],
)
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match=f"`{next(iter(arguments))}`"):
        WarmUpThenDecay(0.01, **arguments)
