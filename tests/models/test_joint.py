"""Models of several conditions at once, against enumeration of all lattices."""

import enumeration
import keras
import numpy as np
import pytest
from layer_checks import randomize
from scipy.special import logsumexp, softmax

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.models.verification import verify

pytestmark = pytest.mark.eagerly

LABELS, VECTORS = kp.Labels(3, ["a", "b", "c"]), kp.Vectors(2, low=-1, high=1)
MAPS, CODES = kp.Maps((2, 2, 1), 0, 1), kp.Maps.of_codes((1, 2, 1), 3)
SHAPE, COUNT = (2, 4, 1), 256  # the number of lattices
LATTICES = enumeration.binary_images(SHAPE)
SMALL = {"num_levels": 2, "filters": 4, "num_blocks": 1}
PLUS_PLUS = (kp.PixelCNNPlusPlus, {"num_resolutions": 2, "conditioning": "bias+film+embedding"})
GATED = (kp.GatedPixelCNN, {"conditioning": "bias+film"})
EVERYWHERE = {
    "num_resolutions": 1,
    "conditioning": "one_hot+bias+spatial+cross_attention+mixture_head",
}
#: Networks, and their conditions.
TABLE = {
    "label-map": (*PLUS_PLUS, [LABELS, MAPS]),
    "label-vector": (
        kp.PixelCNNPlusPlus,
        EVERYWHERE,
        [LABELS, VECTORS],
    ),
    "all": (*GATED, [VECTORS, CODES, LABELS]),
    "vector-map": (*GATED, [VECTORS, MAPS]),
}
WITH_LABEL = [name for name in TABLE if name != "vector-map"]


def made(name):
    cls, options, conditions = TABLE[name]
    keras.utils.set_random_seed(0)
    return randomize(cls(SHAPE, conditions=conditions, **{**SMALL, **options}), scale=0.4)


@pytest.fixture(scope="module")
def models():
    return {name: made(name) for name in TABLE}


def value_of(part, seed=0):
    rng = np.random.default_rng(seed)
    if part.kind == "labels":
        return 1
    if part is CODES:
        return rng.integers(0, 3, CODES.shape)
    return rng.uniform(part.low[0], part.high[0], part.shape)


def condition_of(model, label=None, seed=0):
    """Returns one value of the condition, with a label (by default 1) or another seed."""
    values = [value_of(part, seed) for part in model.conditions]
    kinds = [part.kind for part in model.conditions]
    if label is not None:
        values[kinds.index("labels")] = label
    return tuple(values)


def laws(model, seed=0):
    """Returns log p(x | y, others) of all lattices, float64 `(256, 3)`."""
    each = [
        model.log_prob(LATTICES, condition_of(model, y, seed), batch_size=COUNT) for y in range(3)
    ]
    return np.stack(each, axis=1).astype("float64")


@pytest.mark.parametrize("name", TABLE)
def test_probabilities_add_up_to_one_and_depend_on_each_part(models, name):
    model = models[name]
    base = condition_of(model)
    law = model.log_prob(LATTICES, base, batch_size=COUNT).astype("float64")
    assert np.exp(law).sum() == pytest.approx(1, abs=1e-5)
    for index, part in enumerate(model.conditions):
        other = 2 if part.kind == "labels" else value_of(part, seed=5)
        changed = (*base[:index], other, *base[index + 1 :])
        assert np.abs(model.log_prob(LATTICES[:20], changed) - law[:20]).max() > 1e-3


@pytest.mark.parametrize("name", WITH_LABEL)
def test_what_is_unknown_is_averaged_over_and_classes_follow_from_bayes_rule(models, name):
    model = models[name]
    expected, unknown = laws(model), condition_of(model, -1)
    mean = logsumexp(expected, axis=1) - np.log(3)
    found = model.log_prob(LATTICES, unknown, batch_size=COUNT)
    np.testing.assert_allclose(found, mean, atol=2e-5)
    bits = model.bits_per_dim(LATTICES, unknown, batch_size=COUNT)
    np.testing.assert_allclose(bits, -mean / 8 / np.log(2), atol=1e-5)
    how = {"condition": unknown, "batch_size": COUNT}
    np.testing.assert_allclose(model.class_log_likelihoods(LATTICES, **how), expected, atol=2e-5)
    posterior = softmax(model.logit_scale * expected + model.class_bias, axis=1)
    np.testing.assert_allclose(model.class_probabilities(LATTICES, **how), posterior, atol=1e-5)
    maps = model.pixel_log_probs(LATTICES[:9], unknown).sum(axis=(1, 2))
    np.testing.assert_allclose(maps, mean[:9], atol=2e-5)
    statistics = model.pixel_statistics(LATTICES[:9], unknown).log_prob.sum(axis=(1, 2, 3))
    np.testing.assert_allclose(statistics, mean[:9], atol=2e-5)
    # Each image with its own values, some without a label.
    rows, labels = np.array([3, 90, 200]), np.array([0, -1, 2])
    parts = [np.stack([one, one, one]) for one in condition_of(model)]
    kinds = [part.kind for part in model.conditions]
    parts[kinds.index("labels")] = labels
    wanted = [expected[3, 0], mean[90], expected[200, 2]]
    np.testing.assert_allclose(model.log_prob(LATTICES[rows], tuple(parts)), wanted, atol=2e-5)


