import keras
import numpy as np
import pytest

from keras_pixelcnnpp.data.batches import ArrayBatches, feed

INPUTS = {"image": np.arange(21).reshape(7, 3), "label": np.arange(7)}


def test_arrays_are_cut_in_their_order():
    batches = [batch for (batch,) in ArrayBatches(INPUTS, 3)]
    assert [len(batch["image"]) for batch in batches] == [3, 3, 1]
    for name, array in INPUTS.items():
        np.testing.assert_array_equal(np.concatenate([b[name] for b in batches]), array)


class _Sum(keras.Model):
    """What it was given, so that what arrives can be compared."""

    def call(self, inputs):
        return keras.ops.sum(inputs["image"], axis=1) + 1000 * inputs["label"]


def test_predict_sees_the_same_batches():
    model = _Sum()
    model.compile(run_eagerly=keras.backend.backend() != "jax")
    expected = INPUTS["image"].sum(axis=1) + 1000 * INPUTS["label"]
    for _ in range(2):
        received = model.predict(feed(ArrayBatches(INPUTS, 3)), verbose=0)
        np.testing.assert_array_equal(received, expected)


@pytest.mark.tensorflow
def test_every_epoch_starts_again_and_its_length_is_known():
    dataset = feed(ArrayBatches(INPUTS, 3))
    assert int(dataset.cardinality()) == 3
    for _ in range(2):
        labels = np.concatenate([batch["label"] for (batch,) in dataset.as_numpy_iterator()])
        np.testing.assert_array_equal(labels, INPUTS["label"])


@pytest.mark.tensorflow
def test_the_pipeline_is_not_tuned():
    assert feed(ArrayBatches(INPUTS, 3)).options().autotune.enabled is False


@pytest.mark.jax
@pytest.mark.torch
def test_elsewhere_batches_are_left_alone():
    batches = ArrayBatches(INPUTS, 3)
    assert feed(batches) is batches
