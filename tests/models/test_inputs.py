"""Keras's methods accept all forms of data, use all images, and detect invalid values."""

import contextlib

import keras
import numpy as np
import pytest
import sklearn.metrics
import tiny
from keras import ops
from tiny import IMAGES, LABELS

from keras_pixelcnnpp import BaselineCNN
from keras_pixelcnnpp.distributions.levels import to_levels
from keras_pixelcnnpp.utils.errors import UserError


class Batches(keras.utils.PyDataset):
    """A `PyDataset` with two batches of six images."""

    def __init__(self, images=IMAGES, labels=LABELS, workers=1):
        super().__init__(workers=workers)
        self.images, self.labels = images, labels

    def __len__(self):
        return 2

    def __getitem__(self, index):
        rows = slice(6 * index, 6 * index + 6)
        return self.images[rows], self.labels[rows]


def tf_data(images=IMAGES, labels=LABELS):
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(6)


def read_once(images=IMAGES, labels=LABELS):
    """Returns a `tf.data.Dataset` that can be read only once."""
    tf = pytest.importorskip("tensorflow")
    shapes = (None, *images.shape[1:]), (None,)
    specs = tuple(map(tf.TensorSpec, shapes, (images.dtype, labels.dtype)))
    batches = generator(images, labels)
    return tf.data.Dataset.from_generator(lambda: batches, output_signature=specs)


def data_loader(images=IMAGES, labels=LABELS):
    torch = pytest.importorskip("torch")
    images = torch.utils.data.TensorDataset(torch.tensor(images), torch.tensor(labels))
    return torch.utils.data.DataLoader(images, batch_size=6)


def read_once_by_torch():
    torch = pytest.importorskip("torch")

    class Stream(torch.utils.data.IterableDataset):
        rows = zip(IMAGES, LABELS, strict=True)

        def __iter__(self):
            return self.rows

    return torch.utils.data.DataLoader(Stream(), batch_size=6)


def generator(images=IMAGES, labels=LABELS):
    batches = Batches(images, labels)
    return (batches[index] for index in range(2))


@pytest.fixture(scope="module")
def model():
    """A compiled model whose results do not change, because its learning rate is 0."""
    model = tiny.untrained_pixelcnn(dropout_rate=0.0)
    model.compile(keras.optimizers.SGD(0.0))
    return model


@pytest.fixture(scope="module")
def expected(model):
    return float(np.mean(-model.log_prob(IMAGES, LABELS))) / (16 * np.log(2))


# Keras's warnings about streams.
runs_out = pytest.mark.filterwarnings(
    "ignore:Your input ran out of data", "ignore:`shuffle=True` was passed"
)
KINDS = [Batches, tf_data, generator, data_loader]


def test_labels_may_be_a_column_or_names(model, expected):
    """A column is their shape in keras.datasets.cifar10."""
    for labels in (LABELS[:, None], np.array(model.class_names)[LABELS]):
        result = model.evaluate(IMAGES, labels, batch_size=6, verbose=0, return_dict=True)
        assert result["bits_per_dim"] == pytest.approx(expected, rel=1e-5)


@runs_out
@pytest.mark.parametrize("make", [*KINDS, read_once, read_once_by_torch])
def test_every_batch_is_one_step(model, make):
    steps = []
    count = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda step, logs: steps.append(step),
        on_test_batch_end=lambda step, logs: steps.append(step),
    )
    epochs = 3 if make in (tf_data, data_loader) else 1
    model.fit(make(), epochs=epochs, verbose=0, callbacks=[count])
    model.evaluate(make(), verbose=0, callbacks=[count])
    assert steps == [0, 1] * (epochs + 1)


@runs_out
@pytest.mark.torch
def test_workers_that_are_spawned():
    """Spawned workers get the `DataLoader` by pickling."""
    torch = pytest.importorskip("torch")
    images = torch.utils.data.TensorDataset(torch.tensor(IMAGES), torch.tensor(LABELS))
    how = {"num_workers": 1, "multiprocessing_context": "spawn"}
    model = tiny.untrained_pixelcnn()
    model.compile("sgd")
    model.fit(torch.utils.data.DataLoader(images, batch_size=6, **how), verbose=0)


