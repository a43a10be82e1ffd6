"""What a Keras user gives to a model first: it works, or the error says what to give."""

import keras
import numpy as np
import pytest
import tiny

SPLIT = tiny.tiny_split(12)
IMAGES, LABELS = SPLIT.images, SPLIT.labels
WEIGHTS = np.array([0.0, 1.0, 3.0] * 4, "float32")


class Batches(keras.utils.PyDataset):
    """Six images a batch, as `(image, label)` or as a dict."""

    def __init__(self, form):
        super().__init__()
        self.form = form

    def __len__(self):
        return 2

    def __getitem__(self, index):
        rows = slice(6 * index, 6 * index + 6)
        return self.form(IMAGES[rows], LABELS[rows])


def as_tuple(images, labels):
    return images, labels


def as_dict(images, labels):
    return ({"image": images, "label": labels},)


def tf_data(form):
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices(form(IMAGES, LABELS)).batch(6)


def data_loader(form):
    torch = pytest.importorskip("torch")
    images = torch.utils.data.TensorDataset(torch.tensor(IMAGES), torch.tensor(LABELS))
    return torch.utils.data.DataLoader(images, batch_size=6)


def generator(form):
    return (Batches(form)[index] for index in range(2))


@pytest.fixture(scope="module")
def model():
    """Compiled, initialized, with a learning rate of 0: what is measured stays the same."""
    model = tiny.untrained_model(dropout_rate=0.0)
    model.compile(keras.optimizers.SGD(0.0))
    model.initialize(IMAGES, LABELS)
    return model


@pytest.fixture(scope="module")
def expected(model):
    return float(np.mean(-model.log_prob(IMAGES, LABELS))) / (16 * np.log(2))


# Keras's own word at the end of every generator.
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("form", [as_tuple, as_dict])
@pytest.mark.parametrize("make", [Batches, tf_data, generator, data_loader])
def test_batches_of_any_kind(model, expected, make, form):
    if make is data_loader and form is as_dict:
        pytest.skip("a TensorDataset gives tuples")
    history = model.fit(make(form), verbose=0, validation_data=make(form)).history
    result = model.evaluate(make(form), verbose=0, return_dict=True)
    assert result["bits_per_dim"] == pytest.approx(expected, rel=1e-5)
    assert history["val_bits_per_dim"] == pytest.approx([expected], rel=1e-5)


def test_arrays_with_labels_beside_or_within(model, expected):
    within = {"image": IMAGES, "label": LABELS}
    for arguments in [(IMAGES, LABELS), (within,), (within, LABELS)]:
        result = model.evaluate(*arguments, batch_size=6, verbose=0, return_dict=True)
        assert result["bits_per_dim"] == pytest.approx(expected, rel=1e-5)
    for validation in [(IMAGES, LABELS), within, (within,)]:
        history = model.fit(IMAGES, LABELS, validation_data=validation, verbose=0).history
        assert history["val_bits_per_dim"] == pytest.approx([expected], rel=1e-5)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_a_generator_trains_a_model_that_saw_nothing_yet():
    model = tiny.untrained_model()
    model.compile("adam")
    steps = []
    count = keras.callbacks.LambdaCallback(on_train_batch_end=lambda step, logs: steps.append(step))
    model.fit(generator(as_tuple), verbose=0, callbacks=[count])
    assert int(model._initialized) == 1
    assert steps == [0, 1]  # the batch that was looked at is not lost


def test_images_alone_give_class_probabilities(model):
    expected = model.class_probabilities(IMAGES)
    for inputs in (IMAGES, IMAGES[..., 0], {"image": IMAGES}, Batches(as_tuple)):
        np.testing.assert_allclose(model.predict(inputs, verbose=0), expected, rtol=1e-4)
    called = keras.ops.convert_to_numpy(model(IMAGES))
    np.testing.assert_allclose(called, expected, rtol=1e-4)


def test_images_in_a_list(model):
    images = tiny.tiny_split(4).images
    np.testing.assert_array_equal(model.predict(list(images)), model.predict(images))
    with pytest.raises(ValueError, match=r"Received: shape=\(1,\)") as error:
        model.predict([7])
    assert "array" not in str(error.value)


