"""One matrix: methods that take images × containers × kinds of conditions × numbers of levels.

Each entry gives the numbers of the array, or is refused with a message. This file, called with
`PYTHONPATH=tests/support python`, prints the kinds of conditions × all doors as a table.
A new kind is a row of `KINDS`, and a new door one of `DOORS`.
"""

import functools
import re

import keras
import numpy as np
import pytest
import tiny
from command_line import read_rows
from layer_checks import randomize
from tiny import IMAGES, LABELS, Batches

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.app.answers import Answers
from keras_pixelcnnpp.commands.options import ModelOptions
from keras_pixelcnnpp.commands.trained_model import TrainedModel
from keras_pixelcnnpp.data.images import png_bytes, read_image
from keras_pixelcnnpp.distributions.levels import quantize
from keras_pixelcnnpp.utils.errors import UserError
from keras_pixelcnnpp.utils.files import read_json

pytestmark = pytest.mark.eagerly
once = pytest.mark.once

ANGLES = np.linspace(-0.5, 0.5, 12)
VECTORS = np.stack([ANGLES, ANGLES**2], axis=1)
CORNERS = np.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
MAPS = np.random.default_rng(0).random((12, 4, 4, 1))
CODES = np.rint(2 * MAPS)

#: The kinds of conditions: arguments of a model, and the values of twelve images.
KINDS = {
    "none": ({"num_classes": 0}, None),
    "labels": ({"num_classes": 3}, LABELS),
    "vectors": ({"num_classes": None, "conditions": kp.Vectors(2, low=-1, high=1)}, VECTORS),
    "maps": ({"num_classes": None, "conditions": kp.Maps((4, 4, 1), 0, 1)}, MAPS),
    "map codes": ({"num_classes": None, "conditions": kp.Maps.of_codes((4, 4, 1), 3)}, CODES),
    "joint": (
        {"num_classes": None, "conditions": [kp.Labels(3), kp.Maps((4, 4, 1), 0, 1)]},
        (LABELS, MAPS),
    ),
}
#: The numbers of levels: arguments of a model, the images, and the first value that no image has.
LEVELS = {
    "5": ({"num_levels": 5, "head": "logistic_mixture"}, IMAGES, 256),
    "2": ({"num_levels": 2}, quantize(IMAGES, 2), 256),
    "codes": ({"num_levels": 5, "ordered_levels": False}, IMAGES // 64, 5),
    "4096": ({"num_levels": 4096}, IMAGES.astype("uint16") * 16, 4096),
}
#: Levels concern the images alone, so each number meets some of the conditions.
SEAMS = [
    *((kind, "5") for kind in KINDS),
    *(("labels", "2"), ("maps", "2"), ("none", "codes"), ("labels", "codes")),
    *(("vectors", "4096"), ("none", "4096")),
]
FEW = [*SEAMS[: len(KINDS)], ("none", "codes"), ("vectors", "4096")]
few_seams = pytest.mark.parametrize("seam", FEW, indirect=True, ids="-".join)


def tf_data(images, values):
    tf = pytest.importorskip("tensorflow")
    arrays = images if values is None else (images, values)
    return tf.data.Dataset.from_tensor_slices(arrays).batch(6)


def data_loader(images, values):
    import torch

    if images.dtype == "uint16":
        pytest.skip("torch's collation does not know uint16")
    if values is None:
        return torch.utils.data.DataLoader(images, batch_size=6)
    pairs = [(images[row], tiny.taken(values, row)) for row in range(12)]
    return torch.utils.data.DataLoader(pairs, batch_size=6)


def generator(images, values):
    arrays = (images,) if values is None else (images, values)
    return (tiny.taken(arrays, slice(row, row + 6)) for row in (0, 6))


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
        message = str(error)
    else:
        message = "NaN"
        assert np.isnan(np.ravel(getattr(found, "history", {"loss": found})["loss"])).any()
    assert any(word in message for word in ("Expected", "Received", "NaN"))
    return message


@functools.cache
def model_of(kind, levels):
    """Returns a model that training does not change."""
    arguments = {"dropout_rate": 0.0, **KINDS[kind][0], **LEVELS[levels][0]}
    model = tiny.untrained_pixelcnn(**arguments)
    randomize(model.network, scale=0.1)
    if kind == "vectors":  # `fit` would learn which vectors are far from those of the test
        model.encoder["vector"].learn(CORNERS)
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    return model


@pytest.fixture(params=SEAMS, ids="-".join)
def seam(request):
    """A model of one kind and number of levels, and its data."""
    kind, levels = request.param
    return model_of(kind, levels), LEVELS[levels][1], KINDS[kind][1]


def bits_of(model, images, values):
    return -model.log_prob(images, values).mean() / (16 * np.log(2))


def predicted(model, images):
    return model.class_probabilities(images) if model.num_classes else model.log_prob(images)


@runs_out
@pytest.mark.parametrize("container", CONTAINERS)
@few_seams
def test_streams(seam, container):
    """With the values of the condition, and without; an unconditional model takes no labels."""
    model, images, values = seam
    wrong = LABELS if values is None else None
    for method in (model.fit, model.evaluate):
        refusal(method, container(images, wrong), verbose=0)
        if container is sequence:
            refusal(method, container(images, values), verbose=0)
    if container is not sequence:
        expected = bits_of(model, images, values)
        how = {"validation_data": container(images, values), "verbose": 0}
        history = model.fit(container(images, values), **how).history
        for name in ("loss", "bits_per_dim", "val_bits_per_dim"):
            assert history[name] == pytest.approx([expected], rel=1e-4)
        loss = np.ravel(model.evaluate(container(images, values), verbose=0))[0]
        assert loss == pytest.approx(expected, rel=1e-4)
    for given in (values, wrong):  # `predict` ignores values
        data = container(images, given)
        if model.conditions.needs_values:  # p(x) is no mean over finitely many values
            message = refusal(model.predict, data, verbose=0)
            assert "class-conditional" in message or "class_probabilities" in message
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
    same = [values]
    if values is None:
        same += [np.full(12, -1)]  # as in the batches of an unlabeled split
    elif kind_of(values) == "labels":
        same += [values[:, None], np.array(model.class_names)[values]]
    for y in same:
        for method in (model.evaluate, model.train_on_batch, model.test_on_batch):
            how = {"verbose": 0} if method == model.evaluate else {}
            found = method(images, y, return_dict=True, **how)
            assert found["bits_per_dim"] == pytest.approx(expected, rel=1e-4)
    if model.conditions.needs_values:
        for method in (model.predict, model.predict_on_batch, model):
            message = refusal(method, images)
            assert "class-conditional" in message or "class_probabilities" in message
        return
    for found in (model.predict(images, verbose=0), model.predict_on_batch(images)):
        np.testing.assert_allclose(found, predicted(model, images), rtol=1e-4, atol=1e-6)
    called = keras.ops.convert_to_numpy(model(images))
    scores = model.class_log_likelihoods if model.num_classes else model.log_prob
    np.testing.assert_allclose(called, scores(images).reshape(called.shape), rtol=1e-4)


#: Methods of arrays of images: further arguments, and the kinds of conditions that have them.
METHODS = {
    "log_prob": ({}, KINDS),
    "pixel_log_probs": ({}, KINDS),
    "pixel_statistics": ({}, KINDS),
    "bits_per_dim": ({}, KINDS),
    "complete": ({"observed": 3, "seed": 0, "verbose": 0}, KINDS),
    "compress": ({"verbose": 0}, ("none", "labels")),
    "class_log_likelihoods": ({}, ("labels", "joint")),
    "class_probabilities": ({}, ("labels", "joint")),
    "evidence_map": ({"against": 0}, ("labels",)),
    "score_function": ({}, ("vectors",)),
    "grid_posterior": ({"grid": VECTORS}, ("vectors",)),
}
WITHOUT_VALUES = ("class_log_likelihoods", "class_probabilities", "grid_posterior")
#: Arguments of scoring that are wrong.
WRONG_OPTIONS = {
    "log_prob": [{"observed": 5}, {"num_particles": 0}],
    "complete": [{"observed": 5}, {"num_particles": 0}, {"num_samples": 0}, {"temperature": 0}],
    "bits_per_dim": [{"observed": [1, 2]}],
    "class_log_likelihoods": [{"observed": [-1]}],
    "class_probabilities": [{"batch_size": 2.5}],
}


WRONG_LABELS = [LABELS[:5], LABELS + 1, LABELS - 2, LABELS / 2, np.eye(3)[LABELS]]


def kind_of(values):
    """Returns the kind of condition that has these values."""
    return next(kind for kind, (_, own) in KINDS.items() if own is values)


def wrong_values(model, values):
    """Returns values that do not fit a model, for arrays of images."""
    if values is None:
        return [LABELS, np.eye(3)[LABELS]]
    if kind_of(values) == "joint":
        pairs = [(label, MAPS) for label in WRONG_LABELS]
        return [*pairs, (LABELS, MAPS[:5]), (LABELS, MAPS * np.nan), (LABELS, None), LABELS, None]
    if model.num_classes:
        return WRONG_LABELS
    return [values[:5], values * np.nan, values[:, :1], -1, None]


def arrays_of(found):
    """Returns the result of a method as an array."""
    found = getattr(found, "log_prob", found)
    return np.frombuffer(found, "uint8") if isinstance(found, bytes) else found


@once
@pytest.mark.parametrize("method", METHODS)
def test_methods_of_arrays(seam, method):
    """Lists are arrays; batches, other images and other values are refused."""
    model, images, values = seam
    call, (how, kinds) = getattr(model, method), METHODS[method]
    name = "vectors" if method == "score_function" else "condition"
    kind = kind_of(values)
    how = how if method in WITHOUT_VALUES and kind != "joint" else {**how, name: values}
    if kind not in kinds:
        assert "Received" in refusal(call, images, **how)
        return
    found = arrays_of(call(images, **how))
    for same in (list(images), images[..., 0]):
        again = arrays_of(call(same, **how))
        np.testing.assert_allclose(again, found, rtol=1e-4, atol=1e-5)
    for wrong in (images / 2, images[:, :2], generator(images, None), None):
        refusal(call, wrong, **how)
    for wrong in wrong_values(model, values) if name in how else ():
        message = refusal(call, images, **{**how, name: wrong})
        assert any(word in message for word in ("label", "condition", "vector", "map"))
    for wrong in WRONG_OPTIONS.get(method, ()):
        (name,) = wrong
        assert f"`{name}`" in refusal(call, images, **{**how, **wrong})


@once
@pytest.mark.parametrize("kind", ["vectors", "maps", "map codes", "joint"])
def test_one_value_for_all_training_images_is_noted(kind):
    model, values = model_of(kind, "5"), KINDS[kind][1]
    one = (LABELS, values[1][0]) if kind == "joint" else values[0]
    with pytest.warns(UserWarning, match="was given for all 12 training images"):
        model.fit(IMAGES, one, verbose=0)
    model.evaluate(IMAGES, one, verbose=0)  # has no note: warnings are errors


@once
def test_samples(seam):
    model, images, values = seam
    samples = model.sample(12 if values is None else values, seed=0, verbose=0)
    assert (samples.shape, samples.dtype) == (images.shape, images.dtype)
    if kind_of(values) == "labels":
        names = np.array(model.class_names)[values]
        np.testing.assert_array_equal(model.sample(names, seed=0, verbose=0), samples)
        assert "Unknown class" in refusal(model.sample, "cat")
    wrong = [[0, 1], 0.5, None] if values is None else wrong_values(model, values)[1:]
    for labels in wrong:
        refusal(model.sample, labels)
    if not model.num_classes:
        assert "`guidance`" in refusal(model.sample, 12 if values is None else values, guidance=1.0)


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


def refuses_images(model, images, values):
    """Checks that no method of Keras takes wrong images, in arrays, tensors or batches."""
    for name, change in WRONG.items():
        wrong = change(images)
        for method in (model.fit, model.evaluate, model.train_on_batch, model.test_on_batch):
            refusal(method, wrong, values)
        refusal(model.fit, images, values, validation_data=(wrong, values), verbose=0)
        refusal(model.predict, wrong, verbose=0)
        refusal(model.predict_on_batch, wrong)
        if name in ("floats", "another shape", "beyond white", "negative"):
            refusal(model, keras.ops.convert_to_tensor(wrong))
            refusal(model.fit, (batch for batch in [(wrong, values)]), verbose=0)


def refuses_values(model, images, values, wrong):
    """Checks that no method of Keras takes wrong values of the images."""
    for y in wrong:
        for method in (model.fit, model.evaluate, model.train_on_batch, model.test_on_batch):
            refusal(method, images, y)
        refusal(model.fit, images, values, validation_data=(images, y), verbose=0)
        if all(np.shape(part)[:1] in ((), (12,)) for part in keras.tree.flatten(y)):
            refusal(model.fit, (batch for batch in [(images, y)]), verbose=0)


@once
@runs_out
@few_seams
def test_what_is_wrong_has_no_door(seam):
    model, images, values = seam
    refuses_images(model, images, values)
    wrong = wrong_values(model, values)
    refuses_values(model, images, values, wrong if values is None else [*wrong, None])
    if model.num_classes:  # an unlabeled image, without `unlabeled_weight`
        unlabeled = np.maximum(LABELS - 2, -1)
        refusal(model.fit, images, (unlabeled, MAPS) if kind_of(values) == "joint" else unlabeled)


@once
@runs_out
@few_seams
def test_a_bad_value_in_a_later_batch_gives_no_plausible_number(seam, request):
    """The loss is NaN, or an error, and no weight becomes NaN."""
    model, images, values = seam
    _, levels = request.node.callspec.params["seam"]
    bad = images.astype("int32")
    bad[8, 1, 2] = LEVELS[levels][2]
    if kind_of(values) == "joint":
        bad_values = (LABELS, np.where(np.arange(12)[:, None, None, None] == 7, np.nan, MAPS))
    elif model.num_classes:
        bad_values = LABELS + LABELS // 2
    elif values is None:
        bad_values = np.where(np.arange(12) == 7, 0, -1)
    else:
        bad_values = values.copy()
        bad_values[7] = np.nan
    before = model.get_weights()
    for pair in ((bad, values), (images, bad_values)):
        for method in (model.fit, model.evaluate):
            refusal(method, Batches(*pair), verbose=0)
    for found, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, expected)