@pytest.mark.once
@runs_out
@pytest.mark.parametrize("make", [None, Batches])
def test_class_weights_are_those_of_the_images(model, make):
    weights = np.array([0.0, 1.0, 3.0])
    losses = -model.log_prob(IMAGES, LABELS) / (16 * np.log(2))
    data = (IMAGES, LABELS) if make is None else (make(),)
    history = model.fit(*data, class_weight=dict(enumerate(weights)), verbose=0).history
    # Keras divides a weighted loss by the number of images.
    assert history["loss"] == pytest.approx([np.mean(losses * weights[LABELS])], rel=1e-5)


@runs_out
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (Batches, "model"),
        (data_loader, "model"),
        (Batches, "softmax"),  # which looks up the levels
        pytest.param(Batches, "CNN", marks=pytest.mark.once),
    ],
)
def test_a_bad_value_in_a_later_batch_gives_no_plausible_number(model, make, kind):
    """The loss is NaN, which stops `fit`, and in a model the image has no gradient."""
    if kind == "softmax":
        model = tiny.untrained_pixelcnn(head="categorical", num_levels=256)
    elif kind == "CNN":
        model = BaselineCNN((4, 4, 1), 3, filters=(4,), num_blocks=1)
    if kind != "model":
        model.compile(keras.optimizers.SGD(0.0))
    before = model.get_weights()
    images = IMAGES.astype("int32")
    images[8, 1, 2] = 256
    for bad in ((IMAGES, LABELS + LABELS // 2), (images, LABELS)):
        if kind != "CNN":
            # torch runs eagerly.
            with pytest.raises((UserError, RuntimeError), match=r"Invalid|loss .* at batch \d"):
                model.fit(make(*bad), verbose=0)
        with contextlib.suppress(UserError):
            assert np.isnan(model.evaluate(make(*bad), verbose=0)[0])
    for found, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, expected)


@runs_out
@pytest.mark.parametrize("kind", ["model", pytest.param("CNN", marks=pytest.mark.once)])
def test_tensors_and_batches_are_checked(kind):
    """Their values are known only where they are computed."""
    model = tiny.untrained_pixelcnn()
    if kind == "CNN":
        model = BaselineCNN((4, 4, 1), 3, filters=(4,), num_blocks=1)
    model.compile("sgd")
    scaled, one_hot = (IMAGES / 255).astype("float32"), np.eye(3, dtype="int32")[LABELS]
    for images in (scaled, IMAGES.astype("int32") * 4 - 1, [IMAGES, LABELS]):
        with pytest.raises(ValueError, match=r"Invalid (images|values in|input)"):
            model(keras.tree.map_structure(keras.ops.convert_to_tensor, images))
    for images in (scaled, IMAGES[..., 0]):  # batches have four axes
        with pytest.raises(ValueError, match="Invalid images"):
            model.fit((batch for batch in [(images, LABELS)]), verbose=0)
    with pytest.raises(ValueError, match=r"^Invalid images"):  # not in Keras's words
        model(scaled)
    for labels in (one_hot, LABELS + 0.5, None):
        with pytest.raises(ValueError, match="labels"):
            model.evaluate((batch for batch in [(IMAGES, labels)]), verbose=0)


@pytest.mark.once
def test_labels_that_are_neither_classes_nor_missing():
    model = tiny.untrained_pixelcnn(unlabeled_weight=0.25)
    model.compile("sgd")
    for label in (-2, 3):
        with pytest.raises(ValueError, match="Expected integers from -1 to 2"):
            model.fit(IMAGES, np.where(LABELS == 1, label, LABELS), verbose=0)


@pytest.mark.once
@runs_out
def test_batches_of_an_unconditional_model():
    """They have no labels, or only -1. A label in a later batch makes the loss NaN."""
    model = tiny.untrained_pixelcnn(num_classes=0, dropout_rate=0.0)
    model.compile(keras.optimizers.SGD(0.0))
    none = np.full(len(IMAGES), -1, "int32")
    losses = [
        model.fit(IMAGES, sample_weight=np.ones(len(IMAGES)), verbose=0).history["loss"][0],
        model.fit(Batches(labels=none), verbose=0).history["loss"][0],
        model.evaluate((batch for batch in [(IMAGES,)]), verbose=0)[0],
        model.evaluate(IMAGES, none, verbose=0)[0],
    ]
    np.testing.assert_allclose(losses, model.bits_per_dim(IMAGES).mean(), rtol=1e-5)
    none[7] = 0
    assert np.isnan(model.evaluate(Batches(labels=none), verbose=0)[0])


@pytest.mark.tensorflow
@runs_out
def test_labels_of_another_rank_in_a_later_stream(model, expected):
    """TensorFlow traces the step again, for labels of any rank."""
    for labels in (LABELS, LABELS[:, None], LABELS):
        history = model.fit(tf_data(labels=labels), verbose=0).history
        assert history["bits_per_dim"] == pytest.approx([expected], rel=1e-5)


@pytest.mark.once
@pytest.mark.parametrize(
    ("name", "mode"), [("bits_per_dim", "min"), ("cross_entropy", "min"), ("accuracy", "max")]
)
def test_callbacks_know_which_values_are_better(model, name, mode):
    stop = keras.callbacks.EarlyStopping(f"val_{name}")
    model.fit(IMAGES, LABELS, validation_data=(IMAGES, LABELS), verbose=0, callbacks=stop)
    assert stop.mode == mode


@pytest.mark.once
@runs_out
def test_images_that_really_are_dark():
    dark = np.full_like(IMAGES, 100)
    model = tiny.untrained_pixelcnn(num_levels=128)
    model.compile("sgd")
    model.allow_dark_images = True
    model.fit(dark, LABELS, validation_data=Batches(dark), verbose=0)
    model.fit(Batches(dark), validation_data=(dark, LABELS), verbose=0)
    model.evaluate(Batches(dark), verbose=0)
    model.predict(dark, verbose=0)


@pytest.mark.once
def test_levels_are_no_images():
    """Training and `evaluate` reject levels, also the second time; other methods warn."""
    model, levels = tiny.untrained_pixelcnn(num_levels=64), to_levels(IMAGES, 64)
    model.compile("adam")
    model.fit(IMAGES, LABELS, verbose=0)
    for data in ((IMAGES, (levels, LABELS)), (levels, None)):
        with pytest.raises(ValueError, match="look like levels"):
            model.fit(data[0], LABELS, validation_data=data[1], verbose=0)
    with pytest.raises(ValueError, match="look like levels"):
        model.evaluate(levels, LABELS, verbose=0)
    with pytest.warns(UserWarning, match="look like levels"):
        model.predict(levels, verbose=0)


def test_a_callback_may_score_within_an_epoch():
    """Under JAX, the variables have no values during Keras's loop."""
    model, found = tiny.untrained_pixelcnn(), []
    model.compile("adam")
    score = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda step, logs: found.append(model.log_prob(IMAGES, LABELS))
    )
    model.fit(IMAGES, LABELS, batch_size=6, verbose=0, callbacks=[score])
    assert np.abs(found[1] - found[0]).max() > 0
    np.testing.assert_allclose(found[1], model.log_prob(IMAGES, LABELS), rtol=1e-5)
    # A file of a compiled model can be loaded under every backend.
    assert model.get_compile_config()["optimizer"]["module"] == "keras.optimizers"


