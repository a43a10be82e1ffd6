"""A new kind of condition is a part and its encoder: here one that only this file knows."""

import enumeration
import keras
import numpy as np
import pytest
from keras import ops
from layer_checks import randomize

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.conditions import Part, PartEncoder
from keras_pixelcnnpp.models.verification import verify
from keras_pixelcnnpp.utils.errors import UserError

STATES = 3  # unknown, no, yes


class Properties(Part):
    """Properties that an image has, lacks, or of which this is unknown: 1, 0, and -1."""

    name = "property"
    kind = "properties"
    dtype = "int32"

    def __init__(self, size):
        self.shape, self.num_rows = (size,), STATES * size
        self.names = tuple(f"p{index}" for index in range(size))
        self.description = f"{size} properties"

    def config(self):
        return {"size": self.shape[0]}

    def parse(self, given, count, unknown=True, several=False):
        array = np.asarray(given)
        if array.ndim == 1:
            array = np.broadcast_to(array, (count, *self.shape))
        if array.shape != (count, *self.shape) or not np.isin(array, (-1, 0, 1)).all():
            raise UserError(f"Invalid properties. Expected -1, 0, or 1. Received: {given!r}")
        return array.astype("int32")

    def number_of(self, given):
        return len(given) if np.ndim(given) == 2 else 1

    def example(self, rng, count):
        return rng.integers(-1, 2, (count, *self.shape)).astype("int32")

    def encoder(self, image_shape, name="encoder"):
        return PropertiesEncoder(self, name=name)

    def look_up(self, table, encoded):
        return ops.tensordot(ops.cast(encoded, table.dtype), table, 1)


class PropertiesEncoder(PartEncoder):
    """Encodes each property as three numbers, one of which is 1."""

    def call(self, values):
        states = ops.expand_dims(values, -1) == ops.arange(-1, 2, dtype="int32")
        shape = (-1, values.shape[1], self.part.num_rows)
        encoded = ops.reshape(ops.cast(states, "float32"), shape)
        return [encoded[:, :, None, None]]

    def targets(self, y, count):
        if y is None or tuple(y.shape[1:]) != self.part.shape:
            raise UserError("Expected properties for each image")
        values = ops.cast(y, "int32")
        inside = ops.clip(values, -1, 1)
        return inside, ops.all(values == inside, axis=1)


PROPERTIES = Properties(2)
GIVEN = np.array([[1, 0], [0, -1], [-1, -1], [1, 1]])
LATTICES = enumeration.binary_images((2, 4, 1))
SMALL = {"num_levels": 2, "filters": 4, "num_blocks": 1}


def model_of(conditions, **options):
    keras.utils.set_random_seed(0)
    model = kp.GatedPixelCNN((2, 4, 1), conditions=conditions, **{**SMALL, **options})
    return randomize(model, scale=0.4)


@pytest.fixture(scope="module")
def model():
    return model_of(PROPERTIES)


@pytest.fixture(scope="module")
def with_label():
    return model_of([kp.Labels(3), PROPERTIES])


def test_law_and_samples(model):
    verify(model)
    laws = np.stack([model.log_prob(LATTICES, one, batch_size=256) for one in GIVEN])
    np.testing.assert_allclose(np.exp(laws.astype("float64")).sum(axis=1), 1, atol=1e-5)
    assert np.abs(np.diff(laws, axis=0)).max(axis=1).min() > 1e-2
    many = model.sample(np.repeat(GIVEN[:1], 2000, axis=0), seed=0, batch_size=2000)
    assert enumeration.chi_square_of_binary(many, laws[0].astype("float64")) > 1e-3


def test_beside_a_label(with_label):
    """The label alone may be unknown, and is averaged over; Bayes' rule follows."""
    each = [with_label.log_prob(LATTICES, (label, GIVEN[1]), batch_size=256) for label in range(3)]
    laws = np.stack(each, axis=1).astype("float64")
    mean = np.logaddexp.reduce(laws, axis=1) - np.log(3)
    np.testing.assert_allclose(with_label.log_prob(LATTICES, GIVEN[1]), mean, atol=2e-5)
    found = with_label.class_log_likelihoods(LATTICES, condition={"property": GIVEN[1]})
    np.testing.assert_allclose(found, laws, atol=2e-5)
    assert with_label.sample({"property": GIVEN}, seed=0).shape == (4, 2, 4, 1)


def test_training(tmp_path):
    """What the first property says about the images is learned, from arrays and streams."""
    rng = np.random.default_rng(0)
    properties = rng.integers(-1, 2, (300, 2))
    share = np.array([0.1, 0.9, 0.5])[properties[:, 0]]
    images = np.uint8(255 * (rng.random((300, 2, 4, 1)) < share[:, None, None, None]))
    model = model_of(PROPERTIES, filters=8)
    model.compile(keras.optimizers.Adam(0.02))
    model.fit(images, properties, epochs=6, batch_size=50, verbose=0)
    bits = model.bits_per_dim(LATTICES[[255, 255]], [[0, -1], [1, -1]])
    assert bits[0] > 1.5 > 0.7 > bits[1]
    stream = ((images[start : start + 50], properties[start : start + 50]) for start in (0, 50))
    of_stream = model.evaluate(stream, steps=2, verbose=0)
    expected = model.evaluate(images[:100], properties[:100], batch_size=50, verbose=0)
    np.testing.assert_allclose(of_stream, expected, rtol=1e-5)
    wrong = ((images[:50], properties[:50] + 2) for _ in range(1))
    with pytest.raises(RuntimeError, match="NaN"):
        model.fit(wrong, steps_per_epoch=1, shuffle=False, verbose=0)


@pytest.mark.once
def test_files_and_refusals(with_label, tmp_path):
    given = (np.array([0, 1, 2, -1]), GIVEN)
    expected = with_label.log_prob(LATTICES[:4], given)
    with_label.save(tmp_path / "model.keras")
    with_label.save_to_preset(tmp_path / "preset")
    for loaded in (
        keras.models.load_model(tmp_path / "model.keras"),
        kp.AutoregressiveModel.from_preset(tmp_path / "preset"),
    ):
        np.testing.assert_array_equal(loaded.log_prob(LATTICES[:4], given), expected)
    with pytest.raises(ValueError, match=r"Compression needs .* 2 properties"):
        with_label.compress(LATTICES[:4], given)
    with pytest.raises(ValueError, match="2 properties"):
        kp.TiledModel(with_label)
    with pytest.raises(ValueError, match="one part of each kind"):
        model_of([PROPERTIES, Properties(3)])
    with pytest.raises(ValueError, match="Invalid properties"):
        with_label.log_prob(LATTICES[:4], (0, GIVEN + 5))
