"""Models of p(image | map): exact sums and samples, positions of the map, and refusals."""

import json

import enumeration
import keras
import numpy as np
import pytest
from keras import ops
from layer_checks import randomize
from refused import each

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.data.batches import ImageBatches
from keras_pixelcnnpp.models.verification import verify

pytestmark = pytest.mark.eagerly

SMALL = {"num_levels": 2, "filters": 4, "num_blocks": 1}
ALL = "bias+film+embedding+adaptive_norm"


def model_of(cls, image_shape, conditions, **options):
    keras.utils.set_random_seed(0)
    model = cls(image_shape, conditions=conditions, **{**SMALL, **options})
    randomize(model.network, scale=0.3)
    return model


def maps_of(conditions, count, seed=0):
    low, high = conditions.low[0], conditions.high[0]
    numbers = np.random.default_rng(seed).uniform(low, high, (count, *conditions.shape))
    return np.rint(numbers) if conditions.num_codes else numbers


FINE, COARSE = kp.Maps((2, 4, 2), 0, 1), kp.Maps.of_images((1, 2, 1))
CODES = kp.Maps.of_codes((1, 4, 2), 3)
TABLE = [
    (kp.PixelCNNPlusPlus, (2, 4, 1), FINE, {"num_resolutions": 2, "conditioning": ALL}),
    pytest.param(
        *(kp.GatedPixelCNN, (2, 4, 1), CODES, {"conditioning": ALL}), marks=pytest.mark.once
    ),
    pytest.param(*(kp.PixelCNN, (2, 4, 1), COARSE, {}), marks=pytest.mark.once),
]


@pytest.mark.parametrize(("cls", "shape", "conditions", "options"), TABLE)
def test_probabilities_add_up_to_one_and_samples_have_them(
    cls, shape, conditions, options, tmp_path
):
    model, images = model_of(cls, shape, conditions, **options), enumeration.binary_images(shape)
    first, second = maps_of(conditions, 2)
    log_prob = model.log_prob(images, first, batch_size=256).astype("float64")
    assert np.exp(log_prob).sum() == pytest.approx(1, abs=1e-5)
    # The same image under both maps, side by side.
    pair = model.log_prob(images[:1], np.stack([[first, second]]))[0]
    np.testing.assert_allclose(pair[0], log_prob[0], atol=1e-5)
    assert abs(pair[1] - pair[0]) > 1e-3
    samples = model.sample(np.tile(first, (2000, 1, 1, 1)), seed=0, batch_size=2000)
    assert enumeration.chi_square_of_binary(samples, log_prob) > 1e-3
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        loaded.log_prob(images[:3], first), model.log_prob(images[:3], first)
    )
    if cls is kp.PixelCNNPlusPlus:  # also with particles, and of a known part
        verify(model)
        completed = model.complete(images[:3], 1, first, seed=0)
        np.testing.assert_array_equal(completed[:, 0], images[:3, 0])


@pytest.mark.once
@pytest.mark.usefixtures("traced")
def test_a_pixel_knows_the_map_at_its_place():
    """Training on copies of the map finds them, which a shifted map would prevent."""
    rng = np.random.default_rng(0)
    maps = rng.integers(0, 2, (256, 4, 4, 1))
    model = kp.GatedPixelCNN((4, 4, 1), conditions=kp.Maps((4, 4, 1)), **{**SMALL, "filters": 8})
    model.compile(keras.optimizers.Adam(0.01))
    model.fit(255 * maps.astype("uint8"), maps, epochs=12, batch_size=32, verbose=0)
    wanted = rng.integers(0, 2, (20, 4, 4, 1))
    assert np.mean(model.sample(wanted, seed=0) == 255 * wanted) > 0.97


@pytest.mark.once
def test_flips_move_the_map():
    maps = np.arange(8 * 4, dtype="float32").reshape(8, 1, 2, 2, 1)
    images = maps[:, 0].astype("uint8")
    batches = ImageBatches(images, maps, batch_size=8, horizontal_flip=True)
    found, moved = batches[0]
    np.testing.assert_array_equal(found, moved[:, 0])
    assert np.any(found != images[batches.rows(0)])


@pytest.mark.once
def test_crops_are_refused():
    images, maps = np.zeros((3, 2, 2, 1), "uint8"), np.zeros((3, 2, 2, 1), "float32")
    with pytest.raises(ValueError, match="larger_images"):
        ImageBatches(images, maps, batch_size=2, larger_images=np.zeros((3, 4, 4, 1), "uint8"))


