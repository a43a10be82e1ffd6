"""Vectors as data: precision, names, ranges, and posteriors on grids.

Warnings are errors in tests, so nothing is noted without a reason.
"""

import re
from pathlib import Path

import enumeration
import keras
import numpy as np
import pytest
from keras import ops
from layer_checks import randomize
from scipy.stats import norm

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.layers.conditioning import BiasConditioning
from keras_pixelcnnpp.models import grid_posterior
from keras_pixelcnnpp.utils.errors import UserError

pytestmark = pytest.mark.eagerly

SMALL = {"num_levels": 2, "filters": 4, "num_blocks": 1}
RNG = np.random.default_rng(0)
IMAGES = RNG.choice(np.array([0, 255], "uint8"), (40, 2, 2, 1))
H = RNG.uniform(0.1, 0.9, (40, 2))
NAMES = ["mass", "spin"]


class Table(dict):
    """Has the interface of a data frame that is used: columns by name."""

    columns = property(list)

    def __array__(self, dtype=None, copy=None):
        return np.stack(list(self.values()), axis=-1)

    shape = property(lambda self: np.array(self).shape)


def make(size=2, spread=0.5, **arguments):
    keras.utils.set_random_seed(0)
    model = kp.GatedPixelCNN((2, 2, 1), conditions=kp.Vectors(size, **arguments), **SMALL)
    return randomize(model, scale=spread)


def trained(h=H, rate=0.0, model=None, **arguments):
    """Returns a model after `fit` at a rate of 0, which changes only the facts learned of h."""
    model = model or make(np.shape(h)[-1], **arguments)
    model.compile(keras.optimizers.SGD(rate))
    model.fit(IMAGES[: np.shape(h)[0]], h, verbose=0)
    return model


def test_an_offset_changes_nothing():
    near, far = trained(H), trained(H * 10 + 2.459e6)
    change = far.log_prob(IMAGES, H * 10 + 2.459e6) - near.log_prob(IMAGES, H)
    assert np.abs(change).max() < 1e-5
    scores = 10 * far.score_function(IMAGES, H * 10 + 2.459e6)
    np.testing.assert_allclose(scores, near.score_function(IMAGES, H), atol=1e-5)
    grid = 2.459e6 + np.linspace(3, 7, 57)
    found = far.log_prob(np.tile(IMAGES[:1], (57, 1, 1, 1)), np.stack([grid, grid], axis=1))
    assert len(np.unique(found)) > 40


def test_a_range_without_resolution_is_refused():
    for h in (100 * H + 1e17, (H + 2.459e6).astype("float32")):
        with pytest.raises(ValueError, match="cannot resolve the range"):
            trained(h)
    with pytest.raises(ValueError, match="cannot resolve the range"):
        kp.Vectors(1, low=1e17, high=1e17 + 64)


def test_a_stream_is_scaled_in_float64():
    far, near = trained(H + 2.459e6), trained(H)
    batch = IMAGES, H + 2.459e6
    tensorflow = pytest.importorskip("tensorflow")
    data = tensorflow.data.Dataset.from_tensor_slices(batch).batch(40)
    wanted = near.evaluate(IMAGES, H, verbose=0)
    np.testing.assert_allclose(far.evaluate(data, verbose=0), wanted, rtol=1e-5)


def test_columns_are_selected_by_name():
    model = trained(names=NAMES)
    mass, spin = H.T
    table = Table(spin=spin, mass=mass)
    expected = model.log_prob(IMAGES, H)
    for given in (table, Table(**table, other=mass), dict(table)):
        np.testing.assert_array_equal(model.log_prob(IMAGES, given), expected)
    samples = model.sample(table, seed=0, verbose=0), model.sample(H, seed=0, verbose=0)
    np.testing.assert_array_equal(*samples)
    np.testing.assert_array_equal(trained(table, names=NAMES).log_prob(IMAGES, H), expected)
    for method in (model.log_prob, model.score_function, model.fit):
        with pytest.raises(ValueError, match=r"columns named mass, spin.*mass, x0"):
            method(IMAGES, Table(mass=mass, x0=spin))
    stream = ((IMAGES, {"mass": H[:, 0], "spin": H[:, 1]}) for _ in range(2))
    with pytest.raises(ValueError, match="vectors"):
        model.fit(stream, shuffle=False, verbose=0)


