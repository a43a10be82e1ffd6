import os
import pickle
import random

import numpy as np
import pytest
import tiny
from command_line import read_rows
from layer_checks import flat_weights
from scipy.optimize import minimize
from scipy.special import softmax
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import cross_val_score
from sklearn.utils import estimator_checks
from sklearn.utils.validation import check_is_fitted

from keras_pixelcnnpp.estimators.classifiers import PixelCNNClassifier
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
from keras_pixelcnnpp.training import train as training
from keras_pixelcnnpp.training.optimizers import LikelihoodFirst
from keras_pixelcnnpp.training.train import fit_class_bias, refit_class_bias, stratified_rows
from keras_pixelcnnpp.utils.files import write_predictions

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def classifier(trained):
    return PixelCNNClassifier(trained)


def test_behaves_as_a_fitted_classifier(classifier):
    split = tiny.tiny_split(30)
    check_is_fitted(classifier)
    probabilities = classifier.predict_proba(split.images)
    assert probabilities == pytest.approx(classifier.model.class_probabilities(split.images))
    right = probabilities.argmax(axis=1) == split.labels
    assert classifier.score(split.images, split.labels) == right.mean()
    for same in (split.images.reshape(30, 16), split.images[..., 0]):
        np.testing.assert_array_equal(classifier.predict_proba(same), probabilities)
    for other in (split.images.reshape(30, 2, 8, 1), split.images.reshape(60, 8)):
        with pytest.raises(ValueError, match="Invalid images"):
            classifier.predict(other)


def test_trained_model_is_not_scored_as_if_it_had_been_fitted(classifier):
    split = tiny.tiny_split(30)
    with pytest.raises(ValueError, match=r"already trained.*preset=.*FrozenEstimator"):
        classifier.fit(split.images, split.labels)
    scores = cross_val_score(FrozenEstimator(classifier), split.images, split.labels, cv=3)
    assert scores.mean() == pytest.approx(classifier.score(split.images, split.labels))


SMALL = {**tiny.MODEL, "num_levels": 5, "dropout_rate": 0.0}
del SMALL["label_loss_weight"]  # use the value of the preset
LIKELIHOOD = {**SMALL, "label_loss_weight": 0.0}


def untrained(**arguments):
    options = {"preset": "digits", "batch_size": 12, "epochs": 6, "learning_rate": 0.03}
    return PixelCNNClassifier(**{**options, "model_options": SMALL, **arguments})


