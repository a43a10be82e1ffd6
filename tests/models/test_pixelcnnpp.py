"""The model as Keras users meet it: loss, metrics, precision, serialization."""

import json

import keras
import numpy as np
import pytest
import tiny
from keras import ops
from scipy.special import log_softmax

from keras_pixelcnnpp.conditioning import STRATEGIES
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus

SPLIT = tiny.tiny_split(12)
IMAGES, LABELS = SPLIT.images, SPLIT.labels
DIMENSIONS = 16
# Every class, the true one first.
CANDIDATES = np.stack([(LABELS + shift) % 3 for shift in range(3)], axis=1).astype("int32")


def loss_and_metrics(model, inputs):
    """`compute_loss` and the metrics that it updates."""
    model.compile(optimizer="sgd")
    model.reset_metrics()
    parameters = model(inputs, training=False)
    loss = model.compute_loss(x=inputs, y_pred=parameters)
    metrics = {name: float(value) for name, value in model.get_metrics_result().items()}
    metrics.pop("loss")  # `train_step` updates it
    return float(ops.convert_to_numpy(loss)), metrics


# --- loss


def test_loss_is_bits_per_dim(model):
    loss, metrics = loss_and_metrics(model, {"image": IMAGES, "label": LABELS})
    log_probs = model.log_prob(IMAGES, LABELS).astype("float64")
    expected = -log_probs.mean() / (DIMENSIONS * np.log(2))
    assert loss == pytest.approx(expected, rel=1e-5)
    assert metrics.keys() == {"bits_per_dim"}
    assert metrics["bits_per_dim"] == pytest.approx(expected, rel=1e-5)


def test_loss_with_candidates_adds_the_cross_entropy(hybrid):
    loss, metrics = loss_and_metrics(hybrid, {"image": IMAGES, "label": CANDIDATES})
    scores = hybrid.class_log_likelihoods(IMAGES).astype("float64")
    log_posterior = log_softmax(0.3 * scores + [0.1, -0.2, 0.4], axis=1)
    cross_entropy = -log_posterior[np.arange(12), LABELS]
    bits = -scores[np.arange(12), LABELS] / (DIMENSIONS * np.log(2))
    assert loss == pytest.approx((bits + 0.7 * cross_entropy).mean(), rel=1e-4)
    assert metrics["bits_per_dim"] == pytest.approx(bits.mean(), rel=1e-5)
    assert metrics["cross_entropy"] == pytest.approx(cross_entropy.mean(), rel=1e-4)
    accuracy = (scores * 0.3 + [0.1, -0.2, 0.4]).argmax(axis=1) == LABELS
    assert metrics["accuracy"] == pytest.approx(accuracy.mean())


def test_dropped_labels_are_no_label():
    """With nearly all labels dropped, training sees what the label `num_classes` gives."""
    model = tiny.random_model(label_dropout_rate=0.999, dropout_rate=0.0)
    inputs = {"image": IMAGES, "label": CANDIDATES}
    trained = ops.convert_to_numpy(model(inputs, training=True))
    without = ops.convert_to_numpy(model({"image": IMAGES, "label": np.full((12, 3), 3)}))
    np.testing.assert_allclose(trained, without, rtol=1e-5, atol=1e-6)
    given = ops.convert_to_numpy(model(inputs, training=False))
    assert np.abs(given - without).max() > 1e-2


def test_share_of_dropped_labels():
    model = PixelCNNPlusPlus(
        (1, 1, 1), 2, filters=2, num_resolutions=1, num_mixtures=1, conditioning="embedding",
        dropout_rate=0.0, label_dropout_rate=0.3,
    )  # fmt: skip
    count = 4000
    inputs = {"image": np.zeros((count, 1, 1, 1), "uint8"), "label": np.ones(count, "int32")}
    trained = ops.convert_to_numpy(model(inputs, training=True)).reshape(count, -1)
    given = ops.convert_to_numpy(model(inputs, training=False)).reshape(count, -1)
    dropped = np.any(np.abs(trained - given) > 1e-6, axis=1).mean()
    assert dropped == pytest.approx(0.3, abs=5 * np.sqrt(0.21 / count))


# --- precision


