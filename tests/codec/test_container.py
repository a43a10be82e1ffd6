"""Compressed files: lossless, about as short as -log2 p(x), and rejected if damaged."""

import json
import struct
import zlib
from pathlib import Path

import hostile
import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layer_checks import randomize

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.codec import container
from keras_pixelcnnpp.codec.coder import ImageCoder, _checked_shares
from keras_pixelcnnpp.codec.container import compress_images, decompress_images
from keras_pixelcnnpp.codec.exact_model import ExactModel
from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.distributions.counts import TOTAL
from keras_pixelcnnpp.distributions.heads import CategoricalHead
from keras_pixelcnnpp.distributions.levels import quantize, to_images
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.utils import memory
from keras_pixelcnnpp.utils.errors import UserError

MASKED = (kp.GatedPixelCNN, kp.PixelCNN)


def make(cls, head="logistic_mixture", channels=1, **arguments):
    """Creates a model of 4×4 images with random weights in all variables."""
    options = {"num_classes": 3, "num_levels": 5, "num_blocks": 1, "num_mixtures": 2}
    # With larger weights, -log2 p could exceed the maximum cost of 24 bits per level.
    options["conditioning"] = "embedding"
    options |= {"filters": 12} if cls in MASKED else {"filters": 4, "num_resolutions": 1}
    keras.utils.set_random_seed(1)
    model = cls(head=head, **{"image_shape": (4, 4, channels), **options, **arguments})
    for part in (model.network, model.distribution):
        if isinstance(part, keras.layers.Layer):
            randomize(part, scale=0.03)
    return model


def random_images(model, count=23):
    rng = np.random.default_rng(2)
    levels = rng.integers(0, model.num_levels, (count, *model.image_shape))
    return to_images(levels, model.num_levels)


def promised_bytes(model, images, labels):
    """Returns the size of an ideal code for images and labels, with equally likely labels."""
    nats = -model.log_prob(images, labels).astype("float64")
    return (nats.sum() / np.log(2) + len(images) * np.log2(max(model.num_classes, 1))) / 8


@pytest.fixture(scope="module")
def model():
    return make(kp.GatedPixelCNN)


@pytest.fixture(scope="module")
def images(model):
    return random_images(model, 5)


@pytest.fixture(scope="module")
def data(model, images):
    return model.compress(images, verbose=0)


def num_coded_bytes(data):
    """Returns the total length of the streams, without header and checksums."""
    return len(container._opened(data)[1])


@pytest.mark.parametrize(
    ("cls", "arguments"),
    [
        (kp.PixelCNNPlusPlus, {"channels": 3}),
        (kp.GatedPixelCNN, {"channels": 3, "head": "categorical"}),
        *(
            pytest.param(kp.PixelCNNPlusPlus, {"channels": 2, **more}, marks=pytest.mark.slow)
            for more in ({"dtype": "mixed_bfloat16"}, {"num_levels": 256})
        ),
        (kp.PixelCNN, {"channels": 2, "num_classes": 0, "conditioning": "none"}),
    ],
)
def test_comes_back_and_is_as_short_as_promised(cls, arguments):
    """For all networks, both heads, half precision, 256 levels and no classes."""
    model = make(cls, **arguments)
    # Samples of the model: a level has at least a share of 2**-24, which shortens rarer ones.
    images = model.sample(np.zeros(23, int) if model.num_classes else 23, seed=0, verbose=0)
    data = compress_images(model, images, verbose=0)
    back, labels, names = decompress_images(model, data, verbose=0)
    np.testing.assert_array_equal(back, images)
    assert (back.dtype, names) == ("uint8", None)
    best = None
    if model.num_classes:  # of all labels, the one that gives the shortest code
        best = model.class_log_likelihoods(images).argmax(axis=1)
        np.testing.assert_array_equal(labels, best)
    promised = promised_bytes(model, images, best)
    rounding = 1.03 if "dtype" in arguments else 1.01
    coded = num_coded_bytes(data)
    assert promised / (rounding - 0.01) <= coded <= rounding * promised + 6 * len(images)
    assert len(data) - coded < 2 * len(images) + 256


@pytest.mark.once
@pytest.mark.parametrize(("num_levels", "ordered"), [(1024, True), (4096, False)])
def test_many_levels_come_back(num_levels, ordered):
    """The softmax of a new model is almost uniform. Training gives it a few peaks."""
    keras.utils.set_random_seed(0)
    model = kp.GatedPixelCNN(
        (2, 2, 1), 2, num_levels, filters=4, num_blocks=1, ordered_levels=ordered
    )
    assert isinstance(model.distribution, CategoricalHead)
    levels = np.random.default_rng(0).integers(0, num_levels, (24, 2, 2, 1))
    levels[:8] = np.linspace(0, num_levels - 1, 8).astype(int)[:, None, None, None]
    images, labels = model.to_images(levels), np.arange(24) % 2
    model.compile(keras.optimizers.Adam(0.01), run_eagerly=True)
    for _ in range(2):
        # Without verification: `decompress` alone must return them, or refuse the file.
        data = model.compress(images, labels, verbose=0, verify=False)
        np.testing.assert_array_equal(model.decompress(data, verbose=0), images)
        model.fit(images, labels, verbose=0)


