"""Compares all models with the probabilities of all images of a tiny image space."""

import functools
import itertools

import enumeration
import numpy as np
import pytest
from keras import ops
from reference_mixture import ReferencePixel
from scipy.special import log_softmax, logsumexp, softmax

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.distributions.heads import LogisticMixtureHead
from keras_pixelcnnpp.distributions.levels import to_levels

NONE = -1
LABELS = (0, 1, NONE)
MANY, SOME = 50_000, 20_000  # samples; MANY detects differences of one percent
MIXTURE, SOFTMAX = "logistic_mixture", "categorical"
FIRST = (kp.PixelCNNPlusPlus, MIXTURE, (2, 2, 1), "bias")
OF_CHANNELS = (kp.GatedPixelCNN, SOFTMAX, (2, 1, 2), "bias")
# Further combinations. All strategies are compared in test_incremental_pass.
MIXED_CHANNELS = (kp.PixelCNNPlusPlus, MIXTURE, (1, 2, 2), "one_hot")
SLOW = [
    (kp.PixelCNNPlusPlus, MIXTURE, (4, 1, 1), "one_hot"),
    (kp.PixelCNNPlusPlus, MIXTURE, (1, 1, 4), "none"),
    (kp.GatedPixelCNN, MIXTURE, (1, 2, 2), "adaptive_norm"),
]


def model_of(cls, head, image_shape, conditioning):
    options = {"head": head, "conditioning": conditioning, "unlabeled_weight": 1.0}
    return enumeration.as_trained(enumeration.enumerable_model(image_shape, cls, **options), 3.0)


