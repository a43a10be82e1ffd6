import keras
import numpy as np
import pytest
from keras import ops

from keras_pixelcnnpp.optimizers.fused_adam import FusedAdam
from keras_pixelcnnpp.optimizers.warm_up_then_decay import WarmUpThenDecay

SHAPES = ((3, 4), (5,), ())
STEPS = 12


def gradients(step):
    rng = np.random.default_rng(step)
    return [rng.normal(size=shape).astype("float32") for shape in SHAPES]


def adam_in_float64(learning_rate, momentum, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    """Kingma & Ba, section 2, and the moving averages of what it gives."""
    weights = [np.full(shape, 0.5) for shape in SHAPES]
    m, v = ([np.zeros(shape) for shape in SHAPES] for _ in range(2))
    averages = weights
    for step in range(STEPS):
        share = 1 if step == 0 else 1 - momentum
        size = learning_rate(step) * np.sqrt(1 - beta_2 ** (step + 1)) / (1 - beta_1 ** (step + 1))
        pairs = list(zip(m, v, gradients(step), strict=True))
        m = [beta_1 * old + (1 - beta_1) * gradient for old, _, gradient in pairs]
        v = [beta_2 * old + (1 - beta_2) * gradient**2 for _, old, gradient in pairs]
        moved = zip(weights, m, v, strict=True)
        weights = [old - size * up / (np.sqrt(down) + epsilon) for old, up, down in moved]
        both = zip(averages, weights, strict=True)
        averages = [old + share * (new - old) for old, new in both]
    return weights, averages


def run(optimizer, compiled):
    variables = [keras.Variable(np.full(shape, 0.5), name=f"v{len(shape)}") for shape in SHAPES]
    optimizer.build(variables)

    def step(*grads):
        optimizer.apply(list(grads))

    if compiled:
        import tensorflow as tf

        step = tf.function(step)
    for number in range(STEPS):
        step(*(ops.convert_to_tensor(gradient) for gradient in gradients(number)))
    return [
        [ops.convert_to_numpy(variable) for variable in group]
        for group in (variables, getattr(optimizer, "_model_variables_moving_average", ()))
    ]


@pytest.mark.parametrize(
    "compiled", [False, pytest.param(True, marks=pytest.mark.tensorflow)], ids=["eager", "compiled"]
)
def test_weights_and_averages_are_those_of_the_paper(compiled):
    schedule = WarmUpThenDecay(0.02, decay_rate=0.9, warmup_steps=3)
    optimizer = FusedAdam(schedule, use_ema=True, ema_momentum=0.8)
    received = run(optimizer, compiled)
    expected = adam_in_float64(lambda t: 0.02 * 0.9**t * min(1, (t + 1) / 3), momentum=0.8)
    for group, of_paper in zip(received, expected, strict=True):
        for array, truth in zip(group, of_paper, strict=True):
            np.testing.assert_allclose(array, truth, rtol=1e-5, atol=1e-6)


def test_has_the_variables_of_keras_adam():
    def variables(optimizer):
        run(optimizer, compiled=False)
        return [(variable.name, variable.shape) for variable in optimizer.variables]

    assert variables(FusedAdam(use_ema=True)) == variables(keras.optimizers.Adam(use_ema=True))


@pytest.mark.parametrize("clip", [{}, {"global_clipnorm": 0.5}, {"amsgrad": True}])
def test_agrees_with_keras_under_other_arguments(clip):
    received = run(FusedAdam(0.01, **clip), compiled=False)[0]
    expected = run(keras.optimizers.Adam(0.01, **clip), compiled=False)[0]
    for array, truth in zip(received, expected, strict=True):
        np.testing.assert_allclose(array, truth, rtol=1e-5)


@pytest.mark.parametrize("kind", [keras.optimizers.Adam, FusedAdam])
def test_embedding_learns(kind):
    embedding = keras.layers.Embedding(4, 2)
    model = keras.Sequential([embedding, keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile(kind(0.05), loss="mse")
    labels = np.array([[0], [1], [2], [0]])
    history = model.fit(labels, np.array([1.0, 2.0, 3.0, 1.0]), epochs=60, verbose=0)
    assert history.history["loss"][-1] < 0.1 * history.history["loss"][0]


def test_survives_saving():
    optimizer = FusedAdam(WarmUpThenDecay(0.01), beta_1=0.8)
    loaded = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(loaded) is FusedAdam
    assert loaded.get_config() == optimizer.get_config()


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
