"""Tests of `fit`, `evaluate`, the loss in float64 NumPy, and candidate labels."""

import keras
import numpy as np
import pytest
import tiny
from backend_tools import variable_gradients
from keras import ops
from scipy.special import log_softmax, logsumexp
from scipy.stats import chisquare
from tiny import IMAGES, LABELS

from keras_pixelcnnpp import LikelihoodFirst
from keras_pixelcnnpp.conditions.classes import choose_classes
from keras_pixelcnnpp.training.checkpoints import Checkpoints, Progress
from keras_pixelcnnpp.utils.backend import variable_value


def test_a_model_with_averaged_weights_is_evaluated_saved_and_trained_further(tmp_path):
    """JAX deletes the input arrays of a step, which averages must not share."""
    model = tiny.untrained_pixelcnn()
    model.compile(keras.optimizers.SGD(0.1, use_ema=True))
    for _ in range(2):
        model.fit(IMAGES, LABELS, verbose=0)
        model.evaluate(IMAGES, LABELS, verbose=0)
        model.save(tmp_path / "model.keras")
    assert np.isfinite(model.bits_per_dim(IMAGES)).all()


def test_a_training_loop_without_fit_gets_the_gradients_of_what_call_returns():
    model = tiny.tiny_model(tiny.untrained_pixelcnn, dropout_rate=0.0)
    images = ops.convert_to_tensor(IMAGES)
    classes = ops.convert_to_tensor(np.tile(np.arange(3, dtype="int32"), (12, 1)))
    weights = [model.network.head.bias]
    found = variable_gradients(lambda: ops.mean(model(images, training=True)[:, 1]), weights)
    expected = variable_gradients(
        lambda: ops.mean(model.log_likelihood(images, classes)[:, 1]), weights
    )
    assert np.abs(found[0]).max() > 0.1
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4)
    model.compile(keras.optimizers.SGD(0.01))
    model.fit(IMAGES, LABELS, verbose=0)
    assert model(IMAGES, training=True).shape == (12, 3)  # also after Keras's own steps


def test_layers_after_a_model_are_trained_with_it():
    model = tiny.tiny_model(tiny.untrained_pixelcnn, dropout_rate=0.5)
    inputs = keras.Input((4, 4, 1), dtype="uint8")
    whole = keras.Model(inputs, keras.layers.Dense(3)(model(inputs)))
    before = ops.convert_to_numpy(model.network.head.bias).copy()
    # The posterior has no part in the outputs of `call`.
    model.posterior.trainable = False
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    whole.compile(keras.optimizers.SGD(1e-3), loss)
    losses = whole.fit(IMAGES, LABELS, epochs=2, batch_size=6, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert np.abs(ops.convert_to_numpy(model.network.head.bias) - before).max() > 1e-6
    assert whole.predict(IMAGES, verbose=0).shape == (12, 3)


@pytest.mark.once
def test_the_loss_needs_no_outputs_of_the_model(of_two_labels):
    images, labels = ops.convert_to_tensor(IMAGES), ops.convert_to_tensor(LABELS)
    found = of_two_labels.compute_loss(x=images, y=labels, training=False)
    expected = of_two_labels.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)["loss"]
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert np.isfinite(float(of_two_labels.compute_loss(x=images, y=labels)))


@pytest.mark.once
def test_losses_of_regularizers_and_add_loss_count():
    model = tiny.untrained_pixelcnn()
    model.network.head.bias.assign(np.ones(model.network.head.bias.shape))
    model.compile("sgd", run_eagerly=True)
    plain = model.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
    model.network.head.bias.regularizer = keras.regularizers.L2(0.5)
    more = model.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
    added = 0.5 * np.sum(ops.convert_to_numpy(model.network.head.bias) ** 2)
    assert added > 0.01
    assert more["loss"] - plain["loss"] == pytest.approx(added, rel=1e-4)
    assert more["bits_per_dim"] == plain["bits_per_dim"]


