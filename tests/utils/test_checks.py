"""Tables of the checks of arguments: accepted values with their results, and refused ones."""

import re
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

from keras_pixelcnnpp.utils import checks
from keras_pixelcnnpp.utils.checks import (
    checked_class_names,
    checked_images,
    checked_labels,
    checked_observed,
    checked_rows,
    class_label,
    is_larger,
    is_prefix,
    require_choice,
    require_integer,
    require_number,
)
from keras_pixelcnnpp.utils.errors import UserError

pytestmark = pytest.mark.once

NAN, INF = float("nan"), float("inf")
SHAPE = (2, 3, 1)
IMAGES = np.arange(200, 212, dtype="uint8").reshape(2, *SHAPE)
NAMES = ("cat", "dog", "owl")


def accepted_or(is_valid, message):
    return nullcontext() if is_valid else pytest.raises(UserError, match=message)


@pytest.mark.parametrize(
    ("value", "low", "high", "is_valid"),
    [
        *((value, 1, None, True) for value in (1, np.int64(5), np.uint8(1), 10**9)),
        *((value, 1, None, False) for value in (0, -1, 1.0, "1", None, True, np.bool_(True), [1])),
        *((value, 0, 3, True) for value in (0, 3)),
        *((value, 0, 3, False) for value in (-1, 4)),
        (2, 2, None, True),
        (1, 2, None, False),
    ],
)
def test_integers(value, low, high, is_valid):
    limits = f"from {low} to {high}" if high else "positive" if low == 1 else f"at least {low}"
    with accepted_or(is_valid, rf"`size`\. Expected an? .*{limits}.* Received: size="):
        require_integer("size", value, low, high)


@pytest.mark.parametrize(
    ("value", "interval", "is_valid"),
    [
        *((value, "[0, 1)", True) for value in (0, 0.5, np.float32(0.99), np.int32(0))),
        *((value, "[0, 1)", False) for value in (1, -1e-9, NAN, INF, "0.5", None, False, [0.5])),
        *((value, "(0, 1]", True) for value in (1e-300, 1)),
        *((value, "(0, 1]", False) for value in (0, 1.0000001)),
        *((value, "[0, inf)", True) for value in (0, 1e300)),
        *((value, "[0, inf)", False) for value in (INF, -INF)),
        *((value, "[1e-6, 1e6]", True) for value in (1e-6, 1e6)),
    ],
)
def test_numbers(value, interval, is_valid):
    with accepted_or(is_valid, re.escape(f"`rate`. Expected a number in {interval}.")):
        require_number("rate", value, interval)


def test_temperatures_and_choices():
    checks.require_temperature(1e6)
    for value in (9e-7, 1.1e6):
        with pytest.raises(UserError, match="`temperature`"):
            checks.require_temperature(value)
    require_choice("kind", "b", ("a", "b"))
    with pytest.raises(UserError, match=r"`kind`\. Expected one of: a, b. Received: kind='c'"):
        require_choice("kind", "c", ("a", "b"))


def test_plain_values():
    given = np.array([[1, 2]]), [np.float32(0.5), "x"], np.int64(3), None
    assert checks.plain(given) == (((1, 2),), (0.5, "x"), 3, None)
    assert all(type(x) is int for x in checks.plain(np.array([1, 2])))


@pytest.mark.parametrize(
    "value",
    [
        *((4, 4), (0, 4, 1), (4.0, 4, 1), (True, 4, 1), 4, "441"),
        (4096, 4097, 1),  # more than 2^24 values
    ],
)
def test_image_shapes(value):
    for valid in ([1, 1, 3], np.array([4096, 4096, 1])):
        assert checks.checked_image_shape(valid) == tuple(valid)
    with pytest.raises(UserError, match=r"`image_shape`\. Expected three positive.*16,777,216"):
        checks.checked_image_shape(value)


# --- images: each with the arguments num_levels and ordered, and what the result is ---------------