def test_bounds_are_weights(tmp_path):
    before = trained(rate=0.01)
    before.save_weights(tmp_path / "a.weights.h5")
    after = make()
    after.load_weights(tmp_path / "a.weights.h5")
    inner = (np.abs(H - 0.5) < 0.25).all(axis=1)
    trained(H[inner], model=after)
    np.testing.assert_array_equal(after.log_prob(IMAGES, H), before.log_prob(IMAGES, H))
    named, far = trained(names=NAMES), np.vstack([H[:39], [[7, 0.5]]])
    with pytest.warns(UserWarning, match="mass are outside of the range .*: 7"):
        trained(far, model=named)


def test_values_that_waste_the_range_are_noted():
    for h in (np.vstack([H[:39], [[-9999, 0.5]]]), np.exp(12 * H)):
        with pytest.warns(UserWarning, match=r'-9999.*scale="log"'):
            trained(h, names=NAMES)
    low, high = [np.exp(-5), 0], [np.exp(3), 1]
    model = make(low=low, high=high, scale=("log", "linear"))
    linear = make(low=[-5, 0], high=[3, 1])
    log_h = H * [8, 1] - [5, 0]
    h = np.stack([np.exp(log_h[:, 0]), log_h[:, 1]], axis=1)
    np.testing.assert_allclose(model.log_prob(IMAGES, h), linear.log_prob(IMAGES, log_h), atol=1e-6)
    slopes = linear.score_function(IMAGES, log_h) / np.stack([h[:, 0], np.ones(40)], axis=1)
    np.testing.assert_allclose(model.score_function(IMAGES, h), slopes, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match=r"positive values of h0.*-1"):
        model.log_prob(IMAGES[:1], [-1.0, 0.5])


def test_vectors_far_from_the_training_vectors_are_noted():
    along = np.stack([H[:, 0], H[:, 0] + 0.01 * H[:, 1]], axis=1)
    model = trained(along)
    with pytest.warns(UserWarning, match="farther from the mean of the training vectors"):
        model.log_prob(IMAGES[:1], [0.8, 0.2])
    model.log_prob(IMAGES, along)


def test_a_condition_that_is_none_is_refused():
    one = trained(H[:, :1])
    for wrong in (
        lambda: one.sample(3),
        lambda: one.grid_posterior(IMAGES, [0.2, 0.5, 0.5, 0.8]),
        lambda: kp.GridPosterior(np.array([[0.0], [0.5], [0.5]]), np.zeros((1, 3))),
        lambda: one.grid_posterior(IMAGES, [0.2, 0.8], groups=[np.nan] * 40),
        lambda: one.grid_posterior(IMAGES, [0.2, 0.8], groups=[None] * 40),
        lambda: one.fit(IMAGES, H[:, :1], class_weight={0: 2.0}, verbose=0),
    ):
        with pytest.raises(ValueError, match=r"\[\[3.0\]\]|vector|different|missing|no classes"):
            wrong()


def test_later_data_out_of_range_are_noted_or_nan():
    model = trained(names=NAMES)
    with pytest.warns(UserWarning, match="mass are outside"):
        model.fit(IMAGES, H, validation_data=(IMAGES, H + np.array([2, 0])), verbose=0)
    weights = model.get_weights()
    for wrong in (H + 2, H * np.nan):
        stream = ((IMAGES, h) for h in (H, wrong))
        with pytest.raises(RuntimeError, match="vector, or map out of range"):
            model.fit(stream, steps_per_epoch=2, shuffle=False, verbose=0)
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("offset", [2.459e6, 1.76e9])
def test_streams_whose_dtype_cannot_resolve_the_bounds_end_fit(offset):
    """The second range is less than a step of float32."""
    low, high = offset + H.min(axis=0), offset + H.max(axis=0)
    model = make(low=low, high=high)
    model.compile("sgd")
    stream = ((IMAGES, (H + offset).astype("float32")) for _ in range(2))
    with pytest.raises(RuntimeError, match="vector in float32"):
        model.fit(stream, steps_per_epoch=2, shuffle=False, verbose=0)


