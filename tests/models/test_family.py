"""PixelCNN, Gated PixelCNN and PixelCNN++ with both heads: what holds for each of the family."""

import itertools

import enumeration
import keras
import numpy as np
import pytest
import tiny
from backend_tools import input_gradient
from keras import ops
from layer_checks import randomize
from scipy.special import log_softmax
from serialization import check_config

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.distributions.heads import CategoricalHead, LogisticMixtureHead
from keras_pixelcnnpp.distributions.logistic_mixture import scale_to_unit
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.models.archive import load_trained_model, model_from_preset

MASKED = (kp.PixelCNN, kp.GatedPixelCNN)
FAMILY = (*MASKED, kp.PixelCNNPlusPlus)
HEADS = ("logistic_mixture", "categorical")
each_model = pytest.mark.parametrize(
    ("cls", "head"), [(cls, head) for cls in FAMILY for head in HEADS]
)


def small(cls, head, image_shape=(4, 4, 1), num_levels=5, **arguments):
    """A model whose weights no initializer gives."""
    options = {
        "num_classes": 3,
        "filters": 12 if cls in MASKED else 4,
        "num_blocks": 2 if cls in MASKED else 1,
        "num_mixtures": 2,
        "conditioning": "bias",
        **({} if cls in MASKED else {"num_resolutions": 1, "dropout_rate": 0.0}),
        **arguments,
    }
    model = cls(image_shape, num_levels=num_levels, head=head, **options)
    # As `enumeration.enumerable_model`: from NumPy, so that it is the same under every backend.
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(0.3 * rng.normal(size=variable.shape))
    images = rng.integers(0, num_levels, (16, *image_shape)).astype("uint8")
    model.initialize(images, rng.integers(0, 2, 16) if model.num_classes else None)
    return model


# Three channels: each but the first depends on those before it.
@pytest.mark.parametrize(
    ("image_shape", "num_levels"),
    [pytest.param((2, 2, 1), 4, marks=pytest.mark.once), ((1, 2, 3), 2)],
)
@each_model
def test_all_pictures_together_are_certain(cls, head, image_shape, num_levels):
    model = small(cls, head, image_shape, num_levels)
    pictures = list(itertools.product(range(num_levels), repeat=model.dimensions))
    pictures = np.array(pictures, "uint8").reshape(-1, *image_shape)
    probabilities = np.exp(np.float64(model.log_prob(pictures, np.ones(len(pictures), int), 256)))
    assert probabilities.std() > 1e-4
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "image_shape", [pytest.param((2, 2, 1), marks=pytest.mark.once), (1, 2, 2)]
)
@pytest.mark.parametrize(
    ("cls", "head"), [(cls, head) for cls in MASKED for head in HEADS] + [(FAMILY[2], HEADS[1])]
)
def test_samples_follow_the_law(cls, head, image_shape):
    model = small(cls, head, image_shape, 4, num_classes=2, label_dropout_rate=0.1)
    log_probs = enumeration.log_law(model, 1)
    images = model.sample(np.ones(20_000, int), seed=1, batch_size=10_000, verbose=0)
    assert enumeration.chi_square(images, log_probs) > 1e-3
    assert enumeration.chi_square(images, enumeration.log_law(model, 0)) < 1e-9


@pytest.mark.parametrize("cls", MASKED)
def test_guided_samples_of_a_softmax(cls):
    """Sub-pixel by sub-pixel: `(1 + w) log p(. | y) - w log p(.)`, normalized."""
    model = small(cls, "categorical", (1, 2, 2), 4, num_classes=2, label_dropout_rate=0.1)
    given, without = (
        enumeration.conditionals(enumeration.log_law(model, label)) for label in (1, 2)
    )
    log_probs = enumeration.law_from_conditionals(
        [2.0 * one - other for one, other in zip(given, without, strict=True)]
    )
    images = model.sample(np.ones(20_000, int), seed=1, guidance=1.0, batch_size=10_000, verbose=0)
    assert enumeration.chi_square(images, log_probs) > 1e-3