@pytest.mark.once
def test_images_that_do_not_come_back_are_not_returned(model, images, monkeypatch):
    monkeypatch.setattr(ImageCoder, "decode", lambda *arguments: None)
    with pytest.raises(ArithmeticError, match="could not be restored, so none are returned"):
        model.compress(images, verbose=0)
    assert model.compress(images, verbose=0, verify=False)


@pytest.mark.once
@pytest.mark.parametrize(
    ("below", "received"),
    [
        ([0, 5, 5, TOTAL], f"at least 0, from 0 to {TOTAL}"),
        ([0, 5, 4, TOTAL], f"at least -1, from 0 to {TOTAL}"),
        ([0, 5, 6, TOTAL - 1], f"at least 1, from 0 to {TOTAL - 1}"),
        ([1, 5, 6, TOTAL], f"at least 1, from 1 to {TOTAL}"),
    ],
)
def test_shares_that_cannot_be_decoded_are_refused(below, received):
    level = np.array([1])
    np.testing.assert_array_equal(
        _checked_shares(np.array([0, 5, 6, TOTAL]).__getitem__, level, 3), [[5], [1]]
    )
    with pytest.raises(ArithmeticError, match=f"Received: shares of {received}"):
        _checked_shares(np.array(below).__getitem__, level, 3)


@pytest.mark.once
def test_images_are_coded_separately(model, images, data, monkeypatch):
    """The file does not depend on how many images are encoded at once."""
    limit = 2 * 16 * max(ExactModel(model).widths) * 8
    monkeypatch.setattr(memory, "MAX_LAYER_BYTES", limit)
    assert model.compress(images, verbose=0) == data


GOLDEN = Path(__file__).with_name("digits.pxc")


def test_golden_file():
    """A file written once can be read by all releases, under all backends, on all machines.

    If the preset gets new weights, write the file again: it is `data` in this test.
    """
    digits = load_dataset("digits").split("test")
    images, labels = digits.images[:30], digits.labels[:30]
    model = kp.AutoregressiveModel.from_preset("digits")
    golden = GOLDEN.read_bytes()
    back, found, _ = decompress_images(model, golden, verbose=0)
    np.testing.assert_array_equal(back, quantize(images, model.num_levels))
    np.testing.assert_array_equal(found, labels)
    data = compress_images(model, images, labels, verbose=0)
    # Compare contents rather than bytes, which differ between versions of zlib.
    assert container._opened(data) == container._opened(golden)


@pytest.mark.once
def test_given_labels_and_names():
    model = make(kp.PixelCNN)
    images, given = random_images(model, 5), [2, 0, 2, 2, 1]
    names = ["a.png", "b/ü.png", "", "a.png", "\udcff"]
    data = compress_images(model, images, given, names, verbose=0)
    back, labels, found = decompress_images(model, data)
    np.testing.assert_array_equal(back, images)
    np.testing.assert_array_equal(labels, given)
    assert found == names
    for wrong in (["a"], [1, 2, 3, 4, 5]):
        with pytest.raises(ValueError, match="a list of 5 strings"):
            compress_images(model, images, given, wrong, verbose=0)
    assert num_coded_bytes(data) <= 1.01 * promised_bytes(model, images, given) + 6 * 5
    assert model.decompress(model.compress(images[:0])).shape == (0, 4, 4, 1)


@pytest.mark.once
def test_a_saved_model_and_other_weights(model, images, data, tmp_path):
    model.save(tmp_path / "model.keras")
    other = load_trained_model(tmp_path / "model.keras")
    other.dropout_rate = other.label_loss_weight = 0.7
    np.testing.assert_array_equal(other.decompress(data, batch_size=2, verbose=0), images)
    weight = other.network.head.bias
    weight.assign(weight + 0.001)  # after its coder was created
    assert other.decompress(other.compress(images)).shape == images.shape
    assert "by another model, or with other weights. Expected: '" in refused(other, data)


@pytest.mark.once
def test_levels_of_probability_0_cost_24_bits(images):
    model = make(kp.PixelCNN, "categorical")
    head = model.network.head
    head.gain.assign(head.gain * 100)
    data = compress_images(model, images, np.zeros(5, int), verbose=0)
    np.testing.assert_array_equal(model.decompress(data), images)
    assert images.size < num_coded_bytes(data) <= 3 * images.size + 5 * 6


def refused(model, data):
    """Returns the error message for a file."""
    with pytest.raises(UserError) as error:
        model.decompress(data, verbose=0)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.once
@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_bytes_of_any_kind_are_read(model, images, data, kind):
    np.testing.assert_array_equal(model.decompress(kind(data)), images)
    assert "damaged" in refused(model, kind(data[:-1]))


