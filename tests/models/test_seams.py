"""One matrix: methods that take images × containers × kinds of conditions × numbers of levels.

Each entry gives the numbers of the array, or is refused.
"""

import re

import keras
import numpy as np
import pytest
import tiny
from layer_checks import randomize
from tiny import IMAGES, LABELS

import keras_pixelcnnpp as kp

pytestmark = pytest.mark.eagerly
once = pytest.mark.once

ANGLES = np.linspace(-0.5, 0.5, 12)

#: The kinds of conditions: arguments of a model, and the values of twelve images.
KINDS = {
    "none": ({"num_classes": 0}, None),
    "labels": ({"num_classes": 3}, LABELS),
    "vectors": (
        {"num_classes": None, "conditions": kp.Vectors(2, low=-1, high=1)},
        np.stack([ANGLES, ANGLES**2], axis=1),
    ),
}
#: Images of the same levels, for models of 5 levels, of 5 codes and of 1,000 levels, and the first
#: value that no image may have.
LEVELS = {
    "5": ({"num_levels": 5}, IMAGES, 256),
    "codes": ({"num_levels": 5, "ordered_levels": False, "head": "categorical"}, IMAGES // 64, 5),
    "1000": ({"num_levels": 1000}, IMAGES.astype("uint16") * 3, 1000),
}


class Batches(keras.utils.PyDataset):
    """A `PyDataset` with batches of six images, alone or with values."""

    def __init__(self, images, values):
        super().__init__()
        self.arrays = [images] if values is None else [images, values]

    def __len__(self):
        return 2

    def __getitem__(self, index):
        batch = tuple(array[6 * index : 6 * index + 6] for array in self.arrays)
        return batch if len(batch) > 1 else batch[0]


def tf_data(images, values):
    tf = pytest.importorskip("tensorflow")
    arrays = images if values is None else (images, values)
    return tf.data.Dataset.from_tensor_slices(arrays).batch(6)


def data_loader(images, values):
    import torch

    if images.dtype == "uint16":
        pytest.skip("torch's collation does not know uint16")
    arrays = [torch.tensor(array) for array in (images, values) if array is not None]
    data = torch.utils.data.TensorDataset(*arrays) if len(arrays) > 1 else images
    return torch.utils.data.DataLoader(data, batch_size=6)


def generator(images, values):
    arrays = [images] if values is None else [images, values]
    return (tuple(array[row : row + 6] for array in arrays) for row in (0, 6))


def sequence(images, values):
    return [images[:6], images[6:]]


CONTAINERS = [
    *(pytest.param(each, marks=once) for each in (Batches, tf_data, generator, sequence)),
    pytest.param(data_loader, marks=pytest.mark.torch),
]
# Keras's warnings about streams.
runs_out = pytest.mark.filterwarnings(
    "ignore:Your input ran out of data", "ignore:`shuffle=True` was passed"
)


def refusal(call, *arguments, **how):
    """Calls what must be refused; returns the message.

    In a stream, the steps can only make the loss NaN, which ends Keras's `fit` with an error.
    """
    try:
        found = call(*arguments, **how)
    except (ValueError, RuntimeError) as error:
        return str(error)
    assert np.isnan(np.ravel(getattr(found, "history", {"loss": found})["loss"])[0])
    return "NaN"


# The number of levels concerns the images alone.
SEAMS = [*((kind, "5") for kind in KINDS), ("none", "codes"), ("none", "1000")]


@pytest.fixture(scope="module", params=SEAMS, ids="-".join)
def seam(request, eagerly):
    """A model of one kind and number of levels that training does not change, and its data."""
    kind, levels = request.param
    (arguments, values), (of_levels, images, _) = KINDS[kind], LEVELS[levels]
    model = tiny.untrained_pixelcnn(**{"dropout_rate": 0.0, **arguments, **of_levels})
    randomize(model.network, scale=0.1)
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    return model, images, values


def bits_of(model, images, values):
    return -model.log_prob(images, values).mean() / (16 * np.log(2))


def predicted(model, images):
    return (
        model.class_probabilities(images) if model.conditions.are_labels else model.log_prob(images)
    )


@runs_out
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("with_values", [True, False])
def test_training_and_evaluation(seam, container, with_values):
    model, images, values = seam
    given = values if with_values else None
    if given is None and with_values:  # an unconditional model whose batches have labels
        given = LABELS
    fits = given is values and container is not sequence
    expected = bits_of(model, images, values)
    for method in (model.fit, model.evaluate):
        if not fits:
            refusal(method, container(images, given), verbose=0)
            continue
        found = method(container(images, given), verbose=0)
        loss = found.history["loss"] if method == model.fit else found
        assert np.ravel(loss)[0] == pytest.approx(expected, rel=1e-4)
    if fits:
        history = model.fit(
            container(images, given), validation_data=container(images, given), verbose=0
        ).history
        assert history["val_bits_per_dim"] == pytest.approx([expected], rel=1e-4)


@runs_out
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("with_values", [True, False])
def test_prediction(seam, container, with_values):
    """Values are ignored."""
    model, images, values = seam
    data = container(images, values if with_values else None)
    if not model.conditions.num_candidates:  # p(x) is no mean over finitely many vectors
        assert "class-conditional" in refusal(model.predict, data, verbose=0)
    elif container is sequence:
        refusal(model.predict, data, verbose=0)
    else:
        found = model.predict(data, verbose=0)
        np.testing.assert_allclose(found, predicted(model, images), rtol=1e-4, atol=1e-6)


@once
def test_arrays(seam):
    """Keras's methods of arrays and of one batch, and the call."""
    model, images, values = seam
    expected = bits_of(model, images, values)
    history = model.fit(images, values, validation_data=(images, values), verbose=0).history
    for name in ("loss", "bits_per_dim", "val_loss", "val_bits_per_dim"):
        assert history[name] == pytest.approx([expected], rel=1e-4)
    for method in (model.evaluate, model.train_on_batch, model.test_on_batch):
        how = {"verbose": 0} if method == model.evaluate else {}
        found = method(images, values, return_dict=True, **how)
        assert found["bits_per_dim"] == pytest.approx(expected, rel=1e-4)
    if not model.conditions.num_candidates:
        for method in (model.predict, model.predict_on_batch, model):
            assert "class-conditional" in refusal(method, images)
        return
    for found in (model.predict(images, verbose=0), model.predict_on_batch(images)):
        np.testing.assert_allclose(found, predicted(model, images), rtol=1e-4, atol=1e-6)
    called = keras.ops.convert_to_numpy(model(images))
    scores = model.class_log_likelihoods if model.conditions.are_labels else model.log_prob
    np.testing.assert_allclose(called, scores(images).reshape(called.shape), rtol=1e-4)


#: Methods of arrays of images, with further arguments.
SCORING = {
    "log_prob": {},
    "pixel_log_probs": {},
    "pixel_statistics": {},
    "compress": {},
    "bits_per_dim": {},
    "class_log_likelihoods": {},
    "class_probabilities": {},
    "complete": {"observed": 4, "seed": 0},
    "evidence_map": {"against": 0},
}
OF_CLASSES = ("class_log_likelihoods", "class_probabilities", "evidence_map")


def is_refused(model, method):
    """Returns whether a method needs classes, or, to compress, no vectors."""
    conditions = model.conditions
    return not (conditions.are_labels if method in OF_CLASSES else conditions.num_candidates)


@once
@pytest.mark.parametrize("method", SCORING)
def test_methods_of_arrays(seam, method):
    """Lists are arrays; batches, images of another shape and too few values are refused."""
    model, images, values = seam
    call, how = getattr(model, method), {**SCORING[method]}
    if values is not None and method not in ("class_log_likelihoods", "class_probabilities"):
        how["labels"] = values
    if method in (*OF_CLASSES, "compress") and is_refused(model, method):
        how |= {"labels": 0} if method == "evidence_map" else {}
        assert "class" in refusal(call, images, **how)
        return
    found = call(images, **how)
    for same in (list(images), images[..., 0]):
        again = call(same, **how)
        if method == "pixel_statistics":
            np.testing.assert_allclose(again.log_prob, found.log_prob, rtol=1e-4)
        elif method == "compress":
            assert again == found
        else:
            np.testing.assert_allclose(again, found, rtol=1e-4, atol=1e-6)
    for wrong in (images / 2, images[:, :2], generator(images, None), None):
        refusal(call, wrong, **how)
    if "labels" in how:
        assert re.search("labels|vectors", refusal(call, images, **{**how, "labels": values[:5]}))


WRONG = {
    "no array": lambda images: {"images": images},
    "none": lambda images: images[:0],
    "floats": lambda images: images / 255,
    "another shape": lambda images: images[:, :2],
    "beyond white": lambda images: np.where(
        images == images.max(), 1 << 14, images.astype("int32")
    ),
    "negative": lambda images: images.astype("int32") - 1,
    "masked": lambda images: np.ma.masked_equal(images, images.max()),
}


@once
@pytest.mark.parametrize("name", WRONG)
def test_wrong_images_have_no_door(seam, name):
    model, images, values = seam
    wrong = WRONG[name](images)
    for method in (model.fit, model.evaluate, model.train_on_batch, model.test_on_batch):
        refusal(method, wrong, values)
    refusal(model.fit, images, values, validation_data=(wrong, values), verbose=0)
    refusal(model.predict, wrong, verbose=0)
    refusal(model.predict_on_batch, wrong)


@once
def test_wrong_values_have_no_door(seam):
    model, images, values = seam
    wrong = [LABELS, np.eye(3)[LABELS]] if values is None else [values[:5], values * np.nan, None]
    if model.conditions.are_labels:
        wrong += [LABELS + 1, LABELS - 2, LABELS / 2, np.eye(3)[LABELS]]
    for y in wrong:
        for method in (model.fit, model.evaluate, model.train_on_batch, model.test_on_batch):
            refusal(method, images, y)
        refusal(model.fit, images, values, validation_data=(images, y), verbose=0)


@once
@runs_out
def test_a_bad_value_in_a_later_batch_gives_no_plausible_number(seam, request):
    """The loss is NaN, or an error, and no weight becomes NaN."""
    model, images, values = seam
    _, levels = request.node.callspec.params["seam"]
    bad = images.astype("int32")
    bad[8, 1, 2] = LEVELS[levels][2]
    data = [(bad, values)]
    if model.conditions.are_labels:
        data.append((images, LABELS + LABELS // 2))
    before = model.get_weights()
    for pair in data:
        for method in (model.fit, model.evaluate):
            refusal(method, Batches(*pair), verbose=0)
    for found, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, expected)