@pytest.mark.parametrize("cls", MASKED)
@pytest.mark.parametrize("head", HEADS)
def test_no_sub_pixel_sees_a_later_one(cls, head):
    # Wide, so that of the rectified features of a pixel some are not 0.
    model = small(cls, head, (5, 5, 3), 9, filters=48)
    image = np.random.default_rng(1).integers(1, 8, (5, 5, 3)).astype("float32")
    order = np.arange(75).reshape(5, 5, 3)
    target, channels = (2, 2), 3 if head == "categorical" else 1
    per_channel = model.network.num_parameters // channels
    weights = np.random.default_rng(2).normal(size=per_channel).astype("float32")
    weights = ops.convert_to_tensor(weights)
    for channel in range(channels):

        def combined(levels, channel=channel):
            scaled = scale_to_unit(levels, 9)[None, None]
            parameters = model.network(scaled, ops.ones((1, 1), "int32"))[0, 0]
            own = parameters[target][channel * per_channel : (channel + 1) * per_channel]
            return ops.sum(own * weights)

        gradient = input_gradient(combined, image)
        assert np.all(gradient[order >= order[2, 2, channel]] == 0)
        assert np.all(gradient[2, 2, :channel] != 0)
        assert np.all(gradient[1, 1:4] != 0)
        assert np.all(gradient[2, :2] != 0)


@pytest.mark.parametrize(("cls", "blind"), [(FAMILY[0], True), (FAMILY[1], False)])
def test_blind_spot(cls, blind):
    """Of what lies above to the right, steeper than the diagonal, PixelCNN sees nothing."""
    # Beyond the first layer's 7×7, which sees everything near.
    model = small(cls, "logistic_mixture", (12, 12, 1), 9, num_blocks=12)
    rng = np.random.default_rng(0)
    image = rng.integers(1, 8, (12, 12, 1)).astype("float32")
    weights = ops.convert_to_tensor(rng.normal(size=model.network.num_parameters), "float32")

    def combined(levels):
        scaled = scale_to_unit(levels, 9)[None, None]
        parameters = model.network(scaled, ops.zeros((1, 1), "int32"))[0, 0]
        return ops.sum(parameters[11, 2] * weights)

    gradient = input_gradient(combined, image)[..., 0]
    assert np.all(gradient[11, 2:] == 0)
    # Of the last rows' right end, only the first layer's reach of three rows and columns is seen.
    unseen = gradient[7:11, 10:] == 0
    assert np.all(unseen) if blind else not np.any(unseen)


@each_model
def test_trains_classifies_completes_and_comes_back(cls, head, tmp_path):
    split = tiny.tiny_split(24)
    arguments = {"label_loss_weight": 0.3, "dropout_rate": 0.1}
    model = small(cls, head, num_levels=5, **arguments)
    model.compile(optimizer=keras.optimizers.Adam(0.01))
    labels = np.stack([(split.labels + shift) % 3 for shift in range(3)], axis=1)
    history = model.fit(
        {"image": split.images, "label": labels}, batch_size=12, epochs=4, verbose=0
    ).history
    assert history["bits_per_dim"][-1] < history["bits_per_dim"][0]
    probabilities = model.predict(split.images, verbose=0)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    scores = model.class_log_likelihoods(split.images)
    np.testing.assert_allclose(
        model.class_probabilities(split.images), model.posterior.probabilities(scores)
    )
    completed = model.complete(split.images[:4], 2, split.labels[:4], seed=0)
    np.testing.assert_array_equal(completed[:, :2], split.images[:4, :2])

    model.save(tmp_path / "model.keras")
    model.save_to_preset(tmp_path / "preset")
    for restored in (
        load_trained_model(tmp_path / "model.keras"),
        model_from_preset(tmp_path / "preset"),
    ):
        assert type(restored) is cls
        np.testing.assert_array_equal(restored.class_log_likelihoods(split.images), scores)