@pytest.mark.once
def test_other_versions_and_damage_are_refused(model, data):
    """Damage is every flipped bit, and every length."""
    assert "Expected the bytes that `compress` returned" in refused(model, "images.pxc")
    assert "version" in refused(model, data[:8] + b"\x09" + data[9:])
    assert "no compressed images" in refused(model, b"\x89PNG\r\n\x1a\n")
    for place in range(len(data)):
        refused(model, data[:place])
        for bit in range(8):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            refused(model, bytes(flipped))
    refused(model, data + b"\0")


START = len(container.MAGIC) + container.DIGEST_BYTES


def with_checksum(body):
    """Returns a file with this content and a valid checksum."""
    return container.MAGIC + container._digest(body) + body


def header_of(data):
    header, _ = container._opened(data)
    return header


def rewritten(data, change=lambda header: header, body=lambda body: body):
    """Returns a file with another header or other data, and a valid checksum."""
    (length,) = struct.unpack_from("<I", data, START)
    header = header_of(data)
    packed = zlib.compress(json.dumps(change(header)).encode())
    return with_checksum(struct.pack("<I", len(packed)) + packed + body(data[START + 4 + length :]))


@pytest.mark.once
class TestFilesOfSomebodyWhoKnows:
    """Malicious files with a valid checksum are checked, too."""

    def test_headers(self, model, images, data):
        np.testing.assert_array_equal(model.decompress(rewritten(data), verbose=0), images)
        lengths = json.loads(json.dumps(header_of(data)["lengths"]))
        changes = [
            *({"lengths": other} for other in ([], [10**12, -(10**12)], 3, [None], [float("nan")])),
            {"lengths": [*lengths, 0]},
            {"lengths": [0, *lengths]},
            {"lengths": lengths[::-1]},
            {"lengths": [length for (length,) in lengths]},
            {"lengths": [[length, 0] for (length,) in lengths]},
            *({"names": names} for names in (["a"], [1, 2, 3, 4, 5], 3)),
            *({"model": value} for value in (None, [[]], "a\nb")),
            *({"images": value} for value in (None, "0" * 32)),
            *({"size": value} for value in (None, [4], [4, 4, 1], [3, 4], [4, 8], [4, 1.5])),
            *({"overlap": value} for value in (None, -1, 4, "0")),
        ]
        for change in changes:
            changed = rewritten(data, lambda header, change=change: {**header, **change})
            refused(model, changed)
            with pytest.raises(UserError):
                kp.TiledModel(model).decompress(changed, verbose=0)
        endless = rewritten(data, lambda header: {**header, "size": [4, 10**9], "overlap": 3})
        with pytest.raises(UserError, match="damaged"):
            kp.TiledModel(model).decompress(endless)
        with pytest.raises(UserError, match="smaller overlap"):
            kp.TiledModel(model, 3).blocks((1500, 1500))
        for header in ([], 3, {}, {"model": 1}):
            refused(model, rewritten(data, lambda _, header=header: header))

    def test_more_images_than_the_streams_can_hold(self, model):
        """Streams of the most probable images would be empty, and take no space for any number."""
        zeros = np.zeros((8, 4, 4, 1), "uint8")
        black = compress_images(model, zeros, np.zeros(8, int), verbose=0)
        np.testing.assert_array_equal(model.decompress(black, verbose=0), zeros)
        assert min(min(header_of(black)["lengths"])) > 0
        tiled = kp.TiledModel(model)
        frame = {"size": [16000, 16000], "overlap": 2}
        for change, body in (
            ({"lengths": [[0]] * 1000}, b""),
            ({"lengths": [[0] * 7999], **frame}, b""),
            ({"lengths": [[1] * 7999], **frame}, bytes(7999)),
        ):
            forged = rewritten(
                black,
                lambda header, change=change: {**header, **change},
                lambda _, body=body: body,
            )
            for one in (model, tiled):
                with pytest.raises(UserError, match=r"damaged|larger than the model's"):
                    one.decompress(forged, verbose=0)

    def test_too_many_names_are_not_written(self, model, images):
        names = ["x" * (4 << 20)] * len(images)
        with pytest.raises(UserError, match="fewer images for one file"):
            compress_images(model, images, np.zeros(5, int), names, verbose=0)

    def test_a_header_that_unpacks_to_much(self, model):
        packed = zlib.compress(b" " * (200 << 20), 9)
        refused(model, with_checksum(struct.pack("<I", len(packed)) + packed))


@pytest.mark.once
@hostile.examples(10_000)
@given(choice=st.data())
def test_mutated_files(model, images, data, choice):
    mutated = choice.draw(hostile.damaged([data]))
    # The checksum cannot detect the changes of the second file.
    for file in (mutated, with_checksum(mutated[START:])):
        result = hostile.result_or_one_line(model.decompress, file, verbose=0)
        assert result is None or np.array_equal(result, images)
