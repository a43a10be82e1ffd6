"""Tests of all networks: training, saving, presets, arguments, precision."""

import json
from itertools import pairwise

import enumeration
import keras
import numpy as np
import pytest
import tiny
from keras import ops
from layer_checks import flat_weights
from refused import each
from tiny import IMAGES, LABELS

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.layers.conditioning import STRATEGIES
from keras_pixelcnnpp.models.archive import copy_initial_weights
from keras_pixelcnnpp.utils.checks import argument_defaults
from keras_pixelcnnpp.utils.errors import UserError


@pytest.mark.parametrize(
    ("cls", "head", "conditioning"),
    [
        pytest.param(kp.PixelCNN, "logistic_mixture", "bias", marks=pytest.mark.slow),
        pytest.param(kp.GatedPixelCNN, "categorical", "bias", marks=pytest.mark.once),
        (kp.PixelCNNPlusPlus, "logistic_mixture", "+".join(STRATEGIES)),
        pytest.param(kp.PixelCNNPlusPlus, "categorical", "bias", marks=pytest.mark.slow),
    ],
)
def test_trains_and_comes_back(cls, head, conditioning, tmp_path):
    split = tiny.tiny_split(24)
    arguments = {"num_classes": 3, "num_levels": 5, "label_loss_weight": 0.3, "dropout_rate": 0.0}
    arguments |= {"head": head, "conditioning": conditioning}
    model = enumeration.enumerable_model((4, 4, 1), cls, **arguments)
    model.compile(optimizer=keras.optimizers.SGD(0.01, momentum=0.9))
    how = {"batch_size": 12, "shuffle": False, "verbose": 0}
    history = model.fit(split.images, split.labels, epochs=4, **how).history
    assert history["bits_per_dim"][-1] < history["bits_per_dim"][0]
    scores = model.class_log_likelihoods(split.images)
    model.save(tmp_path / "model.keras")
    model.save_to_preset(tmp_path / "preset")
    archived = keras.models.load_model(tmp_path / "model.keras")
    for restored in (archived, kp.AutoregressiveModel.from_preset(tmp_path / "preset")):
        assert type(restored) is cls
        assert restored.get_config() == {**model.get_config(), "name": restored.name}
        np.testing.assert_array_equal(restored.class_log_likelihoods(split.images), scores)
    # The optimizer's state is saved, too: the next step is the same. It is slow to trace.
    archived.run_eagerly = keras.backend.backend() == "tensorflow"
    for one in (model, archived):
        one.fit(split.images[:12], split.labels[:12], **how)
    assert int(archived.optimizer.iterations) == 9
    np.testing.assert_allclose(flat_weights(archived), flat_weights(model), rtol=1e-5, atol=1e-7)


@pytest.mark.once
@pytest.mark.parametrize("learn_logit_scale", [False, True])
def test_saved_after_a_phase_by_likelihood_alone(tmp_path, learn_logit_scale):
    """The phase with the cross-entropy continues as it would without saving."""
    model = tiny.untrained_pixelcnn(label_loss_weight=0.3, learn_logit_scale=learn_logit_scale)
    model.label_loss_weight = 0.0
    model.compile(keras.optimizers.Adam(), run_eagerly=True)
    model.fit(IMAGES, LABELS, verbose=0)
    model.save(tmp_path / "model.keras")
    restored = keras.models.load_model(tmp_path / "model.keras")
    assert int(restored.optimizer.iterations) == 1
    restored.label_loss_weight = 0.3
    restored.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    before = restored.logit_scale
    restored.fit(IMAGES, LABELS, verbose=0)
    assert before == pytest.approx(0.1)
    assert (restored.logit_scale == before) == (not learn_logit_scale)
    assert np.ptp(restored.class_bias) > 0


@pytest.mark.once
def test_a_preset_of_another_class(tmp_path):
    kp.PixelCNN((4, 4, 1), 2, 5, 8, 1).save_to_preset(tmp_path)
    with pytest.raises(UserError, match=r"for PixelCNNPlusPlus\..*a preset of PixelCNN$"):
        kp.PixelCNNPlusPlus.from_preset(tmp_path)


@pytest.mark.once
@pytest.mark.parametrize("num_classes", [0, 1, 2])
def test_defaults_suit_the_number_of_classes(num_classes):
    """With fewer than two classes, there is no cross-entropy by default."""
    size = {"filters": 12, "num_blocks": 1}
    model = kp.GatedPixelCNN((4, 4, 1), num_classes, 5, **size)
    assert (model.conditioning == "none") == (num_classes < 2)
    assert (model.label_loss_weight == 0) == (num_classes < 2)
    assert model.logit_scale == pytest.approx(1 if num_classes < 2 else 0.1)
    alone = kp.GatedPixelCNN((4, 4, 1), num_classes, 5, label_loss_weight=0.0, **size)
    assert alone.logit_scale == 1
    model.compile("sgd", run_eagerly=True)
    labels = LABELS % num_classes if num_classes else None
    metrics = model.fit(IMAGES, labels, verbose=0).history
    assert ("accuracy" in metrics) == (num_classes == 2)


