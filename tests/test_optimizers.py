import subprocess
import sys

import keras
import numpy as np
import pytest
import tiny
from keras import ops

from keras_pixelcnnpp.optimizers import (
    FusedAdam,
    RawWeights,
    WarmUpAgain,
    WarmUpThenDecay,
    averaged_weights,
    make_optimizer,
    use_averages,
    variable_value,
)

SHAPES = ((3, 4), (5,), ())
STEPS = 12


def gradients(step):
    rng = np.random.default_rng(step)
    return [rng.normal(size=shape).astype("float32") for shape in SHAPES]


def adam_in_float64(learning_rate, momentum, warmup, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    """Kingma & Ba, section 2, and the moving averages of what it gives."""
    weights = [np.full(shape, 0.5) for shape in SHAPES]
    m, v = ([np.zeros(shape) for shape in SHAPES] for _ in range(2))
    averages = weights
    for step in range(STEPS):
        kept = min(momentum, (1 + step) / (10 + step)) if warmup else momentum
        share = 1 if step == 0 else 1 - kept
        size = learning_rate(step) * np.sqrt(1 - beta_2 ** (step + 1)) / (1 - beta_1 ** (step + 1))
        pairs = list(zip(m, v, gradients(step), strict=True))
        m = [beta_1 * old + (1 - beta_1) * gradient for old, _, gradient in pairs]
        v = [beta_2 * old + (1 - beta_2) * gradient**2 for _, old, gradient in pairs]
        moved = zip(weights, m, v, strict=True)
        weights = [old - size * up / (np.sqrt(down) + epsilon) for old, up, down in moved]
        both = zip(averages, weights, strict=True)
        averages = [old + share * (new - old) for old, new in both]
    return weights, averages


def run(optimizer, compiled, dtype="float32"):
    values = [np.full(shape, 0.5, "float32") for shape in SHAPES]
    variables = [keras.Variable(value, name=f"v{value.ndim}", dtype=dtype) for value in values]
    optimizer.build(variables)

    def step(*grads):
        optimizer.apply(list(grads))

    if compiled:
        import tensorflow as tf

        step = tf.function(step)
    for number in range(STEPS):
        step(*(ops.convert_to_tensor(gradient) for gradient in gradients(number)))
    return [
        [ops.convert_to_numpy(ops.cast(variable, "float32")) for variable in group]
        for group in (variables, getattr(optimizer, "_model_variables_moving_average", ()))
    ]


@pytest.mark.parametrize(
    "compiled", [False, pytest.param(True, marks=pytest.mark.tensorflow)], ids=["eager", "compiled"]
)
@pytest.mark.parametrize("warmup", [False, True])
def test_weights_and_averages_are_those_of_the_paper(warmup, compiled):
    schedule = WarmUpThenDecay(0.02, decay_rate=0.9, warmup_steps=3)
    # Reached within the steps by the rising momentum, (1 + n) / (10 + n).
    optimizer = FusedAdam(schedule, use_ema=True, ema_momentum=0.4, ema_warmup=warmup)
    received = run(optimizer, compiled)
    expected = adam_in_float64(lambda t: 0.02 * 0.9**t * min(1, (t + 1) / 3), 0.4, warmup)
    for group, of_paper in zip(received, expected, strict=True):
        for array, truth in zip(group, of_paper, strict=True):
            np.testing.assert_allclose(array, truth, rtol=1e-5, atol=1e-6)


@pytest.mark.tensorflow
def test_averages_without_a_kernel():
    optimizer = FusedAdam(0.02, use_ema=True, ema_momentum=0.4, ema_warmup=True)
    received = run(optimizer, compiled=False, dtype="float64")[1]
    expected = adam_in_float64(lambda t: 0.02, 0.4, warmup=True)[1]
    for array, truth in zip(received, expected, strict=True):
        np.testing.assert_allclose(array, truth, rtol=1e-5)


def test_has_the_variables_of_keras_adam():
    def variables(optimizer):
        run(optimizer, compiled=False)
        return [(variable.name, variable.shape) for variable in optimizer.variables]

    assert variables(FusedAdam(use_ema=True)) == variables(keras.optimizers.Adam(use_ema=True))


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"global_clipnorm": 0.5},
        {"weight_decay": 0.1},
        {"amsgrad": True},
        {"gradient_accumulation_steps": 2},
    ],
)
def test_agrees_with_keras_under_other_arguments(arguments, averaged):
    received = run(FusedAdam(0.01, use_ema=averaged, **arguments), compiled=False)
    expected = run(keras.optimizers.Adam(0.01, use_ema=averaged, **arguments), compiled=False)
    for group, of_keras in zip(received, expected, strict=True):
        for array, truth in zip(group, of_keras, strict=True):
            np.testing.assert_allclose(array, truth, rtol=1e-5)