def test_vectors_differ_in_mixed_precision():
    vectors = kp.Vectors(1, 0, 1)
    encoder, strategy = (
        vectors.encoder((2, 2, 1)),
        BiasConditioning(vectors, dtype="mixed_bfloat16"),
    )
    values = encoder.scaled(vectors.parse(np.linspace(0.5, 0.52, 41), 41))
    (code,) = randomize(encoder)(ops.convert_to_tensor(values)[None])
    features = ops.zeros((1, 1, 1, 1, 64), "bfloat16")
    strategy(features, (code,))
    found = ops.cast(randomize(strategy)(features, (code,)), "float32")
    assert len(np.unique(ops.convert_to_numpy(found)[0, :, 0, 0], axis=0)) == 41


def gaussian(values, mean, deviation, **arguments):
    """Returns the posterior of one row that has a normal density."""
    return kp.GridPosterior(
        values[:, None], norm(mean, deviation).logpdf(values)[None], **arguments
    )


def test_intervals_stay_on_the_grid():
    """Equal probabilities are uniform between the ends of the outer cells."""
    uniform = kp.GridPosterior(np.array([[0.0], [5], [10]]), np.zeros((1, 3)))
    assert uniform.interval(0.9)[0, 0].tolist() == [0, 10]
    fine = kp.GridPosterior(np.linspace(0, 40, 41)[:, None], np.zeros((1, 41)))
    np.testing.assert_allclose(fine.interval(0.9)[0, 0], -0.5 + 41 * np.array([0.05, 0.95]))


def test_a_coarse_grid_has_the_variance_of_its_cells():
    found = gaussian(np.linspace(0, 10, 11), 5.0, 0.01)
    assert found.covariance[0, 0, 0] == pytest.approx(1 / 12)


def test_a_vector_twice_is_refused():
    with pytest.raises(ValueError, match="a vector twice"):
        kp.GridPosterior(np.array([[0.0], [0.5], [0.5]]), np.zeros((1, 3)))


def test_another_prior_is_normalized():
    values = np.linspace(-8, 8, 801)
    found = gaussian(values, 1.0, 1.0)
    prior = norm(0, 1).logpdf(values)
    for other in (found.with_prior(prior), kp.GridPosterior(found.grid, found.log_prob + prior)):
        assert other.mean[0, 0] == pytest.approx(0.5)
        assert other.probabilities.sum() == pytest.approx(1)
    with pytest.warns(UserWarning, match="logarithm"):
        found.with_prior(np.full(801, 1 / 801))


def test_a_log_spaced_grid_has_a_uniform_prior():
    model = make(1, low=1e-3, high=1, scale="log")
    values = np.geomspace(1e-3, 1, 200)
    found = model.grid_posterior(IMAGES[:1, :], values, observed=0)  # the prior itself
    assert found.mean[0, 0] == pytest.approx(0.5, abs=0.01)


def test_a_grid_is_a_product_of_values():
    model = make(low=0, high=1, names=NAMES)
    mass, spin = np.linspace(0, 1, 3), np.linspace(0, 1, 4)
    grid = np.stack(np.meshgrid(mass, spin, indexing="ij"), axis=-1).reshape(-1, 2)
    expected = model.grid_posterior(IMAGES, grid)
    for given in ({"spin": spin, "mass": mass}, (mass, spin)):
        found = model.grid_posterior(IMAGES, given)
        np.testing.assert_array_equal(found.grid, grid)
        np.testing.assert_array_equal(found.log_prob, expected.log_prob)
    assert found.names == ("mass", "spin")


def test_a_grid_that_is_too_coarse_is_noted():
    model = make(1, low=0, high=1)
    images = np.tile(IMAGES[:1], (4000, 1, 1, 1))
    with pytest.warns(UserWarning, match="coarser than the posterior"):
        model.grid_posterior(images, np.linspace(0, 1, 5), groups=np.zeros(4000))


def sharp(*means):
    """A model whose images have a Gaussian likelihood of two components around these means."""

    def log_means(model, images, values, options):
        scaled = values["vector"][:1]
        return -((scaled - np.array(means)) ** 2).sum(-1).repeat(len(images), 0) * 1e3

    return log_means