@pytest.mark.once
def test_arrays_are_trained_on_as_their_batches_are():
    weights = np.linspace(0, 2, 12)
    model = tiny.untrained_pixelcnn(dropout_rate=0.0)
    model.compile(keras.optimizers.SGD(0.01), run_eagerly=True)
    before, validation = model.get_weights(), (IMAGES[:7], LABELS[:7], weights[:7])
    how = {"validation_data": validation, "shuffle": False, "sample_weight": weights}
    history = model.fit(IMAGES, LABELS, 4, 1, 0, validation_batch_size=2, **how).history
    expected = model.evaluate(*validation[:2], 2, 0, validation[2])[0]
    assert history["val_loss"] == [pytest.approx(expected, rel=1e-5)]
    by_arrays = model.get_weights()
    model.set_weights(before)
    for rows in np.split(np.arange(12), 3):
        model.train_on_batch(IMAGES[rows], LABELS[rows], weights[rows])
    for found, wanted in zip(by_arrays, model.get_weights(), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)


OFFSETS = np.array([0.1, -0.2, 0.4])
WEIGHTS = np.arange(12) % 3 + 0.5


@pytest.mark.parametrize("unlabeled_weight", [pytest.param(0.0, marks=pytest.mark.once), 0.25])
def test_loss_and_metrics(unlabeled_weight):
    options = {"label_loss_weight": 0.7, "unlabeled_weight": unlabeled_weight}
    # Training compares two labels, but `evaluate` compares all.
    options["num_candidates"] = None if unlabeled_weight else 2
    model = tiny.untrained_pixelcnn(dropout_rate=0.0, initial_logit_scale=0.3, **options)
    model.posterior.class_bias.assign(OFFSETS)
    model.compile(keras.optimizers.SGD(0.0))
    labeled = np.arange(12) % 4 > 1 if unlabeled_weight else np.ones(12, bool)
    labels = np.where(labeled, LABELS, -1)
    scores = model.class_log_likelihoods(IMAGES).astype("float64")
    own = scores[np.arange(12), LABELS]
    of_none = logsumexp(scores, axis=1) - np.log(3)
    bits = -np.where(labeled, own, of_none) / (16 * np.log(2))
    logits = 0.3 * scores + OFFSETS
    cross_entropy = -log_softmax(logits, axis=1)[np.arange(12), LABELS]
    losses = np.where(labeled, bits + 0.7 * cross_entropy, unlabeled_weight * bits)
    for weights, batch_size in ((None, 12), (WEIGHTS, 12), (WEIGHTS[:, None], 5)):
        given = np.ones(12) if weights is None else weights.reshape(-1)
        result = model.evaluate(
            IMAGES, labels, batch_size, 0, sample_weight=weights, return_dict=True
        )
        expected = {
            "loss": np.mean(losses * given),
            "bits_per_dim": np.average(bits, weights=given),
            "cross_entropy": np.average(cross_entropy, weights=given * labeled),
            "accuracy": np.average(logits.argmax(axis=1) == LABELS, weights=given * labeled),
        }
        assert result == pytest.approx(expected, rel=1e-4)
    if unlabeled_weight:  # training compares all labels, too
        history = model.fit(IMAGES, labels, batch_size=12, verbose=0).history
        assert history["loss"] == [pytest.approx(np.mean(losses), rel=1e-4)]
    no_labels = model.evaluate(IMAGES, np.full(12, -1), verbose=0, return_dict=True)
    assert no_labels["loss"] == pytest.approx(
        np.mean(-of_none) / (16 * np.log(2)) * (unlabeled_weight or 1), rel=1e-4
    )
    assert np.isnan(no_labels["accuracy"])


def chosen(labels, *how):
    return ops.convert_to_numpy(choose_classes(ops.convert_to_tensor(labels), *how))


def test_the_true_label_comes_first_and_the_others_are_equally_likely():
    seed_generator = keras.random.SeedGenerator(0)
    labels = np.arange(6000, dtype="int32") % 6
    rows = chosen(labels, 6, 3, seed_generator)
    np.testing.assert_array_equal(rows[:, 0], labels)
    assert all(len(set(row)) == 3 for row in rows.tolist())
    assert set(rows.ravel().tolist()) == set(range(6))
    for place in (1, 2):
        counts = np.zeros((6, 6))
        np.add.at(counts, (labels, rows[:, place]), 1)
        assert chisquare(counts[~np.eye(6, dtype=bool)], ddof=5).pvalue > 1e-3
    assert np.any(chosen(labels, 6, 3, seed_generator) != rows)