def made(shape=(4, 4, 1), conditioning="bias", cls=kp.PixelCNNPlusPlus, **options):
    return cls((4, 4, 1), conditions=kp.Maps(shape, 0, 1), conditioning=conditioning, **options)


@pytest.mark.once
@pytest.mark.parametrize(
    ("call", "arguments", "name"),
    each(
        (made, {}, {"shape": [(3, 4, 1), (8, 4, 1), (4, 4)]}),
        (made, {}, {"conditioning": ["one_hot", "bias+mixture_head", "spatial"]}),
        (kp.Maps.of_codes, {"shape": (2, 2, 1)}, {"num_codes": [1, (3, 3)]}),
        (kp.Maps.of_codes, {"shape": (2, 2, 2)}, {"num_codes": [(3, 1), (3,), (3, 2.5)]}),
    ),
)
def test_refused_arguments(call, arguments, name):
    with pytest.raises(ValueError, match=name):
        call(**arguments)


@pytest.mark.once
def test_one_map_holds_for_all_images():
    maps = np.arange(4.0).reshape(1, 2, 2, 1)
    for one in (maps, maps[0], maps[..., 0], maps[0, ..., 0]):
        found = kp.Maps((2, 2, 1), 0, 3).parse(one, 5)
        np.testing.assert_array_equal(found, np.repeat(maps, 5, axis=0))


@pytest.mark.once
def test_values_between_codes_are_refused():
    codes = kp.Maps.of_codes((2, 2, 1), 4)
    for wrong in (np.full((3, 2, 2, 1), 0.5), np.full((3, 2, 2, 1), 4)):
        with pytest.raises(ValueError, match="codes from 0 to 3"):
            codes.parse(wrong, 3)


@pytest.mark.once
def test_numbers_of_codes_of_channels():
    """Numbers that are equal are those of one number, and each channel is checked by its own."""
    codes, shape = kp.Maps.of_codes((1, 2, 2), (5, 3)), (1, 2, 2)
    assert codes.high == (4, 2)
    assert codes.config()["num_codes"] == (5, 3)
    assert type(codes)(**json.loads(json.dumps(codes.config()))).config() == codes.config()
    assert kp.Maps.of_codes(shape, [3, 3]).config() == kp.Maps.of_codes(shape, 3).config()
    codes.parse(np.reshape([4, 2, 0, 1], (1, *shape)), 1)
    for wrong in ([0, 4, 0, 0], [5, 0, 0, 0]):
        with pytest.raises(ValueError, match=r"codes from 0 to 4 \(h0\), 2 \(h1\)"):
            codes.parse(np.reshape(wrong, (1, *shape)), 1)


def test_vectors_of_codes_are_those_of_their_channels(tmp_path):
    """The first layer adds up rows of its table, as in NumPy; archives and streams know it."""
    numbers, shape = (5, 2, 3), (2, 4, 1)
    model = model_of(kp.PixelCNN, shape, kp.Maps.of_codes((1, 2, 3), numbers))
    encoder, rng = model.encoder["map"], np.random.default_rng(0)
    maps = rng.integers(0, numbers, (40, 1, 2, 3))
    table = ops.convert_to_numpy(encoder.steps[0].table)
    tables = np.split(table, [5, 7])
    assert [len(one) for one in tables] == [*numbers]
    expected = sum(one[maps[..., channel]] for channel, one in enumerate(tables))
    found = ops.convert_to_numpy(encoder.steps[0](encoder.scaled(maps)))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    scaled, valid = encoder.targets(ops.convert_to_tensor(maps.astype("float32")), 40)
    assert ops.convert_to_numpy(valid).all()
    np.testing.assert_allclose(scaled, encoder.scaled(maps), atol=1e-6)
    # In the second channel, 2 is no code.
    wrong = ops.convert_to_tensor(np.tile(np.float32([0, 2, 2]), (1, 1, 2, 1)))
    assert not ops.convert_to_numpy(encoder.targets(wrong, 1)[1]).any()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    images = enumeration.binary_images(shape)
    log_prob = model.log_prob(images, maps[0], batch_size=256)
    assert np.exp(log_prob.astype("float64")).sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(loaded.log_prob(images, maps[0], batch_size=256), log_prob)


