"""Models conditioned on vectors, against enumeration of 3×3 lattices and finite differences."""

import itertools
import warnings

import enumeration
import keras
import numpy as np
import pytest
from layer_checks import randomize
from scipy.special import logsumexp

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.layers.conditioning import STRATEGIES

pytestmark = pytest.mark.eagerly

BOUNDS = {"low": [0.2, -0.3], "high": [0.6, 0.3], "names": ["beta", "field"]}
GATED = (kp.GatedPixelCNN, {"filters": 4, "num_blocks": 2, "conditioning": "bias+film"})
EVERY = {"filters": (6,), "num_blocks": 1, "num_resolutions": 1, "conditioned_blocks": "all"}
PLUS_PLUS = (kp.PixelCNNPlusPlus, {**EVERY, "conditioning": "+".join(STRATEGIES)})
LATTICES = enumeration.binary_images((3, 3, 1))
GRID = np.array(list(itertools.product([0.2, 0.35, 0.6], [-0.3, 0.1])))
VOLUMES = np.array([0.15, 0.2, 0.25]).repeat(2)  # up to a factor
# PixelCNN++ with larger weights has logistics so sharp that float32 leaves 1e-4 nats.
SCALES = {kp.GatedPixelCNN: 0.4, kp.PixelCNNPlusPlus: 0.1}
WIDTHS = np.array([[0.075, 0.2], [0.2, 0.2], [0.125, 0.2]]).repeat(2, axis=0)


def make(cls, options, **changes):
    """Returns a model of 3×3 lattices with random weights, which depends on the vector."""
    options = {"conditions": kp.Vectors(2, **BOUNDS), "num_levels": 2, **options, **changes}
    return randomize(cls((3, 3, 1), **options), scale=SCALES[cls])


@pytest.fixture(scope="module")
def gated():
    return make(*GATED)


def pairs():
    """Returns all lattices, each with all vectors of the grid."""
    return np.tile(GRID, (len(LATTICES), 1, 1))


@pytest.mark.parametrize(("cls", "options"), [GATED, PLUS_PLUS], ids=["gated", "plus_plus"])
def test_probabilities_of_all_lattices_add_up_to_one(cls, options):
    model = make(cls, options)
    log_prob = model.log_prob(LATTICES, pairs()).astype("float64")
    np.testing.assert_allclose(np.exp(log_prob).sum(axis=0), 1, atol=2e-6)
    assert np.ptp(log_prob, axis=1).min() > 0.01  # it depends on the vector
    for index in (0, 5):
        alone = model.log_prob(LATTICES, GRID[index])
        np.testing.assert_allclose(log_prob[:, index], alone, rtol=3e-6)
    if cls is kp.PixelCNNPlusPlus:  # the other is sampled below
        samples = model.sample(np.tile(GRID[0], (2000, 1)), seed=0, batch_size=2000, verbose=0)
        assert enumeration.chi_square_of_binary(samples, log_prob[:, 0]) > 1e-3


@pytest.mark.filterwarnings("ignore:In [1-4] of [24] posteriors")  # the grid has six vectors
def test_posterior_is_bayes_rule(gated):
    images, density = LATTICES[[7, 100, 200, 300]], np.log([0.1, 0.2, 0.1, 0.3, 0.1, 0.2])
    prior = density + np.log(VOLUMES)
    joint = gated.log_prob(images, np.tile(GRID, (4, 1, 1))).astype("float64") + prior
    found = gated.grid_posterior(images, GRID, log_prior=density + 7)
    expected = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
    np.testing.assert_allclose(found.mean, expected @ GRID, atol=1e-6)
    for row, covariance in zip(expected, found.covariance, strict=True):
        of_cells = np.diag(row @ WIDTHS**2 / 12)
        between = np.cov(GRID.T, aweights=row, ddof=0)
        np.testing.assert_allclose(covariance, between + of_cells, atol=1e-6)
    together = gated.grid_posterior(images, GRID, groups=["b", "a", "b", "b"])
    likelihood = joint - prior
    sums = np.stack([likelihood[1], likelihood[[0, 2, 3]].sum(axis=0)]) + np.log(VOLUMES)
    expected = sums - logsumexp(sums, axis=1, keepdims=True)
    np.testing.assert_allclose(together.log_prob, expected, atol=1e-5)
    assert together.groups.tolist() == ["a", "b"]


