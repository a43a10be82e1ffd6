"""Compares a small fixed model with a float64 NumPy implementation of PixelCNN++."""

from pathlib import Path

import keras
import numpy as np
import pytest
from backend_tools import variable_gradients
from keras import ops
from reference_network import ReferencePixelCNN

from keras_pixelcnnpp.distributions.levels import to_images
from keras_pixelcnnpp.layers.conditioning import STRATEGIES
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus

CONFIG = {
    "image_shape": (4, 4, 3),
    "num_classes": 2,
    "num_levels": 8,
    "filters": (4, 6),
    "num_blocks": 1,
    "num_resolutions": 2,
    "conditioned_blocks": "all",
    "num_mixtures": 2,
    "dropout_rate": 0.3,
}


LEVELS = np.random.default_rng(0).integers(0, 8, (2, 4, 4, 3))
IMAGES = to_images(LEVELS, 8)


class Golden:
    """A model with all strategies and fixed weights, and the reference with the same weights."""

    def __init__(self, **size):
        self.config = {**CONFIG, **size}
        self.model = PixelCNNPlusPlus(conditioning="+".join(STRATEGIES), **self.config)
        self.variables = {
            variable.path.split("/network/")[1]: variable
            for variable in self.model.network.trainable_variables
        }
        assert len(self.variables) == len(self.model.network.trainable_variables)
        rng = np.random.default_rng(1)
        self.weights = {}
        for path in sorted(self.variables):
            value = 0.5 * rng.normal(size=self.variables[path].shape) + path.endswith("gain")
            self.weights[path] = value.astype("float32").astype("float64")
            self.variables[path].assign(self.weights[path])

    def reference(self, weights=None):
        return ReferencePixelCNN(
            weights or self.weights,
            self.config["num_blocks"],
            self.config["num_resolutions"],
            self.config["num_levels"],
            self.model.conditioning,
        )


@pytest.fixture(scope="module")
def golden():
    return Golden()


def test_likelihoods_equal_the_reference(golden):
    reference = golden.reference()
    expected = np.array([[reference.log_prob(image, y) for y in range(2)] for image in LEVELS])
    received = golden.model.log_prob(np.repeat(IMAGES, 2, axis=0), [0, 1] * 2)
    assert received.reshape(2, 2) == pytest.approx(expected, rel=1e-4)
    received = golden.model.class_log_likelihoods(IMAGES)
    assert received == pytest.approx(expected, rel=1e-4)


@pytest.mark.once
@pytest.mark.parametrize(
    "size",
    [
        {"filters": (3,), "num_blocks": 2, "num_resolutions": 1},
        {"filters": (2, 3, 4), "num_resolutions": 3},
    ],
)
def test_parameters_of_other_sizes_equal_the_reference(size):
    golden = Golden(**size)
    labels = ops.convert_to_tensor([[0, 1]])
    received = ops.convert_to_numpy(golden.model.pixel_parameters(IMAGES[:1], labels))[0]
    expected = [golden.reference().parameters(LEVELS[0], label) for label in (0, 1)]
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-4)


def test_gradients_equal_finite_differences_of_the_reference(golden):
    """Checks one weight of every variable."""
    image, label = IMAGES[:1], 1
    inputs = ops.convert_to_tensor(image), ops.convert_to_tensor([[label]])

    def log_likelihood():
        return ops.sum(golden.model.log_likelihood(*inputs))

    paths = sorted(golden.variables)
    received = variable_gradients(log_likelihood, [golden.variables[path] for path in paths])
    rng = np.random.default_rng(2)
    step = 1e-5
    for path, gradient in zip(paths, received, strict=True):
        # For a table over labels, choose an entry of this label.
        index = tuple(rng.integers(0, size) for size in gradient.shape)
        if gradient.shape[0] == CONFIG["num_classes"]:
            index = (label, *index[1:])
        ends = []
        for sign in (-1, 1):
            weights = {**golden.weights, path: golden.weights[path].copy()}
            weights[path][index] += sign * step
            ends.append(golden.reference(weights).log_prob(LEVELS[0], label))
        expected = (ends[1] - ends[0]) / (2 * step)
        scale = float(np.abs(gradient).max())
        assert gradient[index] == pytest.approx(expected, rel=1e-4, abs=1e-4 * scale + 1e-6), path


ARCHIVE = Path(__file__).parent / "written_under_jax.keras"
ARCHIVE_IMAGES = 85 * np.array([[0, 1, 2, 3], [3, 1, 0, 2], [2, 2, 3, 0]]).reshape(3, 2, 2, 1)
# Computed by the reference with the archive's weights, in nats, for both classes.
ARCHIVE_LOG_LIKELIHOODS = [
    [-20.154287103689768, -33.13351295646875],
    [-24.28269027449951, -33.35411520116199],
    [-6.113946326363709, -4.400693933413704],
]


def test_archive_of_another_backend(tmp_path):
    keras.models.load_model(ARCHIVE).save(tmp_path / "again.keras")
    for file in (ARCHIVE, tmp_path / "again.keras"):
        received = keras.models.load_model(file).class_log_likelihoods(ARCHIVE_IMAGES)
        np.testing.assert_allclose(received, ARCHIVE_LOG_LIKELIHOODS, rtol=1e-4)
