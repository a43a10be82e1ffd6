"""The model as Keras users meet it: dropped labels, precision, serialization."""

import json

import keras
import numpy as np
import pytest
import tiny
from keras import ops
from tiny import IMAGES, LABELS

from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus


def test_dropped_labels_are_no_label_in_the_given_share():
    """Each image has the parameters of its label, or those of "no label"."""
    model = PixelCNNPlusPlus(
        (1, 1, 1), 2, filters=2, num_resolutions=1, num_mixtures=1, conditioning="embedding",
        dropout_rate=0.0, label_dropout_rate=0.3,
    )  # fmt: skip
    count = 4000
    images = np.zeros((count, 1, 1, 1), "uint8")

    def parameters(label, training=False):
        inputs = {"image": images, "label": np.full((count, 1), label)}
        return ops.convert_to_numpy(model(inputs, training=training)).reshape(count, -1)

    trained, given, without = parameters(1, training=True), parameters(1), parameters(2)
    dropped, kept = (np.all(np.abs(trained - each) < 1e-6, axis=1) for each in (without, given))
    assert np.all(dropped != kept)
    assert dropped.mean() == pytest.approx(0.3, abs=5 * np.sqrt(0.21 / count))


def test_mixed_precision_keeps_likelihood_and_probabilities_in_float32(hybrid):
    mixed = PixelCNNPlusPlus.from_config({**hybrid.get_config(), "dtype": "mixed_bfloat16"})
    mixed.set_weights(hybrid.get_weights())
    assert {variable.dtype for variable in mixed.trainable_variables} == {"float32"}
    assert mixed.network.rows_above.down_blocks[0][0].input_conv.compute_dtype == "bfloat16"
    images = ops.convert_to_tensor(IMAGES)
    parameters = mixed({"image": images, "label": ops.convert_to_tensor(LABELS)})
    for result in (parameters, mixed.log_likelihood(parameters, images)):
        assert keras.backend.standardize_dtype(result.dtype) == "float32"
    expected = hybrid.log_prob(IMAGES, LABELS)
    difference = mixed.log_prob(IMAGES, LABELS) - expected
    assert 0 < np.abs(difference).max() < 0.05 * np.abs(expected).max()
    probabilities = hybrid.class_probabilities(IMAGES)
    for received in (mixed.predict(IMAGES, verbose=0), ops.convert_to_numpy(mixed(images))):
        assert received.dtype == np.float32
        np.testing.assert_allclose(received, probabilities, atol=0.2)
        np.testing.assert_allclose(received.sum(axis=1), 1, rtol=1e-5)


def test_a_file_keeps_the_precision(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = tiny.tiny_model()
    model.save(tmp_path / "model.keras")
    expected = model.log_prob(IMAGES, LABELS)
    keras.config.set_dtype_policy("float32")
    restored = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(restored.log_prob(IMAGES, LABELS), expected)


@pytest.mark.torch
@pytest.mark.tensorflow
def test_float16_trains_with_averages():
    model = tiny.untrained_model(dtype="mixed_float16", dropout_rate=0.0)
    model.compile(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5))
    data = {"image": IMAGES, "label": LABELS}
    history = model.fit(data, epochs=30, batch_size=12, verbose=0).history["loss"]
    assert history[-1] < history[0]
    averaged = -model.log_prob(IMAGES, LABELS).mean() / (16 * np.log(2))
    assert averaged == pytest.approx(history[-1], rel=0.05)


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