@pytest.mark.parametrize("name", TABLE)
def test_samples_follow_the_law(models, name):
    model, how = models[name], {"seed": 0, "batch_size": 2000, "verbose": 0}
    base = condition_of(model)
    many = tuple(np.repeat(np.asarray(one)[None], 2000, axis=0) for one in base)
    law = model.log_prob(LATTICES, base, batch_size=COUNT).astype("float64")
    assert enumeration.chi_square_of_binary(model.sample(many, **how), law) > 1e-3
    if name == "vector-map":
        return
    every = laws(model)
    kinds = [part.kind for part in model.conditions]
    many = tuple(-1 if kind == "labels" else one for kind, one in zip(kinds, many, strict=True))
    mean = logsumexp(every, axis=1) - np.log(3)
    assert enumeration.chi_square_of_binary(model.sample(many, **how), mean) > 1e-3


@pytest.mark.once
def test_guidance_by_class_at_a_fixed_map(models):
    """Enumerated as p(l | y)^(1 + w) / q(l)^w of each pixel, given the map."""
    model, w, beta = models["label-map"], 2.0, 0.5
    every = laws(model).T.reshape(3, *[2] * 8)
    expected = np.zeros([2] * 8)
    for pixel in range(8):
        later = tuple(range(pixel + 2, 9))
        up_to = logsumexp(every, axis=later, keepdims=True)
        before = logsumexp(up_to, axis=pixel + 1, keepdims=True)
        step = up_to - before  # log p(x_i | x_<i, k)
        weights = beta * before
        weights = weights - logsumexp(weights, axis=0, keepdims=True)
        q = logsumexp(weights + step, axis=0)
        guided = (1 + w) * step[1] - w * q
        expected = expected + guided - logsumexp(guided, axis=pixel, keepdims=True)
    given = np.repeat(condition_of(model)[1][None], 3000, axis=0)
    how = {"guidance": w, "guidance_logit_scale": beta, "batch_size": 3000, "verbose": 0}
    samples = model.sample((1, given), seed=0, **how)
    assert enumeration.chi_square_of_binary(samples, expected.ravel()) > 1e-3
    assert enumeration.chi_square_of_binary(samples, every[1].ravel()) < 1e-6


@pytest.mark.once
@pytest.mark.parametrize("name", ["label-map", "all"])
def test_particles_given_the_other_parts(models, name):
    """The likelihood of known later pixels is a sum over the unknown ones, for each class."""
    model, image = models[name], LATTICES[171:172]
    known = np.zeros((2, 4), bool)
    known[1] = True
    same = (LATTICES[:, 1] == image[:, 1]).all(axis=(1, 2))
    expected = logsumexp(laws(model)[same], axis=0)
    how = {"observed": known, "num_particles": 128, "batch_size": 4096}
    unknown = condition_of(model, -1)
    scores, errors = model.class_log_likelihoods(
        image, condition=unknown, standard_error=True, **how
    )
    assert np.all(np.abs(scores[0] - expected) <= 6 * errors[0] + 2e-4)
    # A class is chosen by Bayes' rule from the known pixels, and the rest follows the law.
    images = np.repeat(image, 2000, axis=0)
    prefix = {"observed": 1, "seed": 0, "batch_size": 2000, "verbose": 0}
    completed = model.complete(images, condition=unknown, **prefix)
    first = (LATTICES[:, 0] == image[:, 0]).all(axis=(1, 2))
    law = logsumexp(laws(model), axis=1)
    law = np.where(first, law, -np.inf)
    assert enumeration.chi_square_of_binary(completed, law - logsumexp(law)) > 1e-3


@pytest.mark.once
@pytest.mark.usefixtures("traced")
@pytest.mark.filterwarnings("ignore:In .* posteriors")
def test_posterior_of_the_vector_at_a_label_and_without_one(models):
    model, grid = models["label-vector"], np.array([[-0.5, 0.2], [0.1, 0.9], [0.7, -0.3]])
    images = LATTICES[[7, 100]]
    for label in (1, -1):
        each = [model.log_prob(images, (label, vector)).astype("float64") for vector in grid]
        expected = softmax(np.stack(each, axis=1), axis=1)
        found = model.grid_posterior(images, grid, condition=label)
        np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)


@pytest.mark.parametrize("name", TABLE)
def test_files_and_the_incremental_pass(models, name, tmp_path):
    model = models[name]
    expected = model.log_prob(LATTICES[:5], condition_of(model))
    model.save(tmp_path / "model.keras")
    model.save_to_preset(tmp_path / "preset")
    for loaded in (
        keras.models.load_model(tmp_path / "model.keras"),
        kp.AutoregressiveModel.from_preset(tmp_path / "preset"),
    ):
        found = loaded.log_prob(LATTICES[:5], condition_of(model))
        np.testing.assert_array_equal(found, expected)
    if name != "all":
        verify(model)