LIKELIHOOD = {
    "image_shape": (4, 4, 2),
    "num_classes": 3,
    "num_levels": 5,
    "num_mixtures": 2,
    "conditioning": "embedding",
    "dropout_rate": 0.25,
    "ordered_levels": False,
    "label_loss_weight": 0.7,
    "num_candidates": 3,
    "unlabeled_weight": 0.5,
    "initial_logit_scale": 0.3,
    "learn_logit_scale": False,
    "learn_class_bias": False,
    "class_names": ("a", "b", "c"),
}
PLUS_PLUS = {"filters": (4, 6), "num_blocks": (1, 2), "num_resolutions": 2, "head": "categorical"}
PLUS_PLUS |= {"conditioned_blocks": "all"}
# The softmax, which codes need, is the default of masked networks.
MASKED = {"filters": 8, "num_blocks": 2, "ordered_levels": True, "head": "logistic_mixture"}


@pytest.mark.once
@pytest.mark.parametrize(
    ("cls", "arguments"),
    [
        (kp.PixelCNNPlusPlus, {**LIKELIHOOD, **PLUS_PLUS}),
        (kp.GatedPixelCNN, {**LIKELIHOOD, **MASKED}),
        (kp.PixelCNN, {**LIKELIHOOD, **MASKED}),
        (
            kp.BaselineCNN,
            {
                "image_shape": (4, 4, 1),
                "num_classes": 3,
                "filters": (4,),
                "num_blocks": 2,
                "dropout_rate": 0.25,
                "label_smoothing": 0.1,
                "horizontal_flip": True,
                "shift_rate": 0.25,
            },
        ),
    ],
)
def test_every_argument_is_stored_and_used(cls, arguments, tmp_path):
    """All arguments differ from their defaults."""
    defaults = argument_defaults(cls)
    assert defaults.keys() - {"conditions"} == arguments.keys()  # which num_classes stands for
    same = {name for name, value in arguments.items() if defaults[name] == value}
    assert same <= {"ordered_levels"}
    # NumPy's numbers, such as `labels.max() + 1`, are numbers.
    model = cls(**{**arguments, "num_classes": np.int64(3)})
    config = json.loads(json.dumps(model.get_config()))
    assert {name: config[name] for name in arguments} == json.loads(json.dumps(arguments))
    if cls is not kp.BaselineCNN:
        config = model.network.config
        shared = arguments.keys() & {*config.names()}
        assert {name: getattr(config, name) for name in shared} == {
            name: arguments[name] for name in shared
        }
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(0.3 * rng.normal(size=weight.shape))
    model.save(tmp_path / "model.keras")
    loaded = [keras.models.load_model(tmp_path / "model.keras")]
    if cls is not kp.BaselineCNN:
        loaded.append(cls(**arguments))
        copy_initial_weights(str(tmp_path / "model.keras"), loaded[-1])
        model.save_to_preset(tmp_path / "preset")
        loaded.append(kp.AutoregressiveModel.from_preset(tmp_path / "preset"))
        # The number of compared classes belongs to another model.
        loaded.append(cls.from_preset(tmp_path / "preset", num_candidates=2, unlabeled_weight=0.0))
    for restored in loaded:
        for weight, expected in zip(restored.weights, model.weights, strict=True):
            np.testing.assert_array_equal(weight, expected, err_msg=weight.path)


@keras.saving.register_keras_serializable(package="tests")
class Subclass(kp.PixelCNN):
    """Has its own arguments in addition to those of its base class."""

    def __init__(self, *args, extra=3, **kwargs):
        super().__init__(*args, **kwargs)
        if extra:
            self.extra = extra


@pytest.mark.once
def test_a_subclass_with_more_arguments(tmp_path):
    model = Subclass((4, 4, 1), 2, 5, 8, 1, extra=7)
    model.save(tmp_path / "model.keras")
    restored = keras.models.load_model(tmp_path / "model.keras")
    assert (restored.extra, restored.filters) == (7, 8)
    with pytest.raises(AttributeError, match="extra"):  # which it has not stored
        Subclass((4, 4, 1), 2, 5, 8, 1, extra=0).get_config()