@pytest.mark.jax
def test_a_callback_may_use_every_method(tmp_path):
    model = tiny.untrained_pixelcnn(image_shape=(2, 2, 1))
    images, mask = IMAGES[:, :2, :2], np.eye(2, dtype=bool)
    how = {
        **dict.fromkeys(("log_prob", "pixel_log_probs"), (images, LABELS)),
        **dict.fromkeys(("class_log_likelihoods", "class_probabilities"), (images,)),
        **dict.fromkeys(("bits_per_dim", "pixel_statistics", "compress"), (images,)),
        "sample": (LABELS, 0, 1.0, 1.0),
        "complete": (images, mask, LABELS),
        "evidence_map": (images, LABELS, 0),
        "decompress": (),
        "save_to_preset": (tmp_path,),
    }
    model.compile(keras.optimizers.SGD(0.0))
    model.fit(images, LABELS, verbose=0)
    how["decompress"] = (model.compress(images, LABELS),)
    wanted = [*how, "logit_scale", "class_bias"]

    def use(step, logs):
        if not wanted:
            return
        method = getattr(model, name := wanted.pop())
        if callable(method):
            method(*how[name])

    every = keras.callbacks.LambdaCallback(on_train_batch_end=use)
    model.fit(images, LABELS, batch_size=6, epochs=8, verbose=0, callbacks=[every])
    assert not wanted


