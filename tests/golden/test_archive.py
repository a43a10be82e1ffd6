"""An archive that one backend wrote gives the same model under every other."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_pixelcnnpp  # noqa: F401  (registers the classes)

ARCHIVE = Path(__file__).parent / "written_under_jax.keras"
IMAGES = np.array([[0, 1, 2, 3], [3, 1, 0, 2], [2, 2, 3, 0]], "uint8").reshape(3, 2, 2, 1)
# From the reference implementation with the archive's weights, nats, for both classes.
LOG_LIKELIHOODS = [
    [-20.154287103689768, -33.13351295646875],
    [-24.28269027449951, -33.35411520116199],
    [-6.113946326363709, -4.400693933413704],
]


def test_archive_of_another_backend():
    model = keras.models.load_model(ARCHIVE)
    received = model.class_log_likelihoods(IMAGES)
    np.testing.assert_allclose(received, LOG_LIKELIHOODS, rtol=1e-4)


def test_archive_written_here(tmp_path):
    model = keras.models.load_model(ARCHIVE)
    model.save(tmp_path / "again.keras")
    again = keras.models.load_model(tmp_path / "again.keras")
    np.testing.assert_allclose(again.class_log_likelihoods(IMAGES), LOG_LIKELIHOODS, rtol=1e-4)


@pytest.mark.tensorflow
def test_archive_of_another_backend_is_exported(tmp_path):
    import tensorflow as tf

    from keras_pixelcnnpp.export.endpoints import export_saved_model

    model = keras.models.load_model(ARCHIVE)
    export_saved_model(model, tmp_path / "1", ("first", "second"), {})
    served = tf.saved_model.load(tmp_path / "1")
    received = served.signatures["classify"](images=tf.constant(IMAGES))["log_likelihood"]
    np.testing.assert_allclose(received, LOG_LIKELIHOODS, rtol=1e-4)


@pytest.mark.once
@pytest.mark.parametrize(
    "imports",
    [
        "import keras, keras_pixelcnnpp",
        "import keras_pixelcnnpp, keras",
        "import keras_pixelcnnpp.data.batches, keras",
    ],
)
def test_an_archive_loads_whichever_is_imported_first(imports):
    code = f"{imports}\nprint(type(keras.saving.load_model({str(ARCHIVE)!r})).__name__)"
    command = [sys.executable, "-W", "ignore", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.split()[-1] == "PixelCNNPlusPlus"