def test_sample_weights_count(model):
    losses = -model.log_prob(IMAGES, LABELS) / (16 * np.log(2))
    result = model.evaluate(IMAGES, LABELS, sample_weight=WEIGHTS, verbose=0, return_dict=True)
    assert result["bits_per_dim"] == pytest.approx(np.average(losses, weights=WEIGHTS), rel=1e-5)
    # Keras divides a weighted loss by the number of images.
    assert result["loss"] == pytest.approx(np.mean(losses * WEIGHTS), rel=1e-5)
    inside = {"image": IMAGES, "label": LABELS}
    again = model.evaluate(inside, sample_weight=WEIGHTS, verbose=0, return_dict=True)
    assert again == pytest.approx(result)


def test_class_weights_of_zero_change_nothing():
    model = tiny.tiny_model()
    model.compile(keras.optimizers.SGD(0.1))
    before = [keras.ops.convert_to_numpy(weight) for weight in model.trainable_variables]
    model.fit(IMAGES, LABELS, class_weight=dict.fromkeys(range(3), 0.0), verbose=0)
    for weight, value in zip(model.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), value)


ONE_HOT = np.eye(3, dtype="int32")[LABELS]
BAD_IMAGES = [
    (IMAGES / 255, r"Invalid images. Expected integers 0–255 .* \(255 \* images\).round"),
    (IMAGES.astype("int32") - 1, "Expected integers from 0 to 255. Received: values from -1"),
    (IMAGES[:, :2, :2], r"shape \(N, 4, 4, 1\). Received: shape=\(12, 2, 2, 1\)"),
    (IMAGES.reshape(12, 16), r"could be reshaped .* images.reshape\(-1, 4, 4, 1\)"),
]
BAD = [
    *((images, LABELS, message) for images, message in BAD_IMAGES),
    (IMAGES, ONE_HOT, r"One-hot labels\? Give `labels.argmax\(axis=1\)`"),
    ({"image": IMAGES, "label": ONE_HOT}, None, "One-hot labels"),
    (IMAGES, LABELS + 1, "Expected integers from 0 to 2. Received: values from 1 to 3"),
    (IMAGES, LABELS - 1, "Expected integers from 0 to 2"),
    (IMAGES, LABELS[:5], "Expected 12 integers"),
    (IMAGES, LABELS / 2, "Expected 12 integers.*dtype=float"),
    (IMAGES, None, r"needs labels, as in `model.\w+\(images, labels\)`"),
    (IMAGES, np.where(LABELS == 1, -1, LABELS), "Expected integers from 0 to 2"),
    ({"images": IMAGES}, None, "Expected images, or a dict of 'image'.*a dict of 'images'"),
    (None, None, "Invalid images"),
    (IMAGES[:0], LABELS[:0], "needs images. Received: none"),
]


@pytest.mark.parametrize(("images", "labels", "message"), BAD)
def test_what_does_not_fit_is_refused_by_all(model, images, labels, message):
    with pytest.raises(ValueError, match=message):
        model.fit(images, labels, verbose=0)
    with pytest.raises(ValueError, match=message):
        model.evaluate(images, labels, verbose=0)
    if images is not None:
        with pytest.raises(ValueError, match=message.replace("fit", "validation_data")):
            model.fit(IMAGES, LABELS, validation_data=(images, labels), verbose=0)


def test_batches_have_all_axes(model):
    with pytest.raises(ValueError, match=r"shape \(N, 4, 4, 1\). Received: shape=\(12, 4, 4\)"):
        model.fit(iter([(IMAGES[..., 0], LABELS)]), verbose=0)


ON_BATCH = ("train_on_batch", "test_on_batch")


@pytest.mark.parametrize("method", ON_BATCH)
def test_a_batch_by_itself_is_checked_as_those_of_fit(model, expected, method):
    bits = getattr(model, method)(IMAGES, LABELS, return_dict=True)["bits_per_dim"]
    assert bits == pytest.approx(expected, rel=1e-5)
    for images, labels, message in BAD:
        with pytest.raises(ValueError, match=message.replace("fit", method)):
            getattr(model, method)(images, labels)