@pytest.mark.filterwarnings("ignore:In 1 of 1 posteriors")  # the model may be that certain
def test_posterior_given_a_part(gated):
    """The likelihood of two rows is the sum over all third rows."""
    image, rows = LATTICES[300:301], LATTICES[:, :2].reshape(len(LATTICES), -1)
    same = (rows == image[:, :2].reshape(1, -1)).all(axis=1)
    likelihood = np.exp(gated.log_prob(LATTICES, pairs()).astype("float64"))[same].sum(axis=0)
    likelihood *= VOLUMES
    found = gated.grid_posterior(image, GRID, observed=2)
    np.testing.assert_allclose(found.probabilities[0], likelihood / likelihood.sum(), atol=1e-6)


def test_samples_and_completions_follow_the_model(gated):
    vector = GRID[0]
    expected = np.exp(gated.log_prob(LATTICES, vector).astype("float64"))
    samples = gated.sample(np.tile(vector, (2000, 1)), seed=0, batch_size=2000, verbose=0)
    assert enumeration.chi_square_of_binary(samples, np.log(expected)) > 1e-4
    known = np.zeros((3, 3), bool)
    known[0] = True
    images = np.tile(LATTICES[450:451], (1500, 1, 1, 1))
    completed = gated.complete(images, known, vector, seed=1, batch_size=1500, verbose=0)
    last = (completed.reshape(-1, 9) > 0)[:, 8].mean()
    same = (LATTICES[:, 0] == LATTICES[450, 0]).all(axis=(1, 2))
    weights = expected * same / (expected * same).sum()
    assert last == pytest.approx(weights @ (LATTICES[:, 2, 2, 0] > 0), abs=0.06)


@pytest.mark.usefixtures("traced")
def test_training_learns_the_dependence_and_saves(tmp_path):
    """The share of white pixels is the vector itself, of which `fit` finds the bounds."""
    rng = np.random.default_rng(0)
    shares = rng.uniform(0.1, 0.9, 400)
    images = np.where(rng.random((400, 3, 3, 1)) < shares[:, None, None, None], 255, 0)
    keras.utils.set_random_seed(0)
    options = {**GATED[1], "filters": 8}
    model = kp.GatedPixelCNN((3, 3, 1), conditions=kp.Vectors(1), num_levels=2, **options)
    model.compile(keras.optimizers.Adam(0.01))
    with pytest.raises(ValueError, match="bounds of the vectors are not known"):
        model.log_prob(images[:2].astype("uint8"), [0.5])
    model.fit(images.astype("uint8"), shares, epochs=8, batch_size=50, verbose=0)
    dark, light = model.bits_per_dim(LATTICES[[0, 0]], [[0.15], [0.85]])
    assert dark < 0.5 < 1 < light
    assert model.evaluate(images.astype("uint8"), shares, verbose=0)[0] < 0.9
    model.save(tmp_path / "model.keras")
    model.save_to_preset(tmp_path / "preset")
    for loaded in (
        keras.models.load_model(tmp_path / "model.keras"),
        kp.GatedPixelCNN.from_preset(tmp_path / "preset"),
    ):
        np.testing.assert_array_equal(*(one.encoder["vector"].bounds for one in (loaded, model)))
        assert model.conditions[0].low is None  # conditions never change
        np.testing.assert_array_equal(
            loaded.log_prob(LATTICES, [0.4]), model.log_prob(LATTICES, [0.4])
        )


VECTOR = np.array([[0.3, 0.1]])
REFUSED = {
    "classifier": lambda model, images: kp.PixelCNNClassifier(model).predict_proba(images),
    "anomalies": lambda model, images: kp.AnomalyDetector(model).features(images),
    "tiled": lambda model, images: kp.TiledModel(model).bits_per_dim(images),
    "tiled compress": lambda model, images: kp.TiledModel(model).compress(images, VECTOR),
    "several maps": lambda model, images: model.pixel_log_probs(images, VECTOR[None]),
    "several completions": lambda model, images: model.complete(images, 1, VECTOR[None]),
    "several samples": lambda model, images: model.sample(VECTOR[None]),
}


@pytest.mark.once
@pytest.mark.parametrize("name", REFUSED)
def test_what_needs_classes_or_one_vector_is_refused_by_name(gated, name):
    """For other methods of a model, see test_seams."""
    with pytest.raises(ValueError, match="vectors"):
        REFUSED[name](gated, LATTICES[:1])