def test_tensors_of_numbers_that_no_value_has_are_not_valid():
    encoder = kp.Maps.of_codes((1, 2, 1), 300).encoder((2, 4, 1))
    for dtype, good, wrong in (
        ("float32", [0, 299], [-1, -0.4, 0.5, 299.4, 300, np.nan, np.inf]),
        ("int32", [0, 299], [-1, 300, 301]),
        ("uint8", [0, 255], []),
    ):
        rows = [[number, good[1]] for number in (*good, *wrong)]
        tensor = ops.reshape(ops.convert_to_tensor(np.array(rows, dtype)), (-1, 1, 2, 1))
        _, valid = encoder.targets(tensor, len(rows))
        assert ops.convert_to_numpy(valid).tolist() == [number in good for number, _ in rows]
    vectors = kp.Vectors(2, 1, 2, scale=("log", "linear")).encoder((2, 4, 1))
    tensor = ops.convert_to_tensor(np.float32([[1, 1], [-1, 1], [1, np.nan], [0, 1], [2, 2]]))
    valid = ops.convert_to_numpy(vectors.targets(tensor, 5)[1])
    assert valid.tolist() == [True, False, False, False, True]


@pytest.mark.once
def test_maps_on_another_scale():
    """Fractions are refused for images, and noted for other bounds; equal values are neither."""
    images, rng = np.zeros((2, 2, 4, 1), "uint8"), np.random.default_rng(0)
    maps = rng.random((2, 1, 2, 1))
    of_images = model_of(kp.PixelCNN, (2, 4, 1), COARSE)
    for call in (of_images.log_prob, of_images.bits_per_dim):
        with pytest.raises(ValueError, match=r"from 0 to 255, such as 255 \* maps"):
            call(images, maps)
    of_numbers = model_of(kp.PixelCNN, (2, 4, 1), kp.Maps((1, 2, 1), -100, 255))
    given = r"values of h0 are from 0.* to 0.*a fiftieth of the range -100 to 255"
    with pytest.warns(UserWarning, match=given):
        of_numbers.log_prob(images, maps)
    with pytest.warns(UserWarning, match=given):
        of_numbers.sample(maps, seed=0, verbose=0)
    for fine in (255 * maps, 0 * maps, 0 * maps + 1):
        of_images.log_prob(images, fine)
        of_numbers.log_prob(images, fine)
    kp.Maps.of_images((1, 2, 1), 2).parse(maps, 2)
    model_of(kp.PixelCNN, (2, 4, 1), CODES).log_prob(images, np.ones((2, 1, 4, 2)))


@pytest.mark.once
def test_lower_resolutions_are_means():
    encoder = kp.Maps((4, 2, 1), 0, 1).encoder((4, 4, 1))
    fine, half, quarter = encoder(ops.ones((2, 3, 4, 2, 1)))
    assert [one.shape for one in (fine, half, quarter)] == [
        (2, 3, size, size, 33) for size in (4, 2, 1)
    ]
    np.testing.assert_allclose(ops.mean(fine, axis=(2, 3)), quarter[:, :, 0, 0], atol=1e-6)


@pytest.mark.once
def test_bounds_that_a_few_pixels_determine_are_noted():
    """Two hot pixels in ten thousand; a dark background and bounds of the user's are not noted."""
    maps = np.random.default_rng(0).random((40, 4, 4, 1))
    hot, dark = maps.copy(), np.where(maps > 0.97, maps, 0)
    hot[[3, 20], 1, 2] = 300
    with pytest.warns(
        UserWarning, match=r"values of h0 .* to 300: the middle 90% .*bounds of most"
    ):
        kp.Maps((4, 4, 1)).encoder((4, 4, 1)).learn(hot)
    for part, values in (
        (kp.Maps((4, 4, 1)), maps),
        (kp.Maps((4, 4, 1)), dark),
        (kp.Maps((4, 4, 1), 0, 1000), hot),
    ):
        part.encoder((4, 4, 1)).learn(values)


@pytest.mark.once
def test_channels_first_are_refused():
    maps = np.random.default_rng(0).random((5, 4, 4, 1))
    for channels in (1, 3):
        part, wrong = kp.Maps((4, 4, channels), 0, 1), np.moveaxis(maps[..., [0] * channels], -1, 1)
        with pytest.raises(ValueError, match=r"channels last, \('N', 4, 4, .\).*moveaxis"):
            part.parse(wrong, 5, several=True)
    assert kp.Maps((4, 4, 1), 0, 1).parse(maps[..., 0], 5).shape == (5, 4, 4, 1)
    assert kp.Maps((4, 4, 1), 0, 1).parse(maps[:1, ..., 0], 1).shape == (1, 4, 4, 1)
