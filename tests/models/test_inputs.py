"""What a Keras user gives to a model first: it works, or the error says what to give."""

import keras
import numpy as np
import pytest
import tiny
from tiny import IMAGES, LABELS

from keras_pixelcnnpp.distributions.levels import to_levels


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
    model = tiny.untrained_pixelcnn(dropout_rate=0.0)
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
    column = LABELS[:, None]  # as keras.datasets.cifar10 has them
    names = np.array(model.class_names)[LABELS]
    given = [(IMAGES, LABELS), (IMAGES, column), (IMAGES, names), (within,), (within, LABELS)]
    for arguments in given:
        result = model.evaluate(*arguments, batch_size=6, verbose=0, return_dict=True)
        assert result["bits_per_dim"] == pytest.approx(expected, rel=1e-5)
    for validation in [(IMAGES, LABELS), within, (within,)]:
        history = model.fit(IMAGES, LABELS, validation_data=validation, verbose=0).history
        assert history["val_bits_per_dim"] == pytest.approx([expected], rel=1e-5)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_a_generator_trains_a_model_that_saw_nothing_yet():
    model = tiny.untrained_pixelcnn()
    model.compile("sgd")
    steps = []
    count = keras.callbacks.LambdaCallback(on_train_batch_end=lambda step, logs: steps.append(step))
    model.fit(generator(as_tuple), verbose=0, callbacks=[count])
    assert int(model._initialized) == 1
    assert steps == [0, 1]  # the batch that was looked at is not lost


@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_a_model_has_to_be_compiled(method):
    with pytest.raises(ValueError, match=r"call `compile\(\)`"):
        getattr(tiny.untrained_model(), method)(IMAGES, LABELS)


def test_images_alone_give_class_probabilities(model):
    expected = model.class_probabilities(IMAGES)
    lists = (list(batch) for batch in generator(as_tuple))  # as a DataLoader gives them
    for inputs in (IMAGES, IMAGES[..., 0], list(IMAGES), {"image": IMAGES}, lists):
        np.testing.assert_allclose(model.predict(inputs, verbose=0), expected, rtol=1e-4)
    called = keras.ops.convert_to_numpy(model(IMAGES))
    np.testing.assert_allclose(called, expected, rtol=1e-4)


@pytest.mark.parametrize("given", [{0: 0.0, 1: 1.0, 2: 3.0}, {1: 4.0}])
def test_class_weights_are_those_of_the_images(model, given):
    weights = np.array([given.get(label, 1.0) for label in range(3)])
    losses = -model.log_prob(IMAGES, LABELS) / (16 * np.log(2))
    how = {"class_weight": given, "batch_size": 12, "verbose": 0}
    history = model.fit(IMAGES, LABELS, **how).history
    # Keras divides a weighted loss by the number of images.
    assert history["loss"] == pytest.approx([np.mean(losses * weights[LABELS])], rel=1e-5)


@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_there_is_a_weight_for_each_image(model, method):
    with pytest.raises(ValueError, match=r"sample_weight|cardinality"):
        getattr(model, method)(IMAGES, LABELS, sample_weight=np.ones(20), verbose=0)


def test_batches_have_no_names_of_classes(model):
    batches = ((IMAGES, np.array(["Class1"] * 12)) for _ in range(2))
    with pytest.raises(ValueError, match="Expected integers in batches"):
        model.evaluate(batches, verbose=0)


@pytest.mark.parametrize("method", ["train_on_batch", "test_on_batch"])
def test_a_batch_by_itself(model, expected, method):
    bits = getattr(model, method)(IMAGES, LABELS, return_dict=True)["bits_per_dim"]
    assert bits == pytest.approx(expected, rel=1e-5)


# Keras's own words; and TensorFlow, in whose pipeline the check is, has errors of its own.
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("method", ["fit", "evaluate"])
@pytest.mark.parametrize("make", [Batches, tf_data, generator, data_loader])
def test_labels_of_later_batches(model, monkeypatch, make, method):
    monkeypatch.setitem(globals(), "LABELS", np.concatenate([LABELS[:6], LABELS[6:] + 1]))
    before = model.log_prob(IMAGES, LABELS % 3)
    with pytest.raises(Exception, match=r"Expected integers from 0 to 2\b"):
        getattr(model, method)(make(as_tuple), verbose=0)
    # The model, whose learning rate is 0, is still there.
    np.testing.assert_allclose(model.log_prob(IMAGES, LABELS % 3), before, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("make", [Batches, tf_data, generator, data_loader])
def test_images_of_later_batches(model, monkeypatch, make):
    images = IMAGES.astype("int32")
    images[8, 1, 2] = 256
    monkeypatch.setitem(globals(), "IMAGES", images)
    with pytest.raises(Exception, match="Expected integers from 0 to 255"):
        model.evaluate(make(as_tuple), verbose=0)


@pytest.mark.parametrize("batches", [False, True])
def test_levels_are_no_images(batches):
    model = tiny.untrained_model(num_levels=5)
    model.compile("adam")
    levels = to_levels(IMAGES, 5)
    data = (iter([(levels, LABELS)]),) if batches else (levels, LABELS)
    with pytest.raises(ValueError, match=r"from 0 to 4\. Spread them, as in .*255 / 4"):
        model.fit(*data, verbose=0)
