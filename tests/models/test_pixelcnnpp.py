"""Tests of `PixelCNNPlusPlus` as a Keras model: precision and serialization."""

import json

import keras
import numpy as np
import pytest
import tiny
from keras import ops
from tiny import IMAGES, LABELS

from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus


def test_mixed_precision_keeps_likelihood_and_probabilities_in_float32(hybrid):
    mixed = PixelCNNPlusPlus.from_config({**hybrid.get_config(), "dtype": "mixed_bfloat16"})
    mixed.set_weights(hybrid.get_weights())
    assert {variable.dtype for variable in mixed.trainable_variables} == {"float32"}
    assert mixed.network.vertical_stack.down_blocks[0][0].input_conv.compute_dtype == "bfloat16"
    images = ops.convert_to_tensor(IMAGES)
    labels = ops.convert_to_tensor(LABELS[:, None])
    for result in (mixed.pixel_parameters(images, labels), mixed.log_likelihood(images, labels)):
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
    history = model.fit(IMAGES, LABELS, epochs=30, batch_size=12, verbose=0).history["loss"]
    assert history[-1] < history[0]
    averaged = -model.log_prob(IMAGES, LABELS).mean() / (16 * np.log(2))
    assert averaged == pytest.approx(history[-1], rel=0.05)


@pytest.mark.once
def test_numpys_numbers_are_numbers():
    """NumPy numbers, such as `labels.max() + 1`, are accepted and can be serialized."""
    given = tiny.tiny_model(
        num_classes=np.int64(3), filters=np.array([4]), label_loss_weight=np.float32(0.1)
    ).get_config()
    assert json.loads(json.dumps(given))["label_loss_weight"] == float(np.float32(0.1))
    assert (given["num_classes"], given["filters"]) == (3, (4,))
    baseline = BaselineCNN(np.array([4, 4, 1]), np.int64(3), np.array([4]))
    assert json.loads(json.dumps(baseline.get_config()))["filters"] == [4]