# Keras's own words; and TensorFlow, in whose pipeline the check is, has errors of its own.
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("bad", [LABELS[6:] - 1, LABELS[6:] + 1])
@pytest.mark.parametrize("method", ["fit", "evaluate"])
@pytest.mark.parametrize("make", [Batches, tf_data, generator, data_loader])
def test_labels_of_later_batches(model, monkeypatch, make, method, bad):
    monkeypatch.setitem(globals(), "LABELS", np.concatenate([LABELS[:6], bad]))
    before = model.log_prob(IMAGES, LABELS % 3)
    with pytest.raises(Exception, match="Expected integers from 0 to 2"):
        getattr(model, method)(make(as_tuple), verbose=0)
    # The model, whose learning rate is 0, is still there.
    np.testing.assert_allclose(model.log_prob(IMAGES, LABELS % 3), before, rtol=1e-5)


def test_labels_of_a_call():
    model = tiny.random_model(unlabeled_weight=0.5)
    called = model({"image": IMAGES, "label": np.where(LABELS == 1, -1, LABELS)})
    assert np.isfinite(keras.ops.convert_to_numpy(called)).all()
    for labels in (LABELS + 1, LABELS - 2, LABELS[:, None] + np.arange(2)):
        with pytest.raises(ValueError, match="Expected integers from -1 to 2"):
            model({"image": IMAGES, "label": labels})
    with pytest.raises(ValueError, match=r"Expected integers\. Received: dtype=float"):
        model({"image": IMAGES, "label": LABELS.astype("float32")})


REFUSED = [
    *(("log_prob", (images, LABELS), message) for images, message in BAD_IMAGES),
    *(("predict", (images,), message) for images, message in BAD_IMAGES),
    *(("predict", ({"image": images},), message) for images, message in BAD_IMAGES[:1]),
    *(("predict_on_batch", (images,), message) for images, message in BAD_IMAGES),
    ("fit", (iter([(IMAGES / 255, LABELS)]),), "dtype"),
    ("initialize", (IMAGES, LABELS[:3]), "`labels`. Expected 12 integers"),
    ("initialize", (IMAGES,), "`labels`"),
    ("log_prob", (IMAGES, LABELS[:5]), "`labels`. Expected 12 integers"),
    ("log_prob", (IMAGES, np.full(12, 3)), "`labels`. Expected integers from 0 to 2"),
    ("log_prob", (IMAGES, LABELS + 0.5), "`labels`"),
    ("log_prob", (IMAGES, None), "`labels`"),
    ("sample", ([3],), "`labels`. Expected integers from 0 to 2"),
    ("bits_per_dim", (IMAGES, 0), r"`batch_size`\. Expected a positive integer"),
    ("class_probabilities", (IMAGES, 2.5), r"`batch_size`\. Expected a positive integer"),
    *(
        (
            "class_probabilities",
            (IMAGES, 32, 0, rows),
            "`observed_rows`. Expected an integer from 0",
        )
        for rows in (-1, 5, 1.5, True, [1, 5], [[1]], "1")
    ),
    ("evidence_map", (IMAGES, LABELS, LABELS[:2]), "`labels`. Expected 12 integers"),
    ("compile", ("adam", "mse"), "`loss`.*brings its own loss"),
]


@pytest.mark.parametrize(("method", "arguments", "message"), REFUSED)
def test_what_methods_refuse(model, method, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(model, method)(*arguments)


def test_what_needs_classes():
    unconditional = tiny.untrained_model(num_classes=0, conditioning="none")
    for method in ("class_log_likelihoods", "class_probabilities"):
        with pytest.raises(ValueError, match="needs classes; this model knows none"):
            getattr(unconditional, method)(IMAGES)
    with pytest.raises(ValueError, match="needs classes"):
        unconditional.evidence_map(IMAGES, LABELS, LABELS)


def test_one_hot_labels_of_two_classes():
    two = tiny.untrained_model(num_classes=2)
    two.compile("sgd")
    one_hot = np.eye(2, dtype="int32")[LABELS % 2]
    for arguments in [(IMAGES, one_hot), (iter([(IMAGES, one_hot)]),)]:
        with pytest.raises(ValueError, match="One-hot labels"):
            two.fit(*arguments, verbose=0)
    two.fit(IMAGES, LABELS[:, None] % 2, verbose=0)  # the shape that keras.datasets.cifar10 has