def test_mixed_precision_keeps_likelihood_and_probabilities_in_float32(hybrid):
    mixed = kp.PixelCNNPlusPlus.from_config({**hybrid.get_config(), "dtype": "mixed_bfloat16"})
    mixed.set_weights(hybrid.get_weights())
    assert {variable.dtype for variable in mixed.trainable_variables} == {"float32"}
    assert mixed.network.vertical_stack.down_blocks[0][0].input_conv.compute_dtype == "bfloat16"
    images = ops.convert_to_tensor(IMAGES)
    labels = ops.convert_to_tensor(LABELS[:, None])
    for result in (mixed.pixel_parameters(images, labels), mixed.log_likelihood(images, labels)):
        assert keras.backend.standardize_dtype(result.dtype) == "float32"
    expected = hybrid.log_prob(IMAGES, LABELS)
    difference = mixed.log_prob(IMAGES, LABELS) - expected
    assert 0 < np.abs(difference).max() < 0.05 * np.abs(expected).max()
    probabilities = hybrid.class_probabilities(IMAGES)
    received = mixed.predict(IMAGES, verbose=0)
    assert received.dtype == ops.convert_to_numpy(mixed(images)).dtype == np.float32
    np.testing.assert_allclose(received, probabilities, atol=0.2)
    np.testing.assert_allclose(received.sum(axis=1), 1, rtol=1e-5)
    assert kp.PixelCNNPlusPlus.from_config(mixed.get_config()).dtype_policy == mixed.dtype_policy


@pytest.mark.torch
@pytest.mark.tensorflow
def test_float16_trains_with_averages():
    """Training ends with the average of the weights after each step, which NumPy computes, too."""
    model = tiny.untrained_model(dtype="mixed_float16", dropout_rate=0.0)
    model.compile(keras.optimizers.SGD(0.1, clipnorm=1.0, use_ema=True, ema_momentum=0.5))
    steps = [flat_weights(model)]
    keep = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda *_, **__: steps.append(flat_weights(model))
    )
    settings = {"epochs": 10, "batch_size": 12, "verbose": 0, "callbacks": [keep]}
    loss = model.fit(IMAGES, LABELS, **settings).history["loss"]
    assert loss[-1] < loss[0]
    # A step whose gradients overflow changes neither the weights nor their average.
    moved = [new for old, new in pairwise(steps) if np.any(new != old)]
    average = moved[0]
    for weights in moved[1:]:
        average = 0.5 * average + 0.5 * weights
    np.testing.assert_allclose(flat_weights(model), average, atol=1e-6)


SMALL = {"image_shape": (4, 4, 3), "num_classes": 2, "filters": 12, "num_blocks": 1}
REFUSED = each(
    (kp.PixelCNN, SMALL, {"conditioning": ["one_hot", "bias+spatial"], "filters": [9, 4098]}),
    (kp.PixelCNN, SMALL, {"num_blocks": [0, 101]}),
    (kp.PixelCNNPlusPlus, {**SMALL, "num_resolutions": 3}, {"image_shape": [(6, 8, 1)]}),
    (
        kp.PixelCNNPlusPlus,
        {**SMALL, "num_classes": 3, "num_candidates": 2},
        {"unlabeled_weight": [1.0]},
    ),
    (
        kp.PixelCNNPlusPlus,
        SMALL,
        {
            "image_shape": [(4, 4), (8192, 8192, 1)],
            "num_classes": [2.0, None],
            "num_levels": [4097],
            "filters": [(4, 4)],
            "num_blocks": [101],
            "head": ["single", ["categorical"]],
            "conditioning": ["magic", "bias+bias", "none+bias", 3],
            "conditioned_blocks": ["down"],
            "dropout_rate": [1.0],
            "label_loss_weight": [float("nan")],
            "num_candidates": [1],
            "initial_logit_scale": [0],
            "class_names": [["a"], "ab"],
        },
    ),
    (
        kp.BaselineCNN,
        {"image_shape": (8, 8, 1), "num_classes": 3},
        {"num_classes": [1], "filters": [(), (4, 0), 4097], "label_smoothing": [-0.1]},
    ),
)


@pytest.mark.once
@pytest.mark.parametrize(("cls", "arguments", "name"), REFUSED)
def test_refused_arguments(cls, arguments, name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        cls(**arguments)
    if cls is kp.PixelCNN:  # and so do all masked networks
        with pytest.raises(ValueError, match=f"`{name}`"):
            kp.GatedPixelCNN(**arguments)


@pytest.mark.once
@pytest.mark.parametrize(("channels", "filters"), [(1, 96), (3, 96), (5, 100), (7, 98)])
def test_default_filters_suit_the_channels(channels, filters):
    """A masked softmax divides them among the channels."""
    model = kp.GatedPixelCNN((2, 2, channels), num_classes=0, num_levels=2, num_blocks=1)
    assert model.get_config()["filters"] == filters