@pytest.mark.parametrize(
    ("images", "num_levels", "ordered"),
    [
        (IMAGES, 5, True),
        (IMAGES.astype("int64"), 17, True),
        (IMAGES[:0], 5, True),
        (np.zeros_like(IMAGES), 5, True),  # black images are valid
        (IMAGES // 100, 256, True),  # dark, but a model of 256 levels takes all values
        (IMAGES.astype("uint16") * 19, 4096, True),
        (IMAGES.astype("int32") % 5, 5, False),
        (IMAGES.astype("uint16") + 50, 300, False),
        (np.full_like(IMAGES, 4095, "int16"), 4096, True),
        (np.ma.masked_array(IMAGES, mask=False), 5, True),
    ],
)
def test_images(images, num_levels, ordered):
    """With and without an axis of one channel; the values stay, in the smallest dtype."""
    for given in (images, images[..., 0], list(images)):
        found = checked_images(given, SHAPE, num_levels, strict=True, ordered=ordered)
        np.testing.assert_array_equal(found, images)
        assert found.shape == (len(images), *SHAPE)
        assert found.dtype == ("uint8" if num_levels <= 256 else "uint16")
        if not len(images):
            break  # an empty list has no shape


CONVERT = r"Convert all data with np\.interp\(images, \(LOW, HIGH\), \(0, {}\)\).*scientific_data"


@pytest.mark.parametrize(
    ("images", "num_levels", "ordered", "message"),
    [
        (IMAGES / 255, 5, True, "integers 0–255 of shape.*dtype=float64. " + CONVERT.format(255)),
        (IMAGES.astype(int) + 50, 5, True, r"0 to 255.*from 250 to 261, first at index 1\. Conv"),
        (IMAGES, 300, True, "0–299.*dtype=uint8, which has 256 values only"),
        (IMAGES / 255, 300, True, r"\(0, 299\).*Levels need only images.astype\('uint16'\)"),
        (np.full(IMAGES.shape, 5), 5, False, "from 0 to 4. Received: values from 5 to 5.*index 0$"),
        (IMAGES / 300, 5, False, "Invalid codes. Expected integers 0–4.*dtype=float64$"),
        (
            np.where(IMAGES > 205, NAN, IMAGES),
            5,
            True,
            "6 of 12.*first at index 1.*isfinite.*bits_",
        ),
        (np.ma.masked_greater(IMAGES, 205), 5, True, r"observed=~images\.mask\.any\(axis=-1\)$"),
        (np.ma.masked_greater(IMAGES[..., 0], 205), 5, True, r"observed=~images\.mask$"),
        ([np.ma.masked_greater(x, 205) for x in IMAGES], 5, True, "no masked values"),
        (IMAGES.reshape(2, 1, 2, 3), 5, True, r"np\.moveaxis\(images, 1, -1\)"),
        (IMAGES.reshape(2, 6), 5, True, r"images\.reshape\(-1, 2, 3, 1\)"),
        (np.tile(IMAGES, (1, 2, 1, 1)), 5, True, "Resize larger images to 2×3.*RandomCrops"),
        (IMAGES[:, :1], 5, True, r"of shape \(N, 2, 3, 1\). Received: shape=\(2, 1, 3, 1\), dtype"),
        (7, 5, True, r"shape=\(\)"),
    ],
)
def test_wrong_images(images, num_levels, ordered, message):
    with pytest.raises(UserError, match=message):
        checked_images(images, SHAPE, num_levels, ordered=ordered)


@pytest.mark.parametrize(
    ("brightest", "num_levels", "seems_levels"),
    [
        *((4, 5, True), (16, 5, True), (17, 5, False), (63, 64, True), (64, 64, False)),
        *((16, 255, True), (199, 255, True), (16, 256, False), (1, 2, True), (0, 5, False)),
    ],
)
def test_levels_in_place_of_images(brightest, num_levels, seems_levels):
    images = np.minimum(IMAGES, brightest)
    if not seems_levels:  # without a warning, which would be an error
        checked_images(images, SHAPE, num_levels, strict=True)
        return
    message = f"from 0 to {brightest}, which look like levels.*K, at least {brightest + 1}, is"
    with pytest.raises(UserError, match=message + ".*model.allow_dark_images = True"):
        checked_images(images, SHAPE, num_levels, strict=True)
    with pytest.warns(UserWarning, match=message):
        found = checked_images(images, SHAPE, num_levels)
    np.testing.assert_array_equal(found, images)


def test_shapes_of_tensors_may_be_unknown():
    def traced(*shape):
        return SimpleNamespace(shape=shape, dtype="int32")

    for shape in ((None, *SHAPE), (None, None, 3, 1), (2, *SHAPE)):
        checks.require_images(traced(*shape), SHAPE)
    for shape in ((None, 3, 3, 1), (None, 2, 3), (None, None, 3, 2)):
        with pytest.raises(UserError, match="Invalid images"):
            checks.require_images(traced(*shape), SHAPE)
    of_no_rank = SimpleNamespace(shape=SimpleNamespace(rank=None), dtype="uint8")  # of TensorFlow
    with pytest.raises(UserError, match=r"Expected integers 0–255 of shape \(N, 2, 3, 1\)"):
        checks.require_images(of_no_rank, SHAPE)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((9, 2, 3, 1), False),
        ((9, 3, 3, 1), True),
        ((9, 1, 9, 1), False),
        ((9, 3, 3, 2), False),
        ((9, None, 9, 1), False),
        ((3, 3, 1), False),
    ],
)
def test_larger_images(shape, expected):
    assert is_larger(shape, SHAPE) == expected


