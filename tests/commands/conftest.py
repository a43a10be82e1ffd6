"""The model of the commands is a `PixelCNN`, which is traced twice as fast."""

import pytest
import tiny


@pytest.fixture(scope="session")
def trained():
    """A `PixelCNN` with random weights and the hybrid objective."""
    arguments = {"label_loss_weight": 1.0, "class_names": tiny.NAMES}
    return tiny.tiny_model(tiny.untrained_pixelcnn, **arguments)


@pytest.fixture(scope="session")
def archive(trained, tmp_path_factory):
    """The file of `trained`."""
    path = tmp_path_factory.mktemp("archive") / "model.keras"
    trained.save(path)
    return path
