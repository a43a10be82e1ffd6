"""Keras's methods under each backend: later batches, callbacks, metrics, and levels as images.

The matrix of test_seams, which runs eagerly, has the inputs that are taken or refused.
"""

import functools

import keras
import numpy as np
import pytest
import sklearn.metrics
import tiny
from tiny import IMAGES, LABELS, Batches

from keras_pixelcnnpp import BaselineCNN
from keras_pixelcnnpp.distributions.levels import to_levels
from keras_pixelcnnpp.utils.errors import UserError

once = pytest.mark.once


@pytest.fixture(scope="module")
def model():
    """A compiled model whose results do not change, because its learning rate is 0."""
    model = tiny.untrained_pixelcnn(dropout_rate=0.0)
    model.compile(keras.optimizers.SGD(0.0))
    return model


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # Keras's, without a length
def test_data_that_is_read_once_or_by_a_spawned_worker(model):
    """Spawned workers get the `DataLoader` by pickling."""
    torch = pytest.importorskip("torch")

    class Stream(torch.utils.data.IterableDataset):
        rows = zip(IMAGES, LABELS, strict=True)

        def __iter__(self):
            return self.rows

    images = torch.utils.data.TensorDataset(torch.tensor(IMAGES), torch.tensor(LABELS))
    how = {"num_workers": 1, "multiprocessing_context": "spawn"}
    expected = model.evaluate(IMAGES, LABELS, verbose=0)
    for data in (
        torch.utils.data.DataLoader(Stream(), batch_size=6),
        torch.utils.data.DataLoader(images, batch_size=6, **how),
    ):
        assert model.evaluate(data, verbose=0) == pytest.approx(expected, rel=1e-5)


@once
def test_class_weights_are_those_of_the_images(model):
    weights = np.array([0.0, 1.0, 3.0])
    losses = -model.log_prob(IMAGES, LABELS) / (16 * np.log(2))
    for data in ((IMAGES, LABELS), (Batches(IMAGES, LABELS),)):
        history = model.fit(*data, class_weight=dict(enumerate(weights)), verbose=0).history
        # Keras divides a weighted loss by the number of images.
        assert history["loss"] == pytest.approx([np.mean(losses * weights[LABELS])], rel=1e-5)