# --- labels and names ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "lowest", "expected"),
    [
        ([0, 2, 1], 0, [0, 2, 1]),
        (np.uint8([2, 2, 0]), 0, [2, 2, 0]),
        (1, 0, [1, 1, 1]),
        ("dog", 0, [1, 1, 1]),
        (["dog", 2, "0"], 0, [1, 2, 0]),
        ([-1, 0, 2], -1, [-1, 0, 2]),
        ([-1, 0, 2], 0, None),
        ([-2, 0, 2], -1, None),
        ([0, 1, 3], 0, None),
        ([0, 1], 0, None),
        ([0.0, 1.0, 2.0], 0, None),
        ([True, False, True], 0, None),
        ([[0], [1], [2]], 0, None),
        (["fox", "cat", "owl"], 0, None),
        (np.ma.masked_equal([0, 1, 2], 1), 0, None),
    ],
)
def test_labels(labels, lowest, expected):
    if expected is None:
        with pytest.raises(UserError, match=r"labels|Unknown class"):
            checked_labels(labels, 3, 3, NAMES, lowest)
    else:
        found = checked_labels(labels, 3, 3, NAMES, lowest)
        assert (found.tolist(), found.dtype) == (expected, "int32")


def test_messages_about_labels():
    with pytest.raises(UserError, match=r"Expected integers from 0 to 2.*-1 to 2, first at inde"):
        checked_labels([2, -1, 0], 3, 3)
    with pytest.raises(UserError, match=r"Expected 3 integers; -1 stands for p\(x\).*none"):
        checked_labels(None, 3, 3, lowest=-1)
    with pytest.raises(UserError, match=r"no masked values. Received: a masked array$"):
        checked_labels(np.ma.masked_equal([0, 1, 2], 1), 3, 3)
    with pytest.raises(UserError, match=r"first at index 2\. Labels count from 0: subtract 1"):
        checked_labels([1, 2, 3], 3, 3)
    for others in ([0, 2, 3], [1, 2, 4]):
        with pytest.raises(UserError, match=r"first at index 2$"):
            checked_labels(others, 3, 3)
    assert checked_labels([], 0, 3).shape == (0,)
    checks.require_one_label((5,))
    checks.require_one_label((5, 1))
    for shape in ((5, 3), (5, 1, 1)):
        with pytest.raises(UserError, match="Convert one-hot labels by"):
            checks.require_one_label(shape)