class Case:
    """A model, and the log-probabilities of all 256 images under each label."""

    def __init__(self, cls, head, image_shape, conditioning):
        self.model = model_of(cls, head, image_shape, conditioning)
        self.image_shape = image_shape
        self.images = enumeration.all_images(image_shape)
        self.laws = [enumeration.log_law(self.model, label) for label in LABELS]
        mean = logsumexp(self.laws[:2], axis=0) - np.log(2)
        np.testing.assert_allclose(self.laws[NONE], mean, atol=1e-5)
        self.sees_labels = conditioning != "none"

    def sample(self, label, count=SOME, **arguments):
        labels = np.full(count, label)
        return self.model.sample(labels, batch_size=10_000, verbose=0, **arguments)

    def guided(self, label, guidance, logit_scale, digits=1, temperature=None):
        """Returns the law of guided samples, p(l | y)^(1 + w) q(l)^-w for each sub-pixel."""
        base = {1: 4, 2: 2}[digits]
        laws = tempered = self.laws[:2]
        if temperature is not None:
            tempered = [self.at_temperature(each, temperature) for each in (0, 1)]
        classes = [[enumeration.conditionals(x, base) for x in part] for part in (laws, tempered)]
        before, guided = np.zeros(2), []
        for untempered, steps in zip(*(zip(*part, strict=True) for part in classes), strict=True):
            weights = log_softmax(logit_scale * before, axis=0)[..., None]
            marginal = logsumexp(weights + np.stack(steps), axis=0)
            guided.append((1 + guidance) * steps[label] - guidance * marginal)
            before = before[..., None] + np.stack(untempered)
        return enumeration.law_from_conditionals(guided)

    def at_temperature(self, label, temperature):
        """Returns the law at temperature T: logits divided by T, scales of a mixture times T."""
        if self.model.head == SOFTMAX:
            steps = enumeration.conditionals(self.laws[label])
            return enumeration.law_from_conditionals([step / temperature for step in steps])
        channels, mixtures = self.image_shape[-1], self.model.num_mixtures
        labels = np.full((256, 1), label)
        parameters = self.model.pixel_parameters(self.images, ops.convert_to_tensor(labels))
        parameters = ops.convert_to_numpy(parameters).astype("float64")
        parameters = parameters.reshape(256, 4 // channels, -1)
        first = (1 + channels) * mixtures
        parameters[..., :mixtures] /= temperature
        parameters[..., first : first + channels * mixtures] += np.log(temperature)
        levels = to_levels(self.images, 4).reshape(256, 4 // channels, channels)
        log_probs = [
            sum(
                ReferencePixel(pixel, channels, 4).log_prefix(values)
                for pixel, values in zip(*image, strict=True)
            )
            for image in zip(parameters, levels, strict=True)
        ]
        return np.array(log_probs)


def cases(*every_backend, once=(), slow=()):
    """Returns the mark that runs a test with these cases, the last ones in `make test-all`.

    pytest runs all tests of a case before those of the next one, so only one model is in memory.
    """
    more = [pytest.param(case, marks=pytest.mark.once) for case in once]
    more += [pytest.param(case, marks=[pytest.mark.once, pytest.mark.slow]) for case in slow]
    return pytest.mark.parametrize(
        "case",
        [*every_backend, *more],
        indirect=True,
        scope="module",
        ids=lambda case: f"{case[0].__name__}-{case[1:3]}",
    )


@pytest.fixture(scope="module")
def case(request):
    return Case(*request.param)


def restricted(log_probs, allowed):
    """Conditions a law on a set of allowed images."""
    log_probs = np.where(allowed, log_probs, -np.inf)
    return log_probs - logsumexp(log_probs)


@cases(FIRST, OF_CHANNELS, slow=SLOW)
def test_part_of_an_image_is_a_sum_over_all_endings(case):
    height, width, channels = case.image_shape
    expected = []
    for rows in range(height + 1):
        joint = [law.reshape((4,) * 4) for law in case.laws[:2]]
        unknown = tuple(range(rows * width * channels, 4))
        sums = [logsumexp(each, axis=unknown, keepdims=True) for each in joint]
        expected.append(np.stack([np.broadcast_to(each, (4,) * 4).ravel() for each in sums], 1))
    expected = np.stack(expected, axis=1)
    rows = range(height + 1)
    scores = case.model.class_log_likelihoods(case.images, observed=rows, batch_size=256)
    np.testing.assert_allclose(scores, expected, atol=2e-4)
    received = case.model.class_probabilities(case.images, observed=rows, batch_size=256)
    np.testing.assert_allclose(received, softmax(expected, axis=-1), atol=1e-4)
    np.testing.assert_array_equal(received[:, 0], 0.5)
    assert (np.ptp(received[:, -1]) > 0.01) == case.sees_labels


@cases(FIRST, OF_CHANNELS, slow=SLOW)
def test_maps_are_the_conditionals_of_pixels(case):
    values, conditionals = to_levels(case.images, 4).reshape(256, 4), []
    for law in case.laws:
        steps = enumeration.conditionals(law)
        each = [step[tuple(values[:, : k + 1].T)] for k, step in enumerate(steps)]
        # Particles see whole pixels with all channels.
        conditionals.append(np.stack(each, axis=1).reshape(256, *case.image_shape).sum(axis=-1))
    for label, against in ((0, 1), (NONE, 0), (1, NONE)):
        evidence = case.model.evidence_map(case.images, label, against, batch_size=256)
        expected = conditionals[label] - conditionals[against]
        np.testing.assert_allclose(evidence, expected, atol=2e-4)
    labels = np.arange(256) % 3 - 1  # also without a label
    maps = case.model.pixel_log_probs(case.images, labels, batch_size=100)
    expected = np.stack([conditionals[0], conditionals[1], conditionals[NONE]])
    np.testing.assert_allclose(maps, expected[labels, np.arange(256)], atol=2e-4)
    evidence = conditionals[0] - conditionals[1]
    assert (np.abs(evidence).max() > 0.1) == case.sees_labels


@cases(FIRST, OF_CHANNELS, once=[MIXED_CHANNELS], slow=SLOW)
def test_samples_follow_the_law(case):
    count = MANY if case.image_shape == FIRST[2] else SOME
    images = case.sample(1, count, seed=1)
    assert enumeration.chi_square(images, case.laws[1]) > 1e-3
    assert (enumeration.chi_square(images, case.laws[0]) < 1e-9) == case.sees_labels
    images = case.sample(NONE, count, seed=1)
    assert enumeration.chi_square(images, case.laws[NONE]) > 1e-3


@cases(FIRST, OF_CHANNELS)
def test_temperature(case):
    for temperature in (0.4, 1.6):
        images = case.sample(1, seed=4, temperature=temperature)
        assert enumeration.chi_square(images, case.at_temperature(1, temperature)) > 1e-3
    # The likelihoods of the classes, which guidance compares, are those at temperature 1.
    how = {"guidance": 4.0, "guidance_logit_scale": 3.0, "temperature": 0.4}
    images = case.sample(1, seed=4, **how)
    assert enumeration.chi_square(images, case.guided(1, 4.0, 3.0, temperature=0.4)) > 1e-3


@cases(FIRST, OF_CHANNELS, once=[MIXED_CHANNELS], slow=SLOW)
def test_guided_samples_follow_their_law(case):
    """With b = 1, q is the exact marginal p(x), which guidance changes most."""
    images = case.sample(1, seed=5, guidance=2.0, guidance_logit_scale=1.0)
    assert enumeration.chi_square(images, case.guided(1, 2.0, 1.0)) > 1e-3
    assert (enumeration.chi_square(images, case.laws[1]) < 1e-6) == case.sees_labels
    images = case.sample(0, seed=5, guidance=1.0, guidance_logit_scale=0.1)
    assert enumeration.chi_square(images, case.guided(0, 1.0, 0.1)) > 1e-3


@cases(once=[FIRST])
def test_guidance_of_many_levels_is_that_of_their_digits(case, monkeypatch):
    monkeypatch.setattr(LogisticMixtureHead, "levels_at_once", 2)
    how = {"guidance": 2.0, "guidance_logit_scale": 1.0, "batch_size": 10_000, "verbose": 0}
    images = model_of(*FIRST).sample(np.ones(SOME, int), seed=5, **how)
    assert enumeration.chi_square(images, case.guided(1, 2.0, 1.0, digits=2)) > 1e-3


def every_mask(image_shape):
    height, width, _ = image_shape
    for bits in itertools.product([False, True], repeat=height * width):
        yield np.reshape(bits, (height, width, 1))


# Masks of the channels of two pixels: both known ones first, last, or between unknown ones.
BY_CHANNEL = np.array([[1, 0, 0, 0], [0, 0, 0, 1], [0, 1, 1, 0], [1, 0, 1, 0]], bool)


@cases(FIRST, OF_CHANNELS, once=[MIXED_CHANNELS], slow=SLOW)
def test_likelihood_of_any_part_is_a_sum_over_the_others(case):
    """The estimate agrees within its own error, from 8 estimates with 512 particles."""
    rows, masks = [27, 141], list(every_mask(case.image_shape))
    if case.image_shape[-1] == 2:
        masks += list(BY_CHANNEL.reshape(-1, *case.image_shape))
    masks = np.array([np.broadcast_to(known, case.image_shape) for known in masks])
    observed = np.repeat(masks, 2, axis=0)  # the images take turns
    images = np.tile(case.images[rows], (len(masks), 1, 1, 1))
    allowed = ((case.images == images[:, None]) | ~observed[:, None]).all(axis=(2, 3, 4))
    expected = np.array([[logsumexp(law[some]) for law in case.laws[:2]] for some in allowed])
    how = {"batch_size": 10_000, "num_particles": 512}
    likelihoods = functools.partial(case.model.class_log_likelihoods, standard_error=True, **how)
    scores, errors = likelihoods(images, observed=observed)
    assert np.all(errors < 0.05)
    assert np.all(np.abs(scores - expected) <= 6 * errors + 2e-4)
    # Without particles, where all known sub-pixels precede the others.
    flat = observed.reshape(len(observed), -1)
    first = np.all(flat[:, :-1] >= flat[:, 1:], axis=1)
    scores, errors = likelihoods(images[first], observed=observed[first])
    assert np.all(errors == 0)
    np.testing.assert_allclose(scores, expected[first], atol=2e-4)
    if first.all():
        return
    last = np.flatnonzero(~first)[-1]
    copies, labels = np.repeat([last], 16), np.repeat([1, NONE], 8)
    estimates = case.model.log_prob(images[copies], labels, **how, observed=observed[copies])
    received = logsumexp(estimates.reshape(2, 8), axis=1) - np.log(8)
    marginal = logsumexp(case.laws[NONE][allowed[last]])
    np.testing.assert_allclose(received, [expected[last][1], marginal], atol=0.05)


@cases(once=[FIRST])
def test_guided_completions_follow_the_law_of_the_unknown_pixels(case):
    """Samples with guidance have a law over images as well."""
    mask, given = np.array([[False, True], [False, True]]), case.images[217]
    allowed = np.all((case.images == given)[:, mask], axis=(1, 2))
    law, half = (restricted(case.guided(0, w, 0.5), allowed) for w in (3.0, 1.5))
    images = np.repeat(given[None], 1000, axis=0)
    how = {"guidance": 3.0, "guidance_logit_scale": 0.5, "batch_size": 50_000, "verbose": 0}
    received = case.model.complete(images, mask, 0, seed=3, num_particles=128, **how)
    assert enumeration.chi_square(received, law) > 1e-3
    assert enumeration.chi_square(received, half) < 1e-4


@cases(FIRST)
@pytest.mark.parametrize("mask", [[[True, False], [False, False]], [[False, False], [True, True]]])
def test_several_completions_of_an_image_follow_its_law(case, mask):
    """They are independent if the known pixels come first, otherwise drawn from one run."""
    given = case.images[[201, 27]]
    images = np.repeat(given, 100, axis=0)
    how = {"num_samples": 8, "num_particles": 512, "batch_size": 50_000, "verbose": 0}
    received = case.model.complete(images, np.array(mask), 0, seed=3, **how)
    assert received.shape == (200, 8, 2, 2, 1)
    for image, samples in zip(given, received.reshape(2, 800, 2, 2, 1), strict=True):
        allowed = np.all((case.images == image)[:, mask], axis=(1, 2))
        assert enumeration.chi_square(samples, restricted(case.laws[0], allowed)) > 1e-3


@cases(once=[FIRST])
def test_collapsed_particles_are_reported(case):
    """The effective number of particles counts: one of two is about as good as all."""
    mask = np.array([[False, False], [True, True]])
    message = r"in 2 of 2 runs\..* about [12]\.\d of 2, .* Use more particles$"
    with pytest.warns(UserWarning, match=message):  # which is an error in all other tests
        case.model.complete(case.images[:2], mask, 0, 0, num_particles=2, num_samples=8)


@cases(FIRST)
def test_classes_of_completions_are_those_of_the_known_pixels(case):
    """Not those of p(y), for the image whose known pixels say most about its class."""
    joint = np.reshape(case.laws[:2], (2, 64, 4))  # classes, three known pixels, the last one
    known = logsumexp(joint, axis=2, keepdims=True)
    exact = logsumexp(joint, axis=0) - logsumexp(known, axis=0)
    by_prior = logsumexp(joint - known, axis=0) - np.log(2)
    row = np.argmax(np.sum(np.exp(exact) * (exact - by_prior), axis=1))
    images, mask = case.images[4 * row : 4 * row + 1], np.array([[True, True], [True, False]])
    how = {"num_samples": SOME, "batch_size": 10_000, "verbose": 0}
    (received,) = case.model.complete(images, mask, NONE, seed=0, **how)
    last = enumeration.image_numbers(received) - 4 * row
    assert enumeration.chi_square_of_numbers(last, exact[row]) > 1e-3
    assert enumeration.chi_square_of_numbers(last, by_prior[row]) < 1e-5


@pytest.mark.once
def test_unconditional_model():
    model = enumeration.enumerable_model(cls=kp.PixelCNN, head=MIXTURE, num_classes=0)
    images, law = enumeration.all_images(), enumeration.log_law(model, None)
    received = model.sample(SOME, seed=1, batch_size=10_000, verbose=0)
    assert enumeration.chi_square(received, law) > 1e-3
    mask = np.array([[False, True], [True, False]])
    allowed = np.all((images == images[201])[:, mask], axis=(1, 2))
    many = np.repeat(images[201:202], 8, axis=0)
    estimates = model.log_prob(many, None, observed=mask, num_particles=512)
    score = [logsumexp(estimates) - np.log(8)]
    assert score[0] == pytest.approx(logsumexp(law[allowed]), abs=0.02)