def trained(kind, dtype, **how):
    """A small network's weights after some steps, an embedding's among them."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Embedding(4, 2, dtype=dtype),
            keras.layers.Flatten(dtype=dtype),
            keras.layers.Dense(1, dtype=dtype),
        ]
    )
    model.compile(kind(0.05, use_ema=True), loss="mse", **how)
    # Class 0 twice in a batch: Keras squares each of the two gradients, the kernel would their sum.
    labels, values = np.array([[0], [1], [2], [0]]), np.array([1.0, 2.0, 3.0, 1.0])
    model.fit(labels, values, epochs=9, batch_size=4, verbose=0, shuffle=False)
    return [ops.convert_to_numpy(ops.cast(weight, "float32")) for weight in model.weights]


@pytest.mark.parametrize(
    ("dtype", "how", "tolerance"),
    [
        ("float32", {}, 1e-5),
        ("float32", {"run_eagerly": True}, 1e-5),
        pytest.param("float32", {"jit_compile": True}, 1e-5, marks=pytest.mark.tensorflow),
        ("mixed_bfloat16", {}, 1e-4),
        ("bfloat16", {}, 0),
    ],
)
def test_trains_like_keras_adam(dtype, how, tolerance):
    received, expected = (
        trained(kind, dtype, **how) for kind in (FusedAdam, keras.optimizers.Adam)
    )
    for array, truth in zip(received, expected, strict=True):
        np.testing.assert_allclose(array, truth, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "missing",
    ["_get_variable_index", "_momentums", "_velocities", "_model_variables_moving_average"],
)
@pytest.mark.parametrize(
    "compiled", [False, pytest.param(True, marks=pytest.mark.tensorflow)], ids=["eager", "compiled"]
)
def test_takes_the_way_of_keras_where_its_private_parts_are_others(missing, compiled):
    class Renamed(FusedAdam):
        """Keras finds what it needs; this package does not."""

        def __getattribute__(self, name):
            if name == missing and sys._getframe(1).f_globals["__name__"] == FusedAdam.__module__:
                raise AttributeError(name)
            return super().__getattribute__(name)

    received = run(Renamed(0.02, use_ema=True, ema_momentum=0.4), compiled)
    expected = run(keras.optimizers.Adam(0.02, use_ema=True, ema_momentum=0.4), compiled)
    for group, of_keras in zip(received, expected, strict=True):
        for array, truth in zip(group, of_keras, strict=True):
            np.testing.assert_allclose(array, truth, rtol=1e-5)


def test_survives_saving():
    optimizer = FusedAdam(WarmUpThenDecay(0.01), beta_1=0.8, ema_warmup=True)
    loaded = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(loaded) is FusedAdam
    assert loaded.get_config() == optimizer.get_config()


@pytest.mark.parametrize(
    "imports",
    [
        "import keras, keras_pixelcnnpp",
        "from keras_pixelcnnpp import PixelCNNPlusPlus; import keras",
    ],
)
def test_loads_in_a_fresh_process(imports, tmp_path):
    model = tiny.tiny_model()
    model.compile(FusedAdam(WarmUpThenDecay(0.01, warmup_steps=3)))
    split = tiny.tiny_split(6)
    model.fit({"image": split.images, "label": split.labels}, verbose=0)
    model.save(tmp_path / "model.keras")
    code = f"{imports}; m = keras.models.load_model({str(tmp_path / 'model.keras')!r}); "
    code += "print(type(m.optimizer).__name__, int(m.optimizer.iterations))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["FusedAdam", "1"], done.stderr[-2000:]


@pytest.mark.tensorflow
def test_traces_a_fraction_of_the_operations():
    import tensorflow as tf

    def count(kind):
        optimizer = kind(use_ema=True)
        variables = [keras.Variable(np.zeros(3, "float32")) for _ in range(10)]
        optimizer.build(variables)
        traced = tf.function(lambda *grads: optimizer.apply(list(grads)))
        graph = traced.get_concrete_function(*[tf.zeros(3)] * 10).graph
        return len(graph.get_operations())

    assert count(FusedAdam) < count(keras.optimizers.Adam) / 2


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


def test_training_goes_on_from_the_raw_weights(data):
    model, through = (linear_model(use_ema=True, ema_momentum=0.9) for _ in range(2))
    through.set_weights(model.get_weights())
    for first, last in ((0, 2), (2, 4)):
        model.fit(*data, initial_epoch=first, epochs=last, verbose=0, callbacks=[RawWeights()])
    through.fit(*data, epochs=4, verbose=0)
    assert abs(weight(model) - weight(through)) > 0.1
    use_averages(model)
    assert weight(model) == weight(through)


@pytest.mark.parametrize("use_ema", [True, False])
def test_nothing_to_average(use_ema):
    model = linear_model(use_ema=use_ema)
    before = weight(model)
    with averaged_weights(model):
        assert weight(model) == before


MANY_STEPS = np.arange(2000)


def rates(schedule):
    return [float(keras.ops.convert_to_numpy(schedule(step))) for step in MANY_STEPS[::97]]


def test_without_warm_up_it_is_keras_exponential_decay():
    expected = keras.optimizers.schedules.ExponentialDecay(0.01, decay_steps=1, decay_rate=0.998)
    np.testing.assert_allclose(rates(WarmUpThenDecay(0.01, 0.998)), rates(expected), rtol=1e-5)


def test_rises_linearly_and_decays():
    expected = 0.01 * 0.998**MANY_STEPS * np.interp(MANY_STEPS, [-1, 499], [0, 1])
    np.testing.assert_allclose(rates(WarmUpThenDecay(0.01, 0.998, 500)), expected[::97], rtol=1e-4)


def test_rises_again():
    decay = keras.optimizers.schedules.CosineDecay(0.01, decay_steps=2000)
    expected = rates(decay) * np.interp(MANY_STEPS[::97], [899, 900, 1399], [1, 0.002, 1])
    np.testing.assert_allclose(rates(WarmUpAgain(decay, 900, 500)), expected, rtol=1e-4)


def test_a_term_of_larger_gradients_joins_the_loss():
    def longest_step(steps_of_likelihood):
        """In learning rates. Adam's steps are of about one where gradients keep their size."""
        training = {"learning_rate": 0.01, "learning_rate_warmup": 500}
        optimizer = make_optimizer(training, 5000, steps_of_likelihood)
        weights = keras.Variable(np.zeros(1, "float32"))
        longest, before = 0.0, variable_value(weights)
        for step in range(1600):
            gradient = (-1.0) ** step if step < 1000 else 100.0
            optimizer.apply([keras.ops.full((1,), gradient)], [weights])
            after = variable_value(weights)
            longest, before = max(longest, np.abs(after - before).max() / 0.01), after
        return longest

    assert longest_step(1000) < 1.5
    assert longest_step(0) > 4


