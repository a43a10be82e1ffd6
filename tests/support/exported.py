"""A small model whose weights aren't the initial ones, and its SavedModel."""

import keras
import pytest
import tiny

CLASS_NAMES = ("dark", "grey", "bright")


@pytest.fixture(scope="session")
def trained():
    """A model of 4×4 pictures of three classes."""
    keras.utils.set_random_seed(0)
    return tiny.random_model(label_loss_weight=1.0)


@pytest.fixture(scope="session")
def savedmodel(trained, tmp_path_factory):
    """Where that model was exported to, as version 1."""
    path = tmp_path_factory.mktemp("run") / "savedmodel"
    trained.export(path / "1", class_names=CLASS_NAMES)
    return path


@pytest.fixture(scope="session")
def exported(savedmodel):
    """That model, loaded."""
    from keras_pixelcnnpp.export.saved_model import ExportedModel

    return ExportedModel(savedmodel)