@pytest.mark.once
@pytest.mark.parametrize("cls", MASKED)
def test_config(cls):
    arguments = {
        "image_shape": (4, 4, 1),
        "num_classes": 3,
        "num_levels": 9,
        "filters": 8,
        "num_blocks": 2,
        "num_mixtures": 3,
        "head": "logistic_mixture",
        "conditioning": "film",
        "dropout_rate": 0.3,
    }
    check_config(cls, **arguments)
    network = cls(**arguments).network
    assert type(network).from_config(network.get_config()).get_config() == network.get_config()


def test_a_preset_of_another_architecture(tmp_path):
    small(kp.PixelCNN, "categorical").save_to_preset(tmp_path)
    with pytest.raises(UserError, match=r"Expected: pixelcnnpp. Received: pixelcnn$"):
        kp.PixelCNNPlusPlus.from_preset(tmp_path)


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"conditioning": "one_hot"}, "`conditioning`. The picture's channels"),
        ({"conditioning": "bias+spatial"}, "no lower resolution for 'spatial'"),
        ({"conditioning": "adaptive_norm"}, "'adaptive_norm' would mix"),
        ({"filters": 9}, "`filters`. Expected a multiple of 6. Received: filters=9"),
        ({"num_blocks": 0}, "`num_blocks`"),
        ({"head": "gaussian"}, "`head`"),
        ({"num_levels": 1}, "`num_levels`"),
    ],
)
@pytest.mark.parametrize("cls", MASKED)
def test_bad_arguments(cls, arguments, message):
    with pytest.raises(ValueError, match=message):
        cls(**{"image_shape": (4, 4, 3), "num_classes": 2, **arguments})


def test_earlier_channels_add_rows_of_tables():
    head = CategoricalHead(channels=3, num_levels=5)
    randomize(head)
    tables = {name: np.asarray(table.embeddings) for name, table in head.tables.items()}
    logits = np.random.default_rng(1).normal(size=(1, 15)).astype("float32")
    red, green, blue = logits.reshape(3, 5)
    expected = [
        log_softmax(red),
        log_softmax(green + tables["1_given_0"][4]),
        log_softmax(blue + tables["2_given_0"][4] + tables["2_given_1"][0]),
    ]
    levels = np.array([[4, 0, 2]])
    received = ops.convert_to_numpy(head.log_prob(logits, levels))
    np.testing.assert_allclose(
        received, [expected[0][4] + expected[1][0] + expected[2][2]], atol=1e-5
    )
    earlier = [ops.convert_to_tensor(levels[:, channel : channel + 1]) for channel in range(2)]
    np.testing.assert_allclose(
        ops.convert_to_numpy(head.level_log_probs(logits, earlier))[0], expected[2], atol=1e-5
    )


@pytest.mark.parametrize("num_mixtures", [1, 4])
def test_level_log_probs_of_a_mixture_are_ratios_of_log_probs(num_mixtures):
    """p(blue | red, green) over the levels, against the joint probabilities of whole pixels."""
    head = LogisticMixtureHead(3, 6, num_mixtures)
    rng = np.random.default_rng(0)
    parameters = rng.normal(size=(1, head.num_parameters)).astype("float32")
    pixels = np.array(list(itertools.product(range(6), repeat=3)))
    joint = np.exp(np.float64(ops.convert_to_numpy(head.log_prob(parameters, pixels))))
    joint = joint.reshape(6, 6, 6)
    assert joint.sum() == pytest.approx(1, abs=1e-5)
    marginals = [joint.sum(axis=(1, 2)), joint.sum(axis=2)[2], joint[2, 5]]
    for channel, marginal in enumerate(marginals):
        earlier = [ops.full((1, 1), level) for level in (2, 5)[:channel]]
        received = np.exp(ops.convert_to_numpy(head.level_log_probs(parameters, earlier))[0])
        np.testing.assert_allclose(received, marginal / marginal.sum(), rtol=1e-4)