@pytest.mark.once
def test_each_component_of_a_grid_is_noted(monkeypatch):
    """One that is coarse, or at an end, is named, although the others are fine."""
    model, fine = make(low=0, high=1, names=NAMES), np.linspace(0, 1, 201)
    cases = {
        "probability of spin is at one value.* finer grid": ((0.0, 0.5), np.linspace(0, 1, 9)),
        "probability of spin is at an end of the grid.* wider": ((0.0, 0.8), fine[:121:20]),
    }
    for message, (means, coarse) in cases.items():
        monkeypatch.setattr(grid_posterior, "log_means", sharp(*means))
        with pytest.warns(UserWarning, match=f"In 3 of 3 posteriors, .*{message}") as caught:
            model.grid_posterior(IMAGES[:3], {"mass": fine, "spin": coarse})
        assert len(caught) == 1
        model.grid_posterior(IMAGES[:3], {"mass": fine, "spin": fine})


@pytest.mark.once
@pytest.mark.filterwarnings("ignore:In 1 of 1 posteriors")
def test_lists_that_could_be_vectors_or_values_are_refused():
    model = make(low=0, high=1, names=NAMES)
    with pytest.raises(ValueError, match=r"\{'mass': …, 'spin': …\}, or vectors as an array"):
        model.grid_posterior(IMAGES, [[0.2, 0.6], [0, 1]])
    for vectors in ([[0.2, 0.6], [0, 1], [0.3, 0.3]], np.array([[0.2, 0.6], [0, 1]])):
        assert len(model.grid_posterior(IMAGES[:1], vectors).grid) == len(vectors)


@pytest.mark.once
def test_true_vectors_by_name_or_outside_of_the_grid():
    values = np.linspace(0, 1, 11)
    grid = np.stack(np.meshgrid(values, values, indexing="ij"), axis=-1).reshape(-1, 2)
    found = kp.GridPosterior(grid, np.zeros((3, 121)), names=("a", "b"))
    true = np.array([[0.1, 0.9], [0.2, 0.8], [0.3, 0.7]])
    for given in (Table(b=true[:, 1], a=true[:, 0]), {"b": true[:, 1], "a": true[:, 0]}):
        np.testing.assert_array_equal(found.below(given), found.below(true))
        np.testing.assert_array_equal(found.summary(true=given)["a_true"], true[:, 0])
    with pytest.warns(UserWarning, match=r"2 of 3 values of b, such as 9, .*-0.05 to 1.05.*wider"):
        found.below(true * [1, 10] - [0, 6.5] * (true[:, 1:] < 0.75))


def test_samples_and_marginals_follow_the_posterior():
    values = np.linspace(-4, 4, 81)
    grid = np.stack(np.meshgrid(values, values, indexing="ij"), axis=-1).reshape(-1, 2)
    covariance = np.array([[0.5, 0.3], [0.3, 0.6]])
    log_prob = -0.5 * np.einsum("ni,ij,nj->n", grid, np.linalg.inv(covariance), grid)
    found = kp.GridPosterior(grid, log_prob[None], names=("a", "b"))
    samples = found.sample(20_000, seed=0)
    np.testing.assert_allclose(np.cov(samples[0].T), covariance, atol=0.02)
    assert len(np.unique(samples)) == samples.size
    one = found.marginal("b")
    np.testing.assert_allclose(one.covariance[0, 0, 0], 0.6, rtol=2e-3)
    np.testing.assert_allclose(one.interval(0.5), found.interval(0.5)[:, 1:])
    summary = found.summary(0.5, true=[[0.0, 1.0]])
    assert list(summary)[4:] == ["a_true", "b_mean", "b_sd", "b_low", "b_high", "b_true"]
    below = found.below([[0.0, np.sqrt(0.6)]])
    np.testing.assert_allclose(below, [[0.5, norm.cdf(1)]], atol=2e-3)
    assert len(found.corner(true=[0, 1]).axes) == 3