@pytest.mark.parametrize(
    "schedule",
    [
        WarmUpThenDecay(0.01, decay_rate=0.9, warmup_steps=3),
        WarmUpAgain(keras.optimizers.schedules.CosineDecay(0.01, 90), 30, 5),
        WarmUpAgain(WarmUpThenDecay(0.01, decay_rate=0.9, warmup_steps=5), 30, 5),
    ],
)
def test_schedule_survives_saving(schedule):
    optimizer = keras.optimizers.Adam(schedule)
    loaded = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert loaded._learning_rate.get_config() == schedule.get_config()


@pytest.mark.parametrize(
    "arguments",
    [{"warmup_steps": -1}, {"warmup_steps": 2.5}, {"decay_rate": -0.1}, {"decay_rate": np.nan}],
)
def test_bad_arguments_of_a_schedule(arguments):
    with pytest.raises(ValueError, match=f"`{next(iter(arguments))}`"):
        WarmUpThenDecay(0.01, **arguments)


@pytest.mark.parametrize(
    "arguments",
    [{"schedule": 0.01}, {"schedule": None}, {"first_step": 0}, {"warmup_steps": 2.5}],
)
def test_bad_arguments_of_a_schedule_that_rises_again(arguments):
    valid = {"schedule": WarmUpThenDecay(0.01), "first_step": 5, "warmup_steps": 3}
    with pytest.raises(ValueError, match=f"`{next(iter(arguments))}`"):
        WarmUpAgain(**{**valid, **arguments})