class SparseAccuracy(keras.metrics.SparseCategoricalAccuracy):
    """A metric of a user, which is decided by its base class."""


def own_accuracy(labels, probabilities):
    return ops.cast(labels == ops.cast(ops.argmax(probabilities, axis=1), labels.dtype), "float32")


def compiled_metrics():
    return [
        "accuracy",
        "sparse_categorical_crossentropy",
        keras.metrics.SparseTopKCategoricalAccuracy(2, name="top_2"),
        SparseAccuracy(name="subclass"),
        own_accuracy,
    ]


def expected_metrics(probabilities):
    """Returns the results of `compiled_metrics`, by scikit-learn and NumPy."""
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    accuracy = np.mean(probabilities.argmax(axis=1) == LABELS)
    return {
        **dict.fromkeys(("accuracy", "subclass", "own_accuracy"), accuracy),
        "sparse_categorical_crossentropy": sklearn.metrics.log_loss(LABELS, probabilities),
        "top_2": sklearn.metrics.top_k_accuracy_score(LABELS, probabilities),
    }


@pytest.mark.parametrize("kind", ["model", pytest.param("CNN", marks=pytest.mark.once)])
def test_compiled_metrics_compare_probabilities_with_labels(kind, tmp_path):
    """Also after saving and loading, which keeps the metrics."""
    model = tiny.tiny_model(dropout_rate=0.0)
    model.posterior.log_logit_scale.assign(-1.0)
    if kind == "CNN":
        model = BaselineCNN((4, 4, 1), 3, filters=(4,), num_blocks=1)
    model.compile(keras.optimizers.SGD(0.0), weighted_metrics=compiled_metrics())
    result = model.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
    expected = expected_metrics(model.class_probabilities(IMAGES).astype("float64"))
    for name, value in expected.items():
        np.testing.assert_allclose(result[name], value, rtol=1e-3, atol=1e-3, err_msg=name)
    history = model.fit(IMAGES, LABELS, validation_data=(IMAGES, LABELS), verbose=0).history
    if kind == "model":
        assert not expected.keys() & history.keys()  # training has no probabilities
        np.testing.assert_allclose(history["val_top_2"][0], expected["top_2"], rtol=1e-5)
    model.save(tmp_path / "model.keras")
    own = {"own_accuracy": own_accuracy, "SparseAccuracy": SparseAccuracy}
    loaded = keras.models.load_model(tmp_path / "model.keras", custom_objects=own)
    received = loaded.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
    for name, value in model.evaluate(IMAGES, LABELS, verbose=0, return_dict=True).items():
        np.testing.assert_allclose(received[name], value, rtol=1e-5, err_msg=name)


@pytest.mark.once
def test_compiled_metrics_leave_out_unlabeled_images():
    model = tiny.tiny_model()
    half = np.where(np.arange(len(LABELS)) % 2, LABELS, -1)
    for metric in (
        keras.metrics.SparseCategoricalCrossentropy(),
        "sparse_categorical_crossentropy",
    ):
        model.compile("sgd", weighted_metrics=[metric])
        name = getattr(metric, "name", metric)
        found, expected = (
            model.evaluate(images, labels, verbose=0, return_dict=True)[name]
            for images, labels in ((IMAGES, half), (IMAGES[half >= 0], LABELS[half >= 0]))
        )
        assert found == pytest.approx(expected, rel=1e-5)
    model.compile("sgd", metrics=["sparse_categorical_accuracy"])
    with pytest.raises(ValueError, match="weighted_metrics"):
        model.evaluate(IMAGES, half, verbose=0)


@pytest.mark.once
def test_evaluate_scores_the_classes_once():
    model = tiny.tiny_model()
    model.compile("sgd", run_eagerly=True)
    calls, original = [], model.log_likelihood
    model.log_likelihood = lambda x, labels: calls.append(len(x)) or original(x, labels)
    model.evaluate(IMAGES, LABELS, batch_size=6, verbose=0)
    assert calls == [6, 6]