@pytest.mark.once
@pytest.mark.usefixtures("traced")
def test_training_in_arrays_and_streams_learns_both_parts():
    """Images are copies of a map or of its inverse, as the label says."""
    rng = np.random.default_rng(0)
    maps, labels = rng.integers(0, 2, (256, 4, 4, 1)), rng.integers(0, 2, 256)
    images = np.where(maps == labels[:, None, None, None], 255, 0).astype("uint8")
    keras.utils.set_random_seed(0)
    conditions = [kp.Labels(2), kp.Maps((4, 4, 1), 0, 1)]
    model = kp.GatedPixelCNN((4, 4, 1), conditions=conditions, **{**SMALL, "filters": 8})
    model.compile(keras.optimizers.Adam(0.01), weighted_metrics=["sparse_categorical_accuracy"])
    model.fit(images, (labels, maps), epochs=6, batch_size=32, verbose=0)

    def stream():
        for start in range(0, 256, 32):
            rows = slice(start, start + 32)
            yield images[rows], (labels[rows], maps[rows].astype("float32"))

    model.fit(stream(), steps_per_epoch=8, shuffle=False, verbose=0)
    found = model.evaluate(images, (labels, maps), return_dict=True, verbose=0)
    again = model.evaluate(stream(), steps=8, return_dict=True, verbose=0)
    assert found["accuracy"] > 0.95
    assert found["sparse_categorical_accuracy"] > 0.95
    assert found["bits_per_dim"] < 0.3
    for metric, value in found.items():
        assert again[metric] == pytest.approx(value, rel=1e-4), metric
    probabilities = model.class_probabilities(images, condition=maps)
    assert np.mean(probabilities.argmax(axis=1) == labels) > 0.95
    with pytest.raises(ValueError, match="class_probabilities"):
        model.predict(images)


REFUSED = {
    "one kind twice": [kp.Vectors(2), kp.Vectors(3)],
    "no part": [kp.Labels(2), 3],
    "unknown kind": [kp.Labels(2), {"kind": "os.system"}],
}


@pytest.mark.once
@pytest.mark.parametrize("name", REFUSED)
def test_refused_parts(name):
    with pytest.raises(ValueError, match=r"`conditions`|`kind`"):
        kp.GatedPixelCNN((2, 4, 1), conditions=REFUSED[name], **SMALL)


@pytest.mark.once
def test_lists_of_one_part_or_none():
    one = kp.GatedPixelCNN((2, 4, 1), conditions=[LABELS], **SMALL)
    assert one.conditions == (LABELS,)
    none = kp.GatedPixelCNN((2, 4, 1), conditions=[], **SMALL)
    assert none.arguments()["num_classes"] == 0


@pytest.mark.parametrize("name", TABLE)
def test_values_by_name_are_those_in_order(models, name):
    model = models[name]
    values = condition_of(model)
    names = [part.name for part in model.conditions]
    by_name = dict(reversed([*zip(names, values, strict=True)]))
    expected = model.log_prob(LATTICES[:9], values)
    np.testing.assert_array_equal(model.log_prob(LATTICES[:9], by_name), expected)
    many = {name: np.repeat(np.asarray(one)[None], 3, axis=0) for name, one in by_name.items()}
    in_order = tuple(many[name] for name in names)
    samples = [model.sample(given, seed=0) for given in (many, in_order)]
    np.testing.assert_array_equal(*samples)
    with pytest.raises(ValueError, match=r"tuple|columns"):
        model.log_prob(LATTICES[:9], {**by_name, "volume": 3})


@pytest.mark.parametrize("label", [1, -1])
@pytest.mark.parametrize("name", TABLE)
def test_several_vectors_or_maps_of_an_image_are_several_calls(models, name, label):
    model = models[name]
    parts = {part.name: part for part in model.conditions}
    if label < 0 and "label" not in parts:
        pytest.skip("There is no label to leave out")
    images = LATTICES[[3, 90, 200]]
    one = {name: value_of(part) for name, part in parts.items()}
    if "label" in parts:
        one["label"] = label
    for part in parts.keys() - {"label"}:
        several = np.array([[value_of(parts[part], 3 * i + k) for k in range(4)] for i in range(3)])
        found = model.log_prob(images, {**one, part: several})
        each = [model.log_prob(images, {**one, part: several[:, k]}) for k in range(4)]
        np.testing.assert_allclose(found, np.stack(each, axis=1), atol=2e-5)
        assert np.ptp(found, axis=1).min() > 1e-4


@pytest.mark.once
def test_refused_values(models):
    model = models["label-map"]
    label, one = condition_of(model)
    for wrong in (None, (label,), (label, None), (7, one), ("d", one), [label, one], (one, label)):
        with pytest.raises(ValueError, match=r"map|label|class"):
            model.log_prob(LATTICES[:2], wrong)
    with pytest.raises(ValueError, match="Compression"):
        model.compress(LATTICES[:2], (label, one))
