"""Models of codes: levels without an order, such as those of a VQ-VAE."""

import itertools

import enumeration
import numpy as np
import pytest
from keras import ops
from layer_checks import randomize
from scipy.special import log_softmax, logsumexp

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.commands.trained_model import TrainedModel
from keras_pixelcnnpp.data import LabeledImages
from keras_pixelcnnpp.presets import Preset
from keras_pixelcnnpp.recipes.recipe import PixelCNNRecipe
from keras_pixelcnnpp.training.train import train

pytestmark = pytest.mark.eagerly

SMALL = {"filters": 8, "num_blocks": 1, "conditioning": "bias", "label_loss_weight": 0.0}
PLUS_PLUS = {**SMALL, "num_resolutions": 1, "conditioned_blocks": "all"}
MODELS = pytest.mark.parametrize(
    ("cls", "image_shape", "options"),
    [
        (kp.PixelCNNPlusPlus, (2, 2, 1), PLUS_PLUS),
        pytest.param(kp.GatedPixelCNN, (2, 1, 2), SMALL, marks=pytest.mark.once),
    ],
)


def of_codes(cls=kp.PixelCNNPlusPlus, image_shape=(2, 2, 1), options=PLUS_PLUS, num_levels=3):
    """Creates a model of codes and two classes with random weights, and random codes."""
    model = cls(image_shape, 2, num_levels, ordered_levels=False, **options)
    codes = np.random.default_rng(0).integers(0, num_levels, (32, *image_shape))
    randomize(model.network, scale=0.3)
    randomize(model.distribution, scale=0.3)
    return model, model.to_images(codes)


@MODELS
def test_three_codes_are_enumerated(cls, image_shape, options):
    model, _ = of_codes(cls, image_shape, options)
    every = np.array(list(itertools.product(range(3), repeat=4))).reshape(-1, *image_shape)
    number = [27, 9, 3, 1]
    law = model.log_prob(every, 1, batch_size=81).astype("float64")
    assert logsumexp(law) == pytest.approx(0, abs=1e-5)
    how = {"seed": 2, "batch_size": 10_000, "verbose": 0}
    samples = model.sample(np.ones(10_000, int), **how)
    assert samples.dtype == "uint8"
    found = enumeration.chi_square_of_numbers(samples.reshape(-1, 4) @ number, law)
    assert found > 1e-3
    # Completions of an image whose first and last pixels are known.
    known = np.ones(image_shape[:2], bool)
    known.flat[1:-1] = False
    known.flat[-1] = image_shape[-1] == 1
    given = np.broadcast_to(every[50], (1000, *image_shape))
    completed = model.complete(given, known, 1, num_particles=128, **how)
    same = np.all((every == every[50]) | ~known[..., None], axis=(1, 2, 3))
    allowed = np.where(same, law, -np.inf)
    allowed -= logsumexp(allowed)
    found = enumeration.chi_square_of_numbers(completed.reshape(-1, 4) @ number, allowed)
    assert found > 1e-3


@pytest.mark.once
def test_the_numbers_of_codes_do_not_matter():
    """Renumbered codes, vectors and logits give the same likelihoods, entropies and variances."""
    model, codes = of_codes(image_shape=(2, 2, 2), num_levels=40)
    other, _ = of_codes(image_shape=(2, 2, 2), num_levels=40)
    renumbered = np.random.default_rng(1).permutation(40)  # new number of each code
    old = np.argsort(renumbered)
    by_channel = np.concatenate([old, old + 40])
    weights = ((*one.network.weights, *one.distribution.weights) for one in (model, other))
    for weight, target in zip(*weights, strict=True):
        values, name = ops.convert_to_numpy(weight), weight.path
        if name.endswith("level_embedding/table"):
            values = values[by_channel]
        elif "/head/" in name:
            values = values[..., by_channel]
        elif "_given_" in name:
            values = values[old][:, old]
        target.assign(values)
    expected, found = (
        one.pixel_statistics(x, np.arange(32) % 2)
        for one, x in ((model, codes), (other, renumbered[codes]))
    )
    for name in ("log_prob", "entropy", "variance"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=2e-4)
    assert np.abs(model.log_prob(renumbered[codes], 1) - model.log_prob(codes, 1)).max() > 0.1
    assert np.isnan(found.pit).all()


def test_guidance_samples_all_codes_at_once():
    """In two digits, the law would depend on which codes share a first digit."""
    model, _ = of_codes(image_shape=(1, 1, 1), num_levels=40)
    every = np.arange(40).reshape(-1, 1, 1, 1)
    by_class = model.class_log_likelihoods(every).astype("float64")
    marginal = logsumexp(by_class, axis=1) - np.log(2)
    law = log_softmax(3 * by_class[:, 0] - 2 * marginal)
    samples = model.sample(np.zeros(20_000, int), 1, guidance=2.0, batch_size=20_000, verbose=0)
    assert enumeration.chi_square_of_numbers(samples.ravel(), law) > 1e-3
    assert enumeration.chi_square_of_numbers(samples.ravel(), by_class[:, 0]) < 1e-6


def test_three_hundred_codes_are_compressed():
    model, codes = of_codes(num_levels=300)
    labels = np.arange(32) % 2
    data = model.compress(codes, labels, verbose=0)
    decompressed = model.decompress(data, verbose=0)
    assert codes.dtype == decompressed.dtype == "uint16"
    np.testing.assert_array_equal(decompressed, codes)
    bits = -model.log_prob(codes, labels).sum() / np.log(2)
    assert bits / 8 < len(data) < bits / 8 + 4 * 32 + 400


@pytest.mark.once
def test_what_needs_an_order_is_refused():
    with pytest.raises(ValueError, match=r"`head`.*'categorical'.*Received: head=.?logistic"):
        kp.PixelCNNPlusPlus((2, 2, 1), 2, 3, ordered_levels=False, head="logistic_mixture")
    model, codes = of_codes()
    given = LabeledImages(codes, np.arange(32) % 2, paths=())
    with pytest.raises(ValueError, match=r"`horizontal_flip`.*mirror image has other codes"):
        train(model, given, PixelCNNRecipe(horizontal_flip=True, batch_size=8, seed=0))
    for detected in (model, kp.TiledModel(model)):
        with pytest.raises(ValueError, match="Received: a model with ordered_levels=False"):
            kp.AnomalyDetector(detected).fit(codes)


@pytest.mark.once
def test_commands_know_a_preset_of_codes(tmp_path):
    model, _ = of_codes()
    model.save_to_preset(tmp_path / "preset")
    assert TrainedModel.find(tmp_path / "preset").values_read["num_codes"] == 3
    recipe = Preset(tmp_path / "preset").recipe()
    assert (recipe.codes, recipe.num_levels, recipe.head) == (True, 3, "categorical")
