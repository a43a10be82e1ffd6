"""Pictures without a label: what they add to the loss, against float64 NumPy and enumeration."""

import enumeration
import keras
import numpy as np
import pytest
import tiny
from keras import ops
from scipy.special import log_softmax, logsumexp

SPLIT = tiny.tiny_split(12)
IMAGES, LABELS = SPLIT.images, SPLIT.labels
LABELLED = np.arange(12) % 4 > 1
# Every class: the true one first, or -1 in the place of 0 and the others in some order.
CANDIDATES = np.stack([(LABELS + shift) % 3 for shift in range(3)], axis=1).astype("int32")
CANDIDATES[~LABELLED] = [[-1, 1, 2], [-1, 2, 1]] * 3
INPUTS = {"image": IMAGES, "label": CANDIDATES}
OFFSETS = np.array([0.1, -0.2, 0.4])
WEIGHTS = np.arange(12) % 3 + 0.5


@pytest.fixture(scope="module")
def model():
    model = tiny.random_model(label_loss_weight=0.7, dropout_rate=0.0, unlabelled_weight=0.25)
    model.posterior.log_temperature.assign(np.log(0.3))
    model.posterior.offsets.assign([*OFFSETS, 0.0])
    model.compile(keras.optimizers.SGD(0.0))
    return model


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_loss_and_metrics(model, weights):
    scores = model.class_log_likelihoods(IMAGES).astype("float64")
    own = scores[np.arange(12), LABELS]
    of_none = logsumexp(scores, axis=1) - np.log(3)
    bits = -np.where(LABELLED, own, of_none) / (16 * np.log(2))
    logits = 0.3 * scores + OFFSETS
    cross_entropy = -log_softmax(logits, axis=1)[np.arange(12), LABELS]
    losses = np.where(LABELLED, bits + 0.7 * cross_entropy, 0.25 * bits)
    given = np.ones(12) if weights is None else weights
    for batch_size in (12, 5):
        result = model.evaluate(
            INPUTS, batch_size=batch_size, sample_weight=weights, verbose=0, return_dict=True
        )
        expected = {
            "loss": np.mean(losses * given),
            "bits_per_dim": np.average(bits, weights=given),
            "cross_entropy": np.average(cross_entropy, weights=given * LABELLED),
            "accuracy": np.average(logits.argmax(axis=1) == LABELS, weights=given * LABELLED),
        }
        assert result == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("image_shape", [(2, 2, 1), (1, 2, 2)])
def test_is_the_law_of_all_pictures(image_shape):
    model = enumeration.enumerable_model(image_shape, unlabelled_weight=1.0)
    pictures = enumeration.all_pictures(image_shape)
    inputs = {"image": pictures, "label": np.tile([[-1, 1]], (256, 1))}
    model.compile("sgd")
    result = model.evaluate(inputs, batch_size=256, verbose=0, return_dict=True)
    law = logsumexp([enumeration.log_law(model, label) for label in (0, 1)], axis=0) - np.log(2)
    assert np.exp(law).sum() == pytest.approx(1)
    assert result["loss"] == pytest.approx(-law.mean() / (4 * np.log(2)), rel=1e-5)
    assert result["accuracy"] == 0  # of no picture


def gradients(model, inputs):
    """What a step of SGD with rate 1 takes from each weight."""
    before = model.get_weights()
    model.compile(keras.optimizers.SGD(1.0))
    model.fit(inputs, batch_size=len(inputs["image"]), verbose=0)
    after = model.get_weights()
    model.set_weights(before)
    return [b - a for b, a in zip(before, after, strict=True)]


def test_gradient_is_that_of_the_posterior_mean():
    """The gradient of log p(x) is that of log p(x | y), weighted by p(y | x)."""
    model = enumeration.enumerable_model(
        dropout_rate=0.0, label_dropout_rate=0.0, unlabelled_weight=1.0
    )
    image = enumeration.all_pictures()[91:92]
    received = gradients(model, {"image": image, "label": np.array([[-1, 1]])})
    posterior = np.exp([enumeration.log_law(model, label)[91] for label in (0, 1)])
    posterior /= posterior.sum()
    assert posterior.min() > 0.05
    each = [gradients(model, {"image": image, "label": np.array([label])}) for label in (0, 1)]
    for index, gradient in enumerate(received):
        expected = sum(p * of_class[index] for p, of_class in zip(posterior, each, strict=True))
        np.testing.assert_allclose(gradient, expected, atol=2e-4 * max(1, np.abs(expected).max()))


def test_fit_learns_from_them_alone():
    model = tiny.untrained_model(unlabelled_weight=1.0)
    model.compile(keras.optimizers.Adam(0.01))
    inputs = {"image": IMAGES, "label": np.tile([[-1, 1, 2]], (12, 1))}
    history = model.fit(inputs, epochs=8, batch_size=12, verbose=0, validation_data=inputs).history
    assert history["val_loss"][-1] < history["val_loss"][0]
    assert history["loss"] == pytest.approx(history["bits_per_dim"])


def test_without_a_label_dropped_labels_are_dropped_too():
    model = tiny.random_model(label_dropout_rate=0.999, dropout_rate=0.0, unlabelled_weight=1.0)
    inputs = {"image": IMAGES, "label": CANDIDATES}
    trained = ops.convert_to_numpy(model(inputs, training=True))
    without = ops.convert_to_numpy(model({"image": IMAGES, "label": np.full((12, 3), 3)}))
    np.testing.assert_allclose(trained, without, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("weight", "labels"),
    [
        (0.0, CANDIDATES),
        (0.25, CANDIDATES[:, 0]),
        (0.25, CANDIDATES[:, :2]),
        (0.25, np.tile([[-1, 0, 2]], (12, 1))),
        (0.25, np.tile([[-1, 1, 1]], (12, 1))),
        (0.25, np.tile([[1, -1, 2]], (12, 1))),
        (0.25, np.full((12, 3), -1)),
    ],
)
def test_rows_that_say_nothing(weight, labels):
    model = tiny.untrained_model(unlabelled_weight=weight)
    model.compile("sgd")
    message = f"-1, a picture without a label.* -1 and the classes 1 to 2.*weight={weight}"
    with pytest.raises(ValueError, match=message):
        model.fit({"image": IMAGES, "label": labels}, verbose=0)


def test_labelled_rows_are_checked_as_ever():
    model = tiny.untrained_model(unlabelled_weight=1.0)
    model.compile("sgd")
    for row, message in (([0, 0, 1], "same label twice"), ([0, 1, 3], "from 0 to 2")):
        labels = CANDIDATES.copy()
        labels[LABELLED] = row
        with pytest.raises(ValueError, match=message):
            model.fit({"image": IMAGES, "label": labels}, verbose=0)
    with pytest.raises(ValueError, match="`unlabelled_weight`"):
        tiny.untrained_model(unlabelled_weight=-1.0)
