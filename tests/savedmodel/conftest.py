import keras
import numpy as np
import pytest
import tiny

CLASS_NAMES = ("dark", "grey", "bright")


@pytest.fixture(scope="session")
def trained():
    """A model of 4×4 pictures whose weights aren't the initial ones."""
    # This runs before the fixture that seeds every test.
    keras.utils.set_random_seed(0)
    model = tiny.tiny_model(label_loss_weight=1.0)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        value = np.asarray(variable)
        variable.assign(value + 0.1 * rng.standard_normal(value.shape))
    return model


@pytest.fixture(scope="session")
def savedmodel(trained, tmp_path_factory):
    """Where that model was exported to."""
    from keras_pixelcnnpp.export.endpoints import export_saved_model

    path = tmp_path_factory.mktemp("run") / "savedmodel"
    export_saved_model(trained, path / "1", CLASS_NAMES, {})
    return path


@pytest.fixture(scope="session")
def exported(savedmodel):
    """That model, loaded."""
    from keras_pixelcnnpp.export.saved_model import ExportedModel

    return ExportedModel(savedmodel)