def test_score_function_is_the_derivative():
    """That of log p of images or known rows, summed over a group; its mean is 0."""
    # Unlike rectifiers, `concat_elu` has a slope without jumps.
    options = {"num_levels": 2, "filters": (4,), "num_blocks": 1, "num_resolutions": 1}
    vectors = kp.Vectors(2, low=0, high=1)
    model = kp.PixelCNNPlusPlus((2, 2, 1), conditions=vectors, conditioning="bias", **options)
    # With a step of 1e-2, the third derivative adds more than the noise for some weights.
    model, step = randomize(model, scale=0.4), 4e-3
    noise = 5e-4  # of float32, divided by the step
    for known in ({}, {"observed": 1}):
        scores = model.score_function(IMAGES, [0.4, 0.6], **known)
        for component, change in enumerate(step * np.eye(2)):
            low, high = (
                model.log_prob(IMAGES, [0.4, 0.6] + sign * change, **known).astype("float64")
                for sign in (-1, 1)
            )
            slope = (high - low) / (2 * step)
            np.testing.assert_allclose(scores[:, component], slope, atol=noise)
            assert np.ptp(slope) > 100 * noise
    every = enumeration.binary_images((2, 2, 1))
    mean = np.exp(model.log_prob(every, [0.4, 0.6])) @ model.score_function(every, [0.4, 0.6])
    np.testing.assert_allclose(mean, 0, atol=1e-5)
    groups = np.arange(40) % 3
    found = model.score_function(IMAGES, [0.4, 0.6], groups=groups, **known)
    expected = [scores[groups == group].sum(axis=0) for group in range(3)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    mask = np.array([[False, False], [True, True]])
    with pytest.raises(ValueError, match="precede all others"):
        model.score_function(IMAGES, [0.4, 0.6], observed=mask)


def test_ranks_of_exact_posteriors_are_uniform():
    """With an image of which the model knows nothing, the posterior is the prior."""
    rng = np.random.default_rng(0)
    model, axes = make(low=0, high=1), (np.linspace(0, 1, 61),) * 2
    h = rng.beta([1, 3], [1, 3], (400, 2))
    images = np.tile(IMAGES[:1], (400, 1, 1, 1))
    found = kp.rank_statistics(model, images, h, axes, observed=0)
    uniform, narrow = found.p_values
    assert uniform > 0.001 > 1e-6 > narrow
    counts, (low, high) = found.histogram(5)
    assert low < 80 < high
    assert ((low <= counts[0]) & (counts[0] <= high)).all()
    assert not ((low <= counts[1]) & (counts[1] <= high)).all()
    assert len(found.figure().axes) == 2


@pytest.mark.usefixtures("traced")
def test_the_sampler_of_the_page_agrees_with_the_grid():
    page = (Path(__file__).parents[2] / "docs/how-to/physical_parameters.md").read_text()
    code = re.search(r"^def mala\(.*?^    return .*?$", page, re.M | re.S)[0]
    found = {"np": np}
    exec(compile(code, "physical_parameters.md", "exec"), found)
    model = make(1, spread=0.2, low=0, high=1)  # without steps that a chain hardly takes
    chain = found["mala"](model, IMAGES[:1], [0.5], step=0.3, count=600)
    exact = model.grid_posterior(IMAGES[:1], np.linspace(0, 1, 101))
    deviation = np.sqrt(exact.covariance[0, 0])
    assert chain.mean() == pytest.approx(exact.mean[0, 0], abs=0.25 * deviation[0])
    assert chain.std() == pytest.approx(deviation[0], rel=0.2)


@pytest.mark.once
@pytest.mark.parametrize("dtype", ["float64", "float32", "int16"])
@pytest.mark.parametrize("shape", [(2, 3), (2, 1), (2,)])
def test_vectors_in_data(shape, dtype):
    values = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    found = kp.Vectors.checked_array(values, 2, "v_train")
    np.testing.assert_array_equal(found, values.reshape(2, -1))
    assert found.dtype == ("float32" if dtype == "float32" else "float64")


@pytest.mark.once
@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((3, 2)), r"v_train must be numbers \(2, size\)"),
        (np.zeros((2, 2, 2)), r"Received: float64 \(2, 2, 2\)"),
        (np.zeros((2, 0)), "must be numbers"),
        (np.zeros((2, 2), bool), "Received: bool"),
        (np.array([[0, 1], [np.nan, 2]]), r"v_train, row 1: expected finite.*\[nan, 2.0\]"),
        (np.array([[0, np.inf], [1, 2]]), "row 0"),
    ],
)
def test_wrong_vectors_in_data(values, message):
    with pytest.raises(UserError, match=message):
        kp.Vectors.checked_array(values, 2, "v_train")
