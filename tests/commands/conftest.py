"""The model of the commands is a `PixelCNN`, which is traced twice as fast."""

import numpy as np
import pytest
import tiny

from keras_pixelcnnpp.recipes.recipe import PixelCNNRecipe
from keras_pixelcnnpp.train.data import load_training_data
from keras_pixelcnnpp.train.run_training import Start, train_pixelcnnpp
from keras_pixelcnnpp.training.run import RunFolder


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


@pytest.fixture(scope="session")
def run_of_arrays(tmp_path_factory):
    """Trains a `GatedPixelCNN` of two levels on arrays with vectors or maps; returns its run."""

    def train(arrays, **options):
        folder = tmp_path_factory.mktemp("arrays")
        np.savez(folder / "arrays.npz", **arrays)
        small = {"network": "gated_pixelcnn", "filters": 4, "num_blocks": 1, "num_levels": 2}
        training = {"epochs": 1, "batch_size": 6, "learning_rate": 0.01}
        recipe = PixelCNNRecipe(data=str(folder / "arrays.npz"), **small, **training, **options)
        dataset, run = load_training_data(recipe), RunFolder(folder / "run")
        recipe = recipe.for_data(PixelCNNRecipe(), dataset.num_classes, False, needs_values=True)
        train_pixelcnnpp(dataset, recipe, Start(run, verbose=0))
        return run

    return train