@pytest.mark.parametrize(
    ("names", "name", "expected"),
    [
        (NAMES, "owl", 2),
        (NAMES, "2", 2),
        (("7", "1"), "1", 1),
        (("7", "1"), "0", "Expected one of: 7, 1$"),  # only names, because a name is a number
        (("0", "b"), "1", 1),
        (NAMES, "3", r"Unknown class '3'.*cat, dog, owl \(or 0 to 2\)$"),
        (NAMES, "-1", "Unknown class '-1'"),
        ((), "0", "has no class names"),
    ],
)
def test_names_and_numbers_of_classes(names, name, expected):
    if isinstance(expected, int):
        assert class_label(names, name) == expected
    else:
        with pytest.raises(UserError, match=expected):
            class_label(names, name)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (None, ("Class0", "Class1")),
        (["a", "b"], ("a", "b")),
        (np.array(["a", "b"]), ("a", "b")),
        (["a"], "2 strings"),
        ("ab", "2 strings"),
        (["a", 3], "2 strings"),
        (["a", "b\n"], "must be printable"),
        (["a", "a"], "must be unique"),
    ],
)
def test_class_names(names, expected):
    if isinstance(expected, tuple):
        assert checked_class_names(names, 2) == expected
    else:
        with pytest.raises(UserError, match=expected):
            checked_class_names(names, 2)


# --- known pixels --------------------------------------------------------------------------------

MASK = np.array([[True, True, False], [False, True, False]])
TWO = np.stack([MASK, ~MASK])


@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        (0, np.zeros((2, 2, 3), bool)),
        (1, np.tile([[True] * 3, [False] * 3], (2, 1, 1))),
        (np.int64(2), np.ones((2, 2, 3), bool)),
        (MASK, np.stack([MASK, MASK])),
        (MASK.astype(int), np.stack([MASK, MASK])),
        (MASK.astype("float32"), np.stack([MASK, MASK])),
        (TWO, TWO),
        (TWO.tolist(), TWO),
        (TWO[..., None], TWO),
    ],
)
def test_known_pixels(observed, expected):
    found = checked_observed(observed, 2, SHAPE)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == bool


def test_known_channels():
    """The last axis stays only if a pixel has known and unknown channels."""
    partly = np.repeat(TWO[..., None], 2, axis=-1)
    np.testing.assert_array_equal(checked_observed(partly, 2, (2, 3, 2)), TWO)
    partly[1, 1, 1, 0] = not partly[1, 1, 1, 0]
    np.testing.assert_array_equal(checked_observed(partly, 2, (2, 3, 2)), partly)


@pytest.mark.parametrize(
    "observed",
    [
        *(3, -1, 1.5, True, "1", None, [1, 2], MASK * 2, MASK * 0.5, MASK.T, TWO[:1], TWO[0, 0]),
        np.ma.masked_array(MASK, mask=MASK),
    ],
)
def test_wrong_known_pixels(observed):
    with pytest.raises(
        UserError, match=r"`observed`\. Expected (an integer from 0 to 2|no masked)"
    ):
        checked_observed(observed, 2, SHAPE)


def test_known_rows():
    for value in (0, 2, [0, 2, 1], np.uint8([2])):
        np.testing.assert_array_equal(checked_rows(value, 2), value)
    for value in (3, -1, [0, 3], 1.0, True, [[1]], MASK):
        with pytest.raises(UserError, match=r"`observed`\. Expected an integer from 0 to 2, a seq"):
            checked_rows(value, 2)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ([[1, 1, 0], [0, 0, 0]], True),
        ([[1, 1, 1], [1, 0, 0]], True),
        ([[1, 1, 1], [0, 1, 0]], False),
        ([[0, 1, 1], [1, 1, 1]], False),
        ([[0, 0, 0], [0, 0, 0]], True),
    ],
)
def test_known_pixels_before_the_unknown_ones(known, expected):
    whole = np.ones((1, 2, 3), bool)
    assert is_prefix(np.array([known], bool)) == expected
    assert is_prefix(np.concatenate([whole, np.array([known], bool)])) == expected


def test_arguments_of_a_class_and_its_bases():
    class Base:
        def __init__(self, a, b=1):
            pass

    class Derived(Base):
        def __init__(self, c, *args, b=2, **kwargs):
            pass

    found = checks.argument_defaults(Derived)
    assert list(found) == list(checks.argument_names(Derived)) == ["c", "b", "a"]
    assert (found["b"], found["a"]) == (2, checks.inspect.Parameter.empty)
