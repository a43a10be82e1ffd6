"""Candidate labels in training: random choice, loss, and epochs without cross-entropy."""

import keras
import numpy as np
import pytest
import tiny
from keras import ops
from scipy.special import log_softmax
from scipy.stats import chisquare
from tiny import IMAGES, LABELS

from keras_pixelcnnpp import LikelihoodFirst
from keras_pixelcnnpp.models.loss import choose_candidates
from keras_pixelcnnpp.optimizers import variable_value
from keras_pixelcnnpp.train.checkpoints import Checkpoints, Progress


def chosen(model, labels, count):
    labels = ops.convert_to_tensor(labels)
    return ops.convert_to_numpy(
        choose_candidates(labels, count, model.num_classes, model.seed_generator)
    )


def test_the_true_label_comes_first_and_the_others_are_equally_likely():
    keras.utils.set_random_seed(0)
    model = tiny.untrained_model(num_classes=6)
    labels = np.arange(6000, dtype="int32") % 6
    rows = chosen(model, labels, 3)
    np.testing.assert_array_equal(rows[:, 0], labels)
    assert all(len(set(row)) == 3 for row in rows.tolist())
    assert set(rows.ravel().tolist()) == set(range(6))
    for place in (1, 2):
        counts = np.zeros((6, 6))
        np.add.at(counts, (labels, rows[:, place]), 1)
        assert chisquare(counts[~np.eye(6, dtype=bool)], ddof=5).pvalue > 1e-3
    assert np.any(chosen(model, labels, 3) != rows)


def test_as_many_candidates_as_classes_are_all_of_them():
    model = tiny.untrained_model()
    rows = chosen(model, np.array([2, 0], "int32"), 3)
    np.testing.assert_array_equal(rows, [[2, 0, 1], [0, 1, 2]])


@pytest.fixture(scope="module")
def model():
    """A model that compares two labels and has a learning rate of 0."""
    options = {"initial_logit_scale": 1.0, "num_candidates": 2, "dropout_rate": 0.0}
    model = tiny.tiny_model(label_loss_weight=0.7, **options)
    model.posterior.class_bias.assign([0.1, -0.2, 0.4])
    model.compile(keras.optimizers.SGD(0.0))
    return model


def test_loss_of_a_step_and_its_candidates_come_back_with_a_checkpoint(model, tmp_path):
    checkpoints = Checkpoints(tmp_path)
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
        rows = chosen(model, LABELS, 2)
        cross_entropy = -log_softmax(np.take_along_axis(logits, rows, axis=1), axis=1)[:, 0]
        assert loss == pytest.approx(np.mean(bits + 0.7 * cross_entropy), rel=1e-4)
    assert losses[0] != pytest.approx(losses[1], rel=1e-4)


def fresh():
    keras.utils.set_random_seed(0)
    model = tiny.untrained_pixelcnn(label_loss_weight=0.5, num_candidates=2)
    model.compile(keras.optimizers.SGD(0.01))
    return model


def test_an_interrupted_fit_and_a_file_keep_the_weight(tmp_path):
    """The weight of the cross-entropy is kept during the epochs without it."""
    model = fresh()

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
    assert "accuracy" not in history
    assert history["loss"][:2] == pytest.approx(history["bits_per_dim"][:2], rel=1e-6)
    assert history["loss"][2] > history["bits_per_dim"][2]

    two.label_loss_weight = 0.0  # takes effect without `compile`
    two.fit(**how, epochs=2)
    two.label_loss_weight = 0.5
    two.fit(**how, initial_epoch=2, epochs=4)
    assert two.label_loss_weight == one.label_loss_weight == 0.5
    pairs = zip(two.trainable_variables, one.trainable_variables, strict=True)
    for variable, expected in [(two.seed_generator.state, one.seed_generator.state), *pairs]:
        value = variable_value(variable)
        np.testing.assert_allclose(value, variable_value(expected), rtol=1e-4, atol=1e-6)