class SmallClassifier(PixelCNNClassifier):
    """Takes rows of features as images with one row, and learns too little to be accurate."""

    def __init__(self, image_shape=(1, -1, 1), batch_size=300):
        super().__init__(
            image_shape=image_shape,
            batch_size=batch_size,
            preset="digits",
            epochs=1,
            model_options={**SMALL, "filters": 2, "num_levels": 256},
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True
        return tags


NO_IMAGES = "gives floats or objects, and images are integers"
EXPECTED_FAILED_CHECKS = {
    "check_classifier_data_not_an_array": NO_IMAGES,
    "check_classifiers_one_label_sample_weights": NO_IMAGES,
    "check_dtype_object": NO_IMAGES,
    "check_estimators_dtypes": NO_IMAGES,
    "check_positive_only_tag_during_fit": NO_IMAGES,
    "check_sample_weight_equivalence_on_dense_data": NO_IMAGES,
    "check_sample_weights_not_an_array": NO_IMAGES,
    "check_sample_weights_not_overwritten": NO_IMAGES,
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Even though")  # tf.data pipelines are not run eagerly
@estimator_checks.parametrize_with_checks(
    [SmallClassifier()], expected_failed_checks=lambda _: EXPECTED_FAILED_CHECKS
)
def test_scikit_learns_checks_of_estimators(estimator, check, monkeypatch):
    """The checks test the estimator, not its accuracy, so the model is not trained."""
    import tensorflow as tf

    monkeypatch.setattr(PixelCNNPlusPlus, "fit", lambda *_, **__: None)
    # Tracing would take longer than the computation.
    tf.config.run_functions_eagerly(True)
    try:
        check(estimator)
    finally:
        tf.config.run_functions_eagerly(False)


@pytest.mark.slow
def test_fit_trains_a_new_model_and_keeps_its_own_labels():
    split = tiny.tiny_split(60)
    names = np.array(["dark", "gray", "bright"])[split.labels]
    classifier = untrained(epochs=30, learning_rate=0.01, model_options=LIKELIHOOD)
    with pytest.raises(NotFittedError):
        classifier.predict(split.images)
    classifier.fit(split.images, names)
    held_out = tiny.tiny_split(60, seed=1)
    expected = np.array(["dark", "gray", "bright"])[held_out.labels]
    assert classifier.score(held_out.images, expected) > 0.8
    first = classifier.predict_proba(held_out.images)
    restored = pickle.loads(pickle.dumps(classifier))
    assert restored.predict_proba(held_out.images) == pytest.approx(first, abs=1e-5)
    # The second `fit` starts again, so the same seed gives the same numbers.
    again = classifier.fit(split.images, names).predict_proba(held_out.images)
    assert again == pytest.approx(first, abs=1e-5)


def test_training_goes_by_the_preset(monkeypatch):
    """Half of the preset's 32 epochs include half of its 10 likelihood-only epochs."""
    fits = []

    def remember(model, batches, epochs, callbacks, **how):
        first = sum(one.epochs for one in callbacks if isinstance(one, LikelihoodFirst))
        fits.append((first, batches.batch_size, epochs, model.num_candidates))

    monkeypatch.setattr(PixelCNNPlusPlus, "fit", remember)
    monkeypatch.setattr(training, "refit_class_bias", lambda *_: None)
    split = tiny.tiny_split(12)
    by_preset = {"batch_size": None, "learning_rate": None}
    untrained(epochs=16, **by_preset).fit(split.images, split.labels)
    few = {"epochs": 16, "model_options": LIKELIHOOD, "batch_size": 4}
    untrained(**few).fit(split.images, split.labels)
    assert fits == [(5, 64, 16, 3), (0, 4, 16, 3)]


def test_fit_leaves_global_random_states_and_has_its_own(monkeypatch):
    monkeypatch.setattr(PixelCNNPlusPlus, "fit", lambda *_, **__: None)
    split, weights = tiny.tiny_split(12), []
    for seed in (5, 5, 6):
        random.seed(len(weights))
        np.random.seed(len(weights))  # noqa: NPY002
        before = random.getstate(), np.random.get_state()  # noqa: NPY002
        classifier = untrained(seed=seed, model_options=LIKELIHOOD).fit(split.images, split.labels)
        assert random.getstate() == before[0]
        np.testing.assert_equal(np.random.get_state(), before[1])  # noqa: NPY002
        weights.append(flat_weights(classifier.model_))
    np.testing.assert_array_equal(weights[0], weights[1])
    assert (weights[0] != weights[2]).any()


def test_weights_reach_the_batches_and_the_class_biases(monkeypatch):
    """A class whose images all have weight 0 becomes improbable."""
    seen = []
    monkeypatch.setattr(PixelCNNPlusPlus, "fit", lambda _, batches, **__: seen.append(batches[0]))
    split, classifier = tiny.tiny_split(24), untrained(batch_size=24)
    weights = np.array([0.5, 0, 2])[split.labels]
    classifier.fit(split.images, split.labels, sample_weight=weights)
    _, labels, received = seen[0]
    np.testing.assert_array_equal(received, np.array([0.5, 0, 2], "float32")[labels])
    assert classifier.predict_proba(split.images)[:, 1].mean() < 0.05


SHAPE = (2, 4, 4, 1)


@pytest.mark.parametrize(
    ("arguments", "images", "labels", "message"),
    [
        ({"learning_rate": -1.0}, np.zeros(SHAPE, "uint8"), [0, 1], "learning_rate=-1"),
        ({}, np.zeros(SHAPE, "uint8"), [1, 1], "two classes"),
        ({}, np.zeros(SHAPE, "uint8"), [0.5, 1.2], "continuous"),
        ({"model_options": {"num_levels": 16}}, np.full(SHAPE, 16, "uint8"), [0, 1], "to_images"),
    ],
)
def test_what_fit_refuses(arguments, images, labels, message):
    with pytest.raises(ValueError, match=message):
        untrained(**arguments).fit(images, labels)


def test_log_probabilities_are_not_rounded_to_nothing(monkeypatch):
    model = tiny.untrained_pixelcnn(label_loss_weight=0.0)  # so that the scale is 1
    scores = np.array([[0, -2000, -4000]], "float32")
    monkeypatch.setattr(model, "class_log_likelihoods", lambda *_, **__: scores)
    classifier, images = PixelCNNClassifier(model), tiny.tiny_split(1).images
    assert classifier.predict_log_proba(images) == pytest.approx(scores)
    assert classifier.predict_proba(images)[0, 2] == 0


@pytest.mark.parametrize("weighted", [False, True])
def test_class_biases_are_the_optimum_of_the_penalized_likelihood(rng, weighted):
    """Compares with scipy's optimum, from another start and without gradients."""
    logits = rng.normal([5.0, 0.0, -2.0, 1.0], 3, (400, 4))
    labels = rng.choice([0, 1, 3], 400, p=[0.2, 0.79, 0.01])
    weights = rng.integers(0, 3, 400).astype("float64") if weighted else np.ones(400)
    present = [0, 1, 3]

    def penalized(biases):
        likelihood = -np.log(softmax(logits[:, present] + biases, axis=1))
        of_labels = likelihood[np.arange(400), np.searchsorted(present, labels)]
        return np.sum(weights * of_labels) + np.sum(biases**2) / (2 * 3.0**2)

    expected = minimize(penalized, rng.normal(size=3), method="Nelder-Mead", tol=1e-9).x
    biases = fit_class_bias(logits, labels, weights if weighted else None)
    np.testing.assert_allclose(biases[present], expected, atol=1e-3)
    assert biases[2] == 0
    assert biases.sum() == pytest.approx(0, abs=1e-4)


def test_images_for_the_biases_are_of_all_classes():
    labels = np.repeat([0, 1, 2], [9000, 990, 10])
    rows = stratified_rows(labels, 100, seed=0)
    np.testing.assert_array_equal(np.bincount(labels[rows]), [90, 10, 1])
    assert len(np.unique(rows)) == 101
    np.testing.assert_array_equal(stratified_rows(labels, 20_000, seed=0), np.arange(10_000))


def test_biases_of_a_model_are_replaced():
    model = tiny.untrained_pixelcnn(label_loss_weight=0.1, initial_logit_scale=0.5)
    model.posterior.class_bias.assign([3.0, 0.0, 0.0])
    split = tiny.tiny_split(60)
    refit_class_bias(model, split.images, split.labels, batch_size=32, seed=0)
    probabilities = model.class_probabilities(split.images)
    np.testing.assert_allclose(probabilities.mean(axis=0), np.full(3, 1 / 3), atol=1e-3)
    weights = np.array([0.5, 1.0, 0.0])[split.labels]
    refit_class_bias(model, split.images, split.labels, 32, 0, weights)
    probabilities = model.class_probabilities(split.images)
    weighted = np.average(probabilities, axis=0, weights=weights)
    np.testing.assert_allclose(weighted, [1 / 3, 2 / 3, 0], atol=0.02)


def test_predictions_csv(tmp_path):
    path, name = tmp_path / "reports" / "predictions.csv", os.fsdecode(b"caf\xe9.png")
    probabilities = np.array([[0.25, 0.75], [1, 0]])
    write_predictions(path, ["a, b.png", name], [1, -1], probabilities, "αβ")
    first, second = read_rows(path)
    assert [*first] == ["path", "label", "label_name", "predicted", "predicted_name", "p_0", "p_1"]
    assert [*first.values()] == ["a, b.png", "1", "β", "1", "β", "0.25", "0.75"]
    assert [*second.values()] == [name, "-1", "", "0", "α", "1.0", "0.0"]
