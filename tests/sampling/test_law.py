"""Samples follow exactly the law that `log_prob` describes: all pictures are enumerated."""

import enumeration
import numpy as np
import pytest
from keras import ops
from reference_mixture import ReferencePixel
from scipy.special import logsumexp

MANY, SOME = 200_000, 30_000  # samples; the first tells laws apart that differ by half a percent


@pytest.fixture(scope="module")
def model():
    return enumeration.enumerable_model()


@pytest.fixture(scope="module")
def two_channels():
    return enumeration.enumerable_model((1, 2, 2))


def draw(model, label, count=SOME, **arguments):
    return model.sample(np.full(count, label), batch_size=10_000, verbose=0, **arguments)


def restricted(log_probs, allowed):
    """A law given that the picture is an allowed one."""
    log_probs = np.where(allowed, log_probs, -np.inf)
    return log_probs - logsumexp(log_probs)


def guided_law(model, label, weight, temperature=1.0):
    """Sub-pixel by sub-pixel: `(1 + w) log p(. | y) - w log p(.)`, divided by T, normalized."""
    pairs = zip(
        enumeration.conditionals(enumeration.log_law(model, label)),
        enumeration.conditionals(enumeration.log_law(model, enumeration.NO_LABEL)),
        strict=True,
    )
    return enumeration.law_from_conditionals(
        [((1 + weight) * given - weight * without) / temperature for given, without in pairs]
    )


@pytest.mark.parametrize(("label", "count"), [(0, MANY), (1, SOME), (enumeration.NO_LABEL, SOME)])
def test_samples(model, label, count):
    log_probs = enumeration.log_law(model, label)
    assert enumeration.chi_square(draw(model, label, count, seed=1), log_probs) > 1e-3


def test_samples_of_two_channels(two_channels):
    log_probs = enumeration.log_law(two_channels, 1)
    assert enumeration.chi_square(draw(two_channels, 1, seed=2), log_probs) > 1e-3


def test_samples_of_an_unconditional_model():
    model = enumeration.enumerable_model(num_classes=0, label_dropout_rate=0.0)
    images = model.sample(SOME, seed=1, batch_size=10_000, verbose=0)
    assert enumeration.chi_square(images, enumeration.log_law(model, None)) > 1e-3


def test_completion_of_rows(model):
    pictures = enumeration.all_pictures()
    given = pictures[100]
    images = model.complete(
        np.repeat(given[None], MANY, axis=0),
        1,
        np.ones(MANY, int),
        3,
        batch_size=10_000,
        verbose=0,
    )
    np.testing.assert_array_equal(images[:, 0], np.repeat(given[None, 0], MANY, axis=0))
    allowed = np.all(pictures[:, 0] == given[0], axis=(1, 2))
    log_probs = restricted(enumeration.log_law(model, 1), allowed)
    assert enumeration.chi_square(images, log_probs) > 1e-3


def test_completion_of_a_mask_that_ends_inside_a_row(model):
    pictures = enumeration.all_pictures()
    given, mask = pictures[201], np.array([[True, True], [True, False]])
    images = model.complete(
        np.repeat(given[None], SOME, axis=0), mask, 0, 0, batch_size=10_000, verbose=0
    )
    allowed = np.all((pictures == given)[:, mask], axis=(1, 2))
    assert allowed.sum() == 4
    log_probs = restricted(enumeration.log_law(model, 0), allowed)
    assert enumeration.chi_square(images, log_probs) > 1e-3


@pytest.mark.parametrize(("weight", "temperature"), [(1.5, 1.0), (0.5, 0.7)])
def test_guidance(model, weight, temperature):
    images = draw(model, 1, seed=4, guidance=weight, temperature=temperature)
    assert enumeration.chi_square(images, guided_law(model, 1, weight, temperature)) > 1e-3
    assert enumeration.chi_square(images, enumeration.log_law(model, 1)) < 1e-9


def test_guidance_of_two_channels(two_channels):
    images = draw(two_channels, 1, seed=5, guidance=2.0)
    assert enumeration.chi_square(images, guided_law(two_channels, 1, 2.0)) > 1e-3


def test_guided_completion(model):
    pictures = enumeration.all_pictures()
    given = pictures[77]
    images = model.complete(
        np.repeat(given[None], SOME, axis=0), 1, 1, 0, guidance=1.0, batch_size=10_000, verbose=0
    )
    allowed = np.all(pictures[:, 0] == given[0], axis=(1, 2))
    log_probs = restricted(guided_law(model, 1, 1.0), allowed)
    assert enumeration.chi_square(images, log_probs) > 1e-3


@pytest.mark.parametrize("temperature", [0.5, pytest.param(2.0, marks=pytest.mark.once)])
def test_temperature_divides_logits_and_multiplies_scales(model, temperature):
    pictures = enumeration.all_pictures()
    inputs = {"image": pictures, "label": np.zeros(256, "int32")}
    parameters = ops.convert_to_numpy(model(inputs)).reshape(256, 4, -1).astype("float64")
    mixtures = model.num_mixtures
    parameters[..., :mixtures] /= temperature
    parameters[..., 2 * mixtures : 3 * mixtures] += np.log(temperature)
    log_probs = [
        sum(
            ReferencePixel(pixel, 1, 4).log_prefix([level])
            for pixel, level in zip(of_picture, picture.ravel(), strict=True)
        )
        for of_picture, picture in zip(parameters, pictures, strict=True)
    ]
    images = draw(model, 0, seed=7, temperature=temperature)
    assert enumeration.chi_square(images, np.array(log_probs)) > 1e-3