@pytest.fixture(scope="module")
def of_two_labels():
    """A model that compares two labels and has a learning rate of 0."""
    options = {"initial_logit_scale": 1.0, "num_candidates": 2, "dropout_rate": 0.0}
    model = tiny.tiny_model(tiny.untrained_pixelcnn, label_loss_weight=0.7, **options)
    model.posterior.class_bias.assign([0.1, -0.2, 0.4])
    model.compile(keras.optimizers.SGD(0.0))
    return model


def test_loss_of_a_step_and_its_candidates_come_back_with_a_checkpoint(of_two_labels, tmp_path):
    model, checkpoints = of_two_labels, Checkpoints(tmp_path)
    scores = model.class_log_likelihoods(IMAGES).astype("float64")
    how = {"batch_size": 12, "epochs": 2, "shuffle": False, "verbose": 0}
    model.fit(IMAGES, LABELS, **how)
    checkpoints.save(model, Progress(2))
    losses = model.fit(IMAGES, LABELS, **how).history["loss"]
    checkpoints.restore(model)
    assert model.fit(IMAGES, LABELS, **how).history["loss"] == losses
    checkpoints.restore(model)
    bits = -scores[np.arange(12), LABELS] / (16 * np.log(2))
    logits = scores + np.array([0.1, -0.2, 0.4])
    for loss in losses:
        rows = chosen(LABELS, 3, 2, model.seed_generator)
        cross_entropy = -log_softmax(np.take_along_axis(logits, rows, axis=1), axis=1)[:, 0]
        assert loss == pytest.approx(np.mean(bits + 0.7 * cross_entropy), rel=1e-4)
    assert losses[0] != pytest.approx(losses[1], rel=1e-4)


def fresh(run_eagerly=False):
    keras.utils.set_random_seed(0)
    model = tiny.untrained_pixelcnn(label_loss_weight=0.5, num_candidates=2)
    model.compile(keras.optimizers.SGD(0.01), run_eagerly=run_eagerly)
    return model


@pytest.mark.once
def test_an_interrupted_fit_and_a_file_keep_the_weight(tmp_path):
    """The weight of the cross-entropy is kept during the epochs without it."""
    model = fresh(run_eagerly=True)

    class Interrupted(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            assert np.isnan(logs["candidate_accuracy"])
            self.model.save(tmp_path / "model.keras")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(IMAGES, LABELS, callbacks=[LikelihoodFirst(2), Interrupted()], verbose=0)
    assert model.label_loss_weight == 0.5
    assert np.isfinite(model.fit(IMAGES, LABELS, verbose=0).history["candidate_accuracy"]).all()
    assert "accuracy" in model.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
    assert keras.models.load_model(tmp_path / "model.keras").label_loss_weight == 0.5


def test_likelihood_first_in_one_fit_or_two():
    one, two = fresh(), fresh()
    data = {"x": IMAGES, "y": LABELS, "validation_data": (IMAGES, LABELS)}
    how = {**data, "batch_size": 12, "shuffle": False, "verbose": 0}
    history = one.fit(**how, epochs=4, callbacks=[LikelihoodFirst(2)]).history
    # Logs have the same names in every epoch, and one name per quantity.
    assert {len(values) for values in history.values()} == {4}
    assert np.isnan(history["candidate_accuracy"]).tolist() == [True, True, False, False]
    assert np.isfinite(history["val_cross_entropy"]).all()
    of_cross_entropy = np.subtract(history["val_loss"], history["val_bits_per_dim"])
    np.testing.assert_allclose(of_cross_entropy, 0.5 * np.array(history["val_cross_entropy"]), 1e-4)
    assert "accuracy" not in history
    assert history["loss"][:2] == pytest.approx(history["bits_per_dim"][:2], rel=1e-6)
    assert history["loss"][2] > history["bits_per_dim"][2]

    two.fit(**how, epochs=2, callbacks=[LikelihoodFirst(3)])
    two.fit(**how, initial_epoch=2, epochs=4)  # the phase ends with its `fit`
    assert two.label_loss_weight == one.label_loss_weight == 0.5
    pairs = zip(two.trainable_variables, one.trainable_variables, strict=True)
    for variable, expected in [(two.seed_generator.state, one.seed_generator.state), *pairs]:
        value = variable_value(variable)
        np.testing.assert_allclose(value, variable_value(expected), rtol=1e-4, atol=1e-6)
