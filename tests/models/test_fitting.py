"""`fit`, `evaluate` and the initialization from data."""

import keras
import numpy as np
import pytest
import tiny
from keras import ops

from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus

SPLIT = tiny.tiny_split(12)
IMAGES, LABELS = SPLIT.images, SPLIT.labels
DIMENSIONS = 16


def test_fit_lowers_the_loss_and_initializes_once(monkeypatch):
    model = tiny.untrained_model()
    calls = []
    original = PixelCNNPlusPlus.initialize
    monkeypatch.setattr(
        PixelCNNPlusPlus,
        "initialize",
        lambda self, *arguments: calls.append(arguments) or original(self, *arguments),
    )
    model.compile(optimizer=keras.optimizers.Adam(0.01))
    data = {"image": IMAGES, "label": LABELS}
    history = model.fit(data, epochs=8, batch_size=12, verbose=0).history
    assert history.keys() == {"loss", "bits_per_dim"}
    assert history["loss"][-1] < history["loss"][0]
    assert len(calls) == 1
    assert int(model._initialized) == 1
    # All of them, in another order.
    assert sorted(map(bytes, calls[0][0])) == sorted(map(bytes, IMAGES))
    model.fit(data, epochs=1, batch_size=12, verbose=0)
    assert len(calls) == 1
    result = model.evaluate(data, batch_size=12, verbose=0, return_dict=True)
    bits = -model.log_prob(IMAGES, LABELS) / (DIMENSIONS * np.log(2))
    assert result["bits_per_dim"] == pytest.approx(bits.mean(), rel=1e-5)
    assert result["loss"] == pytest.approx(bits.mean(), rel=1e-5)


def test_losses_of_regularizers_and_add_loss_count():
    model = tiny.untrained_model()
    model.compile("sgd")
    model.initialize(IMAGES, LABELS)
    plain = model.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
    model.network.head.bias.regularizer = keras.regularizers.L2(0.5)
    model.test_function = None
    more = model.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
    added = 0.5 * np.sum(ops.convert_to_numpy(model.network.head.bias) ** 2)
    assert added > 0.01
    assert more["loss"] - plain["loss"] == pytest.approx(added, rel=1e-4)
    assert more["bits_per_dim"] == plain["bits_per_dim"]


def test_arguments_in_keras_order():
    """Of `fit` and `evaluate`, as far as the validation data, and by name."""
    model = tiny.tiny_model()
    model.compile("sgd")
    steps = []
    count = keras.callbacks.LambdaCallback(on_train_batch_end=lambda step, logs: steps.append(step))
    given = (IMAGES, LABELS, 4, 2, 0, [count], 0.0, (IMAGES[:6], LABELS[:6]), False)
    history = model.fit(*given, initial_epoch=1).history
    assert steps == [0, 1, 2]
    assert len(history["val_loss"]) == 1
    loss, bits = model.evaluate(IMAGES, LABELS, 12, 0)[:2]
    assert loss == pytest.approx(bits)
    np.testing.assert_allclose(model.predict(IMAGES, 5, 0), model.class_probabilities(IMAGES), 1e-4)
    with pytest.raises(TypeError):
        model.fit(IMAGES, LABELS, epoch=1)