@pytest.mark.once
def test_bounds_and_arguments(gated):
    with pytest.warns(UserWarning, match=r"Values of beta are outside .*: 0.7$"):
        gated.log_prob(LATTICES[:1], [0.7, 0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gated.log_prob(LATTICES[:1], [0.603, 0.3])  # the range is 0.4 wide
    with pytest.raises(ValueError, match=r"log_prior.*a finite number for at least one"):
        gated.grid_posterior(LATTICES[:1], GRID, log_prior=np.full(len(GRID), -np.inf))
    vectors = kp.Vectors(2, names=["beta", "field"])
    encoder = vectors.encoder((3, 3, 1))
    with pytest.warns(UserWarning, match="field is 2 in all training vectors"):
        encoder.learn(np.array([[0.0, 2.0], [1.0, 2.0]]))
    with pytest.warns(UserWarning, match=r"field .* range 2 to 2 .*: 2.5"):
        encoder.scaled(vectors.parse([0.5, 2.5], 1))
    np.testing.assert_allclose(encoder.scaled(np.array([[0.5, 2.0], [1, 2]])), [[0, 0], [1, 0]])
    for arguments in ({"low": 1, "high": 0}, {"low": 0}, {"names": ["a"]}, {"low": 0, "high": "x"}):
        with pytest.raises(ValueError, match=r"low|names"):
            kp.Vectors(2, **arguments)
    for arguments in ({"num_classes": 2}, {"label_loss_weight": 0.3}, {"unlabeled_weight": 1}):
        with pytest.raises(ValueError, match=r"num_classes|weight"):
            kp.GatedPixelCNN((3, 3, 1), conditions=kp.Vectors(1), **arguments)


@pytest.mark.once
def test_weights_keep_the_bounds_and_the_order_of_names(gated, tmp_path):
    """Other bounds would scale each vector to what the weights take for another one."""
    gated.save_to_preset(tmp_path)
    bounds = kp.Vectors(2, **BOUNDS)
    others = {
        "low=": kp.Vectors(2, low=0, high=4, names=bounds.names),
        "order": kp.Vectors(
            2, low=bounds.low[::-1], high=bounds.high[::-1], names=["field", "beta"]
        ),
    }
    for expected, conditions in others.items():
        with pytest.raises(ValueError, match=expected):
            kp.AutoregressiveModel.from_preset(tmp_path, conditions=conditions)
        new = kp.GatedPixelCNN.from_preset(tmp_path, conditions=conditions, load_weights=False)
        assert new.conditions[0].low == conditions.low
    none = kp.Vectors(2, names=bounds.names)
    loaded = kp.AutoregressiveModel.from_preset(tmp_path, conditions=none)
    assert loaded.get_config()["conditions"][0]["low"] == bounds.low
    vector = [0.5, 0.1]
    expected = gated.log_prob(LATTICES[:9], vector)
    np.testing.assert_allclose(loaded.log_prob(LATTICES[:9], vector), expected, rtol=1e-6)


@pytest.mark.once
def test_minus_one_is_a_value_of_one_component():
    model = kp.GatedPixelCNN((3, 3, 1), conditions=kp.Vectors(1, -2, 2), filters=2, num_blocks=1)
    images = np.zeros((2, 3, 3, 1), "uint8")
    expected = model.log_prob(images, [[-1.0], [-1.0]])
    np.testing.assert_array_equal(model.log_prob(images, -1), expected)
    np.testing.assert_array_equal(model.log_prob(images, {"vector": -1}), expected)


@pytest.mark.once
@pytest.mark.usefixtures("traced")
def test_frames_and_anomalies_given_the_vector(gated, rng):
    tiled = kp.TiledModel(gated)
    frames = np.where(rng.random((60, 5, 6, 1)) < 0.5, 255, 0).astype("uint8")
    vectors = rng.uniform([0.2, -0.3], [0.6, 0.3], (60, 2))
    total = tiled.log_prob(frames, vectors)
    maps = tiled.pixel_statistics(frames, vectors).log_prob
    np.testing.assert_allclose(maps.sum(axis=(1, 2, 3)), total, rtol=1e-5)
    one_by_one = [tiled.log_prob(frames[n : n + 1], vectors[n])[0] for n in range(3)]
    np.testing.assert_allclose(total[:3], one_by_one, rtol=1e-5)
    assert np.abs(tiled.log_prob(frames, vectors[::-1]) - total).max() > 0.01
    assert tiled.sample((5, 6), vectors[:2], seed=0).shape == (2, 5, 6, 1)
    detector = kp.AnomalyDetector(tiled, contamination=0.1).fit(frames, condition=vectors)
    bits = -total / frames[0].size / np.log(2)
    np.testing.assert_allclose(detector.features(frames, vectors)[:, 1], bits, rtol=1e-5)
    assert detector.p_values(frames[:5], vectors[:5]).shape == (5,)