#: Numbers that no value of a kind has.
NO_VALUES = {"labels": (-2, 3), "vectors": (-3, 3), "maps": (-1, 2), "map codes": (-1, 0.5, 3, 4)}
#: What `fit` says about them.
WRONG_VALUES = {
    "vectors": "h0 is outside of the bounds -1 to 1 of the model: {}. A stream",
    "maps": "h0 is outside of the bounds 0 to 1 of the model: {}. A stream",
    "map codes": "Expected codes from 0 to 2. Received",
}


@runs_out
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("kind", NO_VALUES)
def test_a_number_that_no_value_has_gives_no_plausible_number(kind, container):
    """On each backend, in batches of each container."""
    model, values = model_of(kind, "5"), KINDS[kind][1]
    if container is sequence:
        return
    for number in NO_VALUES[kind]:
        wrong = values.copy() if isinstance(number, int) else values.astype("float32")
        wrong[7] = number
        for method in (model.fit, model.evaluate):
            message = refusal(method, container(IMAGES, wrong), verbose=0)
            assert "NaN" in message
            if method == model.fit and kind in WRONG_VALUES and container is not generator:
                assert WRONG_VALUES[kind].format(number) in message  # it can be read again
    assert np.isfinite(model.evaluate(container(IMAGES, values), verbose=0)).all()