def test_a_bad_value_in_a_later_batch_of_a_compiled_step(model):
    """The loss is NaN, which stops `fit`, and the image has no gradient."""
    before = model.get_weights()
    images = IMAGES.astype("int32")
    images[8, 1, 2] = 256
    for bad in ((IMAGES, LABELS + LABELS // 2), (images, LABELS)):
        # torch runs eagerly.
        with pytest.raises((UserError, RuntimeError), match=r"Invalid|loss .* at batch \d"):
            model.fit(Batches(*bad), verbose=0)
    for found, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_what_is_not_finite_is_explained():
    """`fit`, `evaluate`, and `predict` name the cause, after a second look at a stream."""
    model = tiny.untrained_pixelcnn(dropout_rate=0.0)
    model.compile(keras.optimizers.SGD(0.0))
    high = IMAGES.astype("int32") + 300
    weights = np.where(np.arange(len(IMAGES)) == 8, np.nan, 1)
    causes = {
        "Labels of a batch are from 5 to 7. Expected integers from -1 to 2": (IMAGES, LABELS + 5),
        "Images of a batch have values from 3": (high, LABELS),
    }
    for cause, arrays in causes.items():
        for method in (model.fit, model.evaluate):
            with pytest.raises(RuntimeError, match=cause):
                method(Batches(*arrays), verbose=0)
        with pytest.raises(RuntimeError, match=cause):
            model.fit(IMAGES, LABELS, validation_data=Batches(*arrays), verbose=0)
    with pytest.warns(UserWarning, match=r"predictions of 12 of 12 images are NaN. Images of a b"):
        assert np.isnan(model.predict(Batches(high, None), verbose=0)).all()
    assert np.isfinite(model.evaluate(IMAGES, LABELS, verbose=0)).all()
    for method in (model.evaluate, model.fit):  # whose weights are NaN then
        with pytest.raises(RuntimeError, match="`sample_weight` is not finite"):
            method(IMAGES, LABELS, sample_weight=weights, verbose=0)


@pytest.mark.once
def test_labels_for_an_unconditional_model_are_explained():
    model = tiny.untrained_pixelcnn(num_classes=0)
    model.compile("sgd")
    for method in (model.fit, model.evaluate):
        with pytest.raises(
            RuntimeError, match=r"is unconditional\. Expected images without labels"
        ):
            method(Batches(IMAGES, LABELS), verbose=0)


@pytest.mark.tensorflow
def test_images_of_another_shape_in_a_later_stream(model):
    """They have the message of the first ones, although TensorFlow traces steps for any shape."""
    import tensorflow as tf

    def stream(images):
        return tf.data.Dataset.from_tensor_slices((images, LABELS)).batch(6)

    methods = [model.evaluate, model.predict, functools.partial(model.fit, shuffle=False)]
    for method in methods:
        method(stream(IMAGES), verbose=0)
        for images in (IMAGES[:, :3], np.concatenate([IMAGES, IMAGES], axis=2)):
            with pytest.raises(ValueError, match="Expected integers 0–255 of shape"):
                method(stream(images), verbose=0)
        method(stream(IMAGES), verbose=0)


@pytest.mark.tensorflow
def test_labels_of_another_rank_in_a_later_stream(model):
    """TensorFlow traces the step again, for labels of any rank."""
    expected = float(np.mean(-model.log_prob(IMAGES, LABELS))) / (16 * np.log(2))
    for labels in (LABELS, LABELS[:, None], LABELS):
        history = model.fit(Batches(IMAGES, labels), verbose=0).history
        assert history["bits_per_dim"] == pytest.approx([expected], rel=1e-5)


@once
def test_callbacks_know_which_values_are_better(model):
    modes = {"val_bits_per_dim": "min", "val_cross_entropy": "min", "val_accuracy": "max"}
    callbacks = [keras.callbacks.EarlyStopping(name) for name in modes]
    model.fit(IMAGES, LABELS, validation_data=(IMAGES, LABELS), verbose=0, callbacks=callbacks)
    assert {callback.monitor: callback.mode for callback in callbacks} == modes


@once
def test_levels_are_no_images_unless_they_really_are_dark():
    """Training and `evaluate` reject levels, also the second time; other methods warn."""
    model, levels = tiny.untrained_pixelcnn(num_levels=64), to_levels(IMAGES, 64)
    model.compile("adam", run_eagerly=True)
    model.fit(IMAGES, LABELS, verbose=0)
    for use in (
        lambda: model.fit(IMAGES, LABELS, validation_data=(levels, LABELS)),
        lambda: model.fit(levels, LABELS),
        lambda: model.evaluate(levels, LABELS),
    ):
        with pytest.raises(ValueError, match="look like levels"):
            use()
    with pytest.warns(UserWarning, match="look like levels"):
        model.predict(levels, verbose=0)
    model.allow_dark_images = True
    model.fit(levels, LABELS, validation_data=(levels, LABELS), verbose=0)
    model.predict(levels, verbose=0)


@pytest.mark.jax
@pytest.mark.torch
def test_a_callback_may_use_the_model_within_an_epoch(tmp_path):
    """Under JAX, the variables have no values during Keras's loop, until one use restores them."""
    model, found = tiny.untrained_pixelcnn(image_shape=(2, 2, 1)), []
    model.compile("adam")
    images = IMAGES[:, :2, :2]
    uses = [
        lambda: found.append(model.log_prob(images, LABELS)),
        lambda: model.sample(LABELS, seed=0),
        lambda: model.compress(images, LABELS, verbose=0),
        lambda: model.save_to_preset(tmp_path),
        lambda: model.logit_scale,
        lambda: model.class_bias,
        lambda: found.append(model.log_prob(images, LABELS)),
    ]
    use = keras.callbacks.LambdaCallback(on_train_batch_end=lambda step, logs: uses.pop(0)())
    model.fit(images, LABELS, batch_size=12, epochs=len(uses), verbose=0, callbacks=[use])
    assert np.abs(found[1] - found[0]).max() > 0
    np.testing.assert_allclose(found[1], model.log_prob(images, LABELS), rtol=1e-5)
    # A file of a compiled model can be loaded under every backend.
    assert model.get_compile_config()["optimizer"]["module"] == "keras.optimizers"


@pytest.mark.parametrize("kind", ["model", pytest.param("CNN", marks=once)])
def test_compiled_metrics_compare_probabilities_with_labels(kind):
    """Without the unlabeled images."""
    model = tiny.tiny_model(tiny.untrained_pixelcnn, dropout_rate=0.0, initial_logit_scale=0.4)
    labels = np.where(np.arange(12) < 7, LABELS, -1)
    if kind == "CNN":
        model, labels = BaselineCNN((4, 4, 1), 3, filters=(4,), num_blocks=1), LABELS
    top = keras.metrics.SparseTopKCategoricalAccuracy(2, name="top_2")
    metrics = ["accuracy", "sparse_categorical_crossentropy", top]
    model.compile(keras.optimizers.SGD(0.0), weighted_metrics=metrics)
    result = model.evaluate(IMAGES, labels, verbose=0, return_dict=True)
    probabilities = model.class_probabilities(IMAGES).astype("float64")[labels >= 0]
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    true = labels[labels >= 0]
    expected = {
        "accuracy": np.mean(probabilities.argmax(axis=1) == true),
        "sparse_categorical_crossentropy": sklearn.metrics.log_loss(true, probabilities),
        "top_2": sklearn.metrics.top_k_accuracy_score(true, probabilities),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(result[name], value, rtol=1e-3, atol=1e-3, err_msg=name)
    history = model.fit(IMAGES, LABELS, validation_data=(IMAGES, labels), verbose=0).history
    if kind == "model":
        assert not expected.keys() & history.keys()  # training has no probabilities
        np.testing.assert_allclose(history["val_top_2"][0], expected["top_2"], rtol=1e-5)
        model.compile("sgd", metrics=["sparse_categorical_accuracy"])
        with pytest.raises(ValueError, match="weighted_metrics"):
            model.evaluate(IMAGES, labels, verbose=0)


REFUSED_METRICS = {
    "categorical_accuracy": "SparseCategoricalAccuracy",
    "top_k_categorical_accuracy": "SparseTopKCategoricalAccuracy",
    keras.metrics.CategoricalAccuracy: "SparseCategoricalAccuracy",
    keras.metrics.CategoricalCrossentropy: "SparseCategoricalCrossentropy",
    keras.metrics.categorical_accuracy: "sparse_categorical_accuracy",
    keras.metrics.Accuracy: "'accuracy', SparseCategoricalAccuracy.* scikit-learn",
    keras.metrics.F1Score: "'accuracy', SparseCategoricalAccuracy.* scikit-learn",
    keras.metrics.AUC: "'accuracy', SparseCategoricalAccuracy.* scikit-learn",
    keras.metrics.MeanIoU: "sparse_y_pred=False",
}


@once
@pytest.mark.parametrize("argument", ["metrics", "weighted_metrics"])
@pytest.mark.parametrize("metric", REFUSED_METRICS)
def test_metrics_of_one_hot_labels_are_refused(model, metric, argument):
    """Integer labels are broadcast against probabilities, and the result looks like a number."""
    given = metric
    if isinstance(metric, type):
        given = metric(3) if metric is keras.metrics.MeanIoU else metric()
    for one in (model, BaselineCNN((4, 4, 1), 3, filters=(4,), num_blocks=1)):
        with pytest.raises(
            UserError, match=f"integer labels.* Expected.*{REFUSED_METRICS[metric]}"
        ):
            one.compile("sgd", **{argument: [given]})


@once
def test_metrics_of_integer_labels_are_accepted():
    """Those of Keras, and your own, which may derive from one that is refused."""

    class F1(keras.metrics.F1Score):
        def update_state(self, y_true, y_pred, sample_weight=None):
            y_true = keras.ops.one_hot(keras.ops.reshape(y_true, (-1,)), 3)
            super().update_state(y_true, y_pred, sample_weight)

    def own(y_true, y_pred):
        return keras.ops.equal(y_true, keras.ops.argmax(y_pred, axis=-1))

    model = tiny.tiny_model(tiny.untrained_pixelcnn)
    union = keras.metrics.MeanIoU(3, sparse_y_pred=False)
    model.compile("sgd", metrics=["acc", union, F1(average="macro", name="f1"), own])
    found = model.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
    predicted = model.predict(IMAGES, verbose=0).argmax(axis=1)
    f1 = sklearn.metrics.f1_score(LABELS, predicted, average="macro")
    shares = sklearn.metrics.jaccard_score(LABELS, predicted, average="macro")
    assert found["f1"] == pytest.approx(f1, rel=1e-5)
    assert found["mean_io_u"] == pytest.approx(shares, rel=1e-5)
    assert found["acc"] == found["own"] == pytest.approx(np.mean(predicted == LABELS))


def test_parameters_of_values_out_of_range(model):
    """A tensor of other values is no image, so it has no parameters; those beside it do."""
    images = IMAGES[:3].astype("int32")
    images[1, 0, 0, 0], images[2, 3, 3, 0] = -1, 256
    given = keras.ops.convert_to_tensor(images), keras.ops.zeros((3, 2), "int32")
    parameters = keras.ops.convert_to_numpy(model.pixel_parameters(*given))
    assert np.isfinite(parameters[0]).all()
    assert np.isnan(parameters[1:]).all()