def test_mixed_precision_keeps_the_likelihood_in_float32():
    exact = tiny.random_model()
    mixed = tiny.untrained_model(dtype="mixed_bfloat16")
    mixed.set_weights(exact.get_weights())
    assert {variable.dtype for variable in mixed.trainable_variables} == {"float32"}
    inputs = {"image": ops.convert_to_tensor(IMAGES), "label": ops.convert_to_tensor(CANDIDATES)}
    parameters = mixed(inputs)
    assert keras.backend.standardize_dtype(parameters.dtype) == "float32"
    likelihood = mixed.log_likelihood(parameters, inputs["image"])
    assert keras.backend.standardize_dtype(likelihood.dtype) == "float32"
    assert mixed.network.rows_above.down_blocks[0][0].input_conv.compute_dtype == "bfloat16"
    expected = exact.log_prob(IMAGES, LABELS)
    difference = mixed.log_prob(IMAGES, LABELS) - expected
    assert 0 < np.abs(difference).max() < 0.05 * np.abs(expected).max()


def test_mixed_precision_trains_samples_and_saves(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = tiny.untrained_model()
    model.compile(optimizer=keras.optimizers.Adam(0.01))
    data = {"image": IMAGES, "label": LABELS}
    history = model.fit(data, epochs=5, batch_size=12, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    images = model.sample(LABELS)
    assert set(np.unique(images)) <= {0, 64, 128, 191, 255}
    model.save(tmp_path / "model.keras")
    expected = model.log_prob(IMAGES, LABELS)
    keras.config.set_dtype_policy("float32")
    restored = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(restored.log_prob(IMAGES, LABELS), expected)


@pytest.mark.torch
@pytest.mark.tensorflow
def test_float16_trains_with_averages():
    model = tiny.untrained_model(dtype="mixed_float16", dropout_rate=0.0)
    model.compile(keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.5))
    data = {"image": IMAGES, "label": LABELS}
    history = model.fit(data, epochs=30, batch_size=12, verbose=0).history["loss"]
    assert history[-1] < history[0]
    averaged = -model.log_prob(IMAGES, LABELS).mean() / (DIMENSIONS * np.log(2))
    assert averaged == pytest.approx(history[-1], rel=0.05)


# --- serialization


def test_save_and_load(tmp_path):
    strategies = "+".join(STRATEGIES)
    model = tiny.random_model(conditioning=strategies, label_loss_weight=0.5, dropout_rate=0.0)
    model.compile(optimizer=keras.optimizers.Adam(0.01))
    model.fit(IMAGES, LABELS, epochs=1, batch_size=12, verbose=0)
    model.save(tmp_path / "model.keras")
    restored = keras.models.load_model(tmp_path / "model.keras")
    assert restored.get_config() == model.get_config()
    np.testing.assert_array_equal(
        restored.class_probabilities(IMAGES), model.class_probabilities(IMAGES)
    )
    assert int(restored._initialized) == 1
    # The optimizer too: the next step is the same.
    for each in (model, restored):
        each.fit(IMAGES, LABELS, epochs=1, batch_size=12, verbose=0)
    assert int(restored.optimizer.iterations) == 2
    for value, expected in zip(restored.weights, model.weights, strict=True):
        np.testing.assert_allclose(
            ops.convert_to_numpy(value), ops.convert_to_numpy(expected), rtol=1e-5, atol=1e-7
        )


def test_paths_of_weights_are_unique():
    """Whoever keeps weights by path must not lose any."""
    model = tiny.untrained_model(conditioning="+".join(STRATEGIES), num_resolutions=2)
    paths = [variable.path for variable in model.trainable_variables]
    assert len(set(paths)) == len(paths)


@pytest.mark.once
def test_numpys_numbers_are_numbers():
    """As from a grid of them, or `labels.max() + 1`; and a file of the configuration holds them."""
    given = tiny.tiny_model(
        num_classes=np.int64(3), filters=np.array([4]), label_loss_weight=np.float32(0.1)
    ).get_config()
    assert json.loads(json.dumps(given))["label_loss_weight"] == float(np.float32(0.1))
    assert (given["num_classes"], given["filters"]) == (3, (4,))
    baseline = BaselineCNN(np.array([4, 4, 1]), np.int64(3), np.array([4]))
    assert json.loads(json.dumps(baseline.get_config()))["filters"] == [4]


@pytest.mark.parametrize("call", ["predict", "call"])
def test_mixed_precision_classifies(hybrid, call):
    mixed = type(hybrid).from_config({**hybrid.get_config(), "dtype": "mixed_bfloat16"})
    mixed.set_weights(hybrid.get_weights())
    received = mixed.predict(IMAGES, verbose=0) if call == "predict" else mixed(IMAGES)
    received = ops.convert_to_numpy(received)
    assert received.dtype == np.float32
    np.testing.assert_allclose(received, hybrid.class_probabilities(IMAGES), atol=0.2)
    np.testing.assert_allclose(received.sum(axis=1), 1, rtol=1e-5)