@once
@runs_out
def test_a_baseline():
    """The same for a CNN, which has labels and no likelihood."""
    model = kp.BaselineCNN((4, 4, 1), 3, filters=(4,), num_blocks=1)
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    expected = model.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
    probabilities = model.class_probabilities(IMAGES)
    for container in (Batches, tf_data, generator):
        found = model.evaluate(container(IMAGES, LABELS), verbose=0, return_dict=True)
        assert found == pytest.approx(expected, rel=1e-5)
        found = model.predict(container(IMAGES, None), verbose=0)
        np.testing.assert_allclose(found, probabilities, rtol=1e-5)
    for container in (Batches, tf_data, generator):
        model.fit(container(IMAGES, LABELS), verbose=0)
    refuses_images(model, IMAGES, LABELS)
    refuses_values(model, IMAGES, LABELS, [*WRONG_LABELS, None])
    bad = IMAGES.astype("int32")
    bad[8, 1, 2] = 256
    for pair in ((bad, LABELS), (IMAGES, LABELS + LABELS // 2)):
        refusal(model.evaluate, Batches(*pair), verbose=0)


# --- Each kind of condition through each door ---------------------------------------------------


class Entrance:
    """What a door takes: a model, images, their values, and a folder with all of these in files."""

    def __init__(self, kind, folder, pixelcnnpp):
        self.model, self.images, self.values = model_of(kind, "5"), IMAGES, KINDS[kind][1]
        self.conditions, self.folder, self.command = self.model.conditions, folder, pixelcnnpp

    @property
    def parts(self):
        """Pairs of a part of the conditions and its values."""
        values = self.values if isinstance(self.values, tuple) else (self.values,)
        return [*zip(self.conditions, values, strict=False)]

    @property
    def bits(self):
        return bits_of(self.model, self.images, self.values)

    @property
    def archive(self):
        self.model.save(self.folder / "model.keras")
        return self.folder / "model.keras"

    @property
    def data(self):
        arrays, prefixes = {}, {"labels": "y", "vectors": "vectors", "maps": "maps"}
        for split in ("train", "val"):
            arrays[f"x_{split}"] = self.images
            for part, values in self.parts:
                arrays[f"{prefixes[part.kind]}_{split}"] = values
        np.savez(self.folder / "data.npz", **arrays)
        return self.folder / "data.npz"

    @property
    def picture(self):
        folder = self.folder / "images"
        folder.mkdir(exist_ok=True)
        (folder / "one.png").write_bytes(png_bytes(self.images[0]))
        return folder / "one.png"

    def given(self, label=True):
        """Returns the options of a command for the condition of the first image."""
        words = []
        for part, values in self.parts:
            if part.kind == "labels" and label:
                words += ["--label", values[0]]
            elif part.kind == "vectors":
                pairs = zip(part.names, values[0], strict=True)
                words += ["--vector", ",".join(f"{name}={value}" for name, value in pairs)]
            elif part.kind == "maps":
                np.save(self.folder / "map.npy", values[0])
                words += ["--map", self.folder / "map.npy"]
        return words

    def first(self, label=True):
        """Returns the condition of the first image, of which the label may be left out."""
        one = None if self.values is None else tiny.taken(self.values, slice(0, 1))
        if label or not self.model.num_classes:
            return one
        return (None, *one[1:]) if isinstance(one, tuple) else None

    def run(self, *words):
        """Runs a command; an error of it is one of Python."""
        status, out, err = self.command(*words)
        if status:
            raise UserError(err)
        return out


def through_stream(container, dtype=None):
    """A stream whose numbers have a dtype; labels beside them are integers."""

    def enter(at):
        values = at.values
        if dtype is not None and values is not None:
            is_tuple, each = isinstance(values, tuple), keras.tree.map_structure
            if np.dtype(dtype).kind == "i":
                at.values = each(lambda x: np.rint(x / np.abs(x).max()).astype(x.dtype), values)
            values = each(
                lambda x: x if is_tuple and x.dtype.kind == "i" else x.astype(dtype), at.values
            )
        return np.ravel(at.model.evaluate(container(at.images, values), verbose=0))[0], at.bits

    return enter


def image_batches(images, values):
    return kp.data.ImageBatches(images, LABELS * 0 - 1 if values is None else values, batch_size=6)


def reloaded(at):
    return bits_of(keras.models.load_model(at.archive), at.images, at.values), at.bits


def preset(at):
    at.model.save_to_preset(at.folder / "preset")
    loaded = kp.AutoregressiveModel.from_preset(at.folder / "preset")
    return bits_of(loaded, at.images, at.values), at.bits


def saved_model(at):
    at.model.export(at.folder / "served")
    inputs = {part.kind: values for part, values in at.parts}
    inputs = inputs or {"labels": np.full(12, -1)}
    served = kp.SavedModelClassifier(at.folder / "served")
    found = served.call("log_prob", images=at.images, **inputs)["log_likelihood"]
    return found, at.model.log_prob(at.images, at.values)


def trained(at):
    """The command starts from the weights, and changes nothing."""
    small = {"network": "pixelcnn", "num-levels": 5, "head": "logistic_mixture", "filters": 4}
    small |= {"num-blocks": 1, "num-mixtures": 1, "epochs": 1, "batch-size": 12}
    small |= {"learning-rate": 0, "dropout-rate": 0}
    words = ["train", *(word for name, value in small.items() for word in (f"--{name}", value))]
    words += [] if at.parts else ["--conditioning", "none"]
    run = at.folder / "run"
    at.run(*words, "--data", at.data, "--run", run, "--initial-weights", at.archive)
    return bits_of(keras.models.load_model(run / "model.keras"), at.images, at.values), at.bits


def reported(at):
    output = at.folder / "reports"
    words = "--model", at.archive, "--data", at.data, "--split", "validation", "--output", output
    at.run("evaluate", "likelihood", *words)
    (report,) = output.rglob("likelihood.json")
    return read_json(report)["bits_per_dim"], at.bits


def sampled(at):
    words = "--model", at.archive, "--count", 1, "--seed", 0, "--output", at.folder / "s.npy"
    at.run("sample", *words, *at.given())
    condition = at.first() if at.parts else 1
    return np.load(at.folder / "s.npy"), at.model.sample(condition, seed=0, verbose=0)


def completed(at):
    words = "--model", at.archive, "--count", 1, "--seed", 0, "--output", at.folder / "c.npy"
    at.run("complete", at.picture, *words, *at.given())
    found = np.load(at.folder / "c.npy").reshape(1, 4, 4, 1)
    return found, at.model.complete(at.images[:1], 2, at.first(), seed=0, verbose=0)


def scored(at):
    words = "--model", at.archive, "--data", at.picture.parent, "--output", at.folder / "s.csv"
    at.run("score", *words, *at.given(label=False))
    (row,) = read_rows(at.folder / "s.csv")
    return float(row["bits_per_dim"]), at.model.bits_per_dim(at.images[:1], at.first(label=False))


def classified(at):
    csv = at.folder / "c.csv"
    at.run("classify", at.picture, "--model", at.archive, "--csv", csv, *at.given(label=False))
    (row,) = read_rows(csv)
    condition = at.first(label=False)
    found = [float(row[name]) for name in row if name.startswith("p_")]
    return found, at.model.class_probabilities(at.images[:1], condition=condition)[0]


def inferred(at):
    names, output = at.conditions.names, at.folder / "p.csv"
    grid = ",".join(f"{name}=-1:1:3" for name in names)
    at.run(
        *("posterior", "--model", at.archive, "--data", at.picture.parent, "--grid", grid),
        *("--output", output),
    )
    (row,) = read_rows(output)
    found = at.model.grid_posterior(at.images[:1], {name: [-1, 0, 1] for name in names})
    return [float(row[f"{name}_mean"]) for name in names], found.mean[0]


def compressed(at):
    images = quantize(at.images, 5)
    return at.model.decompress(at.model.compress(images, at.values, verbose=0), verbose=0), images


def compressed_file(at):
    at.run("compress", at.picture, "--model", at.archive, "--output", at.folder / "i.pxc")
    words = "decompress", at.folder / "i.pxc", "--model", at.archive, "--output", at.folder / "o"
    at.run(*words)
    return read_image((at.folder / "o" / "one.png").read_bytes(), (4, 4, 1)), at.images[0]


def framed(at):
    bits = kp.TiledModel(at.model).bits_per_dim(at.images, at.values)
    return bits, at.model.bits_per_dim(at.images, at.values)


def on_page(at):
    answers = Answers(TrainedModel.named(ModelOptions(model=at.archive)))
    return bits_of(answers.model, at.images, at.values), at.bits


def has_codes(conditions):
    return any(getattr(part, "num_codes", None) for part in conditions)


def kinds_of(conditions):
    return [part.kind for part in conditions]


#: Each door: a function that gives numbers and those of arrays, and the conditions that it refuses.
DOORS = {
    "tf.data": (through_stream(tf_data), None),
    "tf.data float32": (through_stream(tf_data, "float32"), lambda c: kinds_of(c) == ["labels"]),
    "tf.data float64": (through_stream(tf_data, "float64"), lambda c: kinds_of(c) == ["labels"]),
    "tf.data integers": (through_stream(tf_data, "int32"), None),
    "PyDataset": (through_stream(Batches), None),
    "generator": (through_stream(generator), None),
    "ImageBatches": (through_stream(image_batches), None),
    "DataLoader": (through_stream(data_loader), None),
    "saved": (reloaded, None),
    "preset": (preset, None),
    "SavedModel": (saved_model, None),
    "train": (trained, has_codes),
    "evaluate": (reported, None),
    "sample": (sampled, None),
    "complete": (completed, None),
    "score": (scored, None),
    "classify": (classified, lambda c: not c.num_classes),
    "posterior": (inferred, lambda c: "vectors" not in kinds_of(c)),
    "compress()": (compressed, lambda c: not c.compressible),
    "compress": (compressed_file, lambda c: not c.compressible),
    "frames": (framed, lambda c: not c.tileable),
    "app": (on_page, lambda c: c.needs_values),
}
#: Doors that only one backend has.
OF_BACKENDS = {
    "DataLoader": pytest.mark.torch,
    "SavedModel": pytest.mark.tensorflow,
    **{door: pytest.mark.tensorflow for door in DOORS if door.startswith("tf.data")},
}
EACH_DOOR = [
    pytest.param(door, marks=[OF_BACKENDS[door]] if door in OF_BACKENDS else [once])
    for door in DOORS
]


@runs_out
@pytest.mark.parametrize("door", EACH_DOOR)
@pytest.mark.parametrize("kind", KINDS)
def test_each_condition_through_each_door(kind, door, tmp_path, pixelcnnpp, record_property):
    """It gives the numbers of arrays, or it refuses the kind of condition by its name."""
    at, (enter, refuses) = Entrance(kind, tmp_path, pixelcnnpp), DOORS[door]
    names = {at.conditions.description, at.conditions.one_value, at.conditions.several_values}
    names |= {part.name for part in at.conditions}
    is_refused = refuses is not None and refuses(at.conditions)
    record_property("cell", (kind, door, "refused" if is_refused else "works"))
    if is_refused:
        with pytest.raises((ValueError, RuntimeError), match="|".join(map(re.escape, names))):
            enter(at)
        return
    found, expected = enter(at)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


class Table:
    """Prints the outcomes of the tests of all doors as a table, as a plugin of pytest."""

    def __init__(self):
        self.cells = {}

    def pytest_runtest_logreport(self, report):
        for name, (kind, door, outcome) in report.user_properties:
            if name == "cell" and report.when == "call":
                self.cells[door, kind] = outcome if report.passed else report.outcome

    def print(self):
        print(f"{'':18}" + "".join(f"{kind:>12}" for kind in KINDS))
        for door in DOORS:
            row = (self.cells.get((door, kind), "-") for kind in KINDS)
            print(f"{door:18}" + "".join(f"{cell:>12}" for cell in row))


if __name__ == "__main__":
    table = Table()
    pytest.main([__file__, "-n0", "-q", "-k", "each_door"], [table])
    table.print()
