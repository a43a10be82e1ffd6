"""A run of trained models with all measurements, for all tests that look at their results."""

import contextlib
import io
from dataclasses import fields
from typing import NamedTuple

import pytest
import tiny
from backend_tools import eager
from command_line import report_of
from matplotlib.figure import Figure
from PIL import Image

from keras_pixelcnnpp.evaluate.measure import measure
from keras_pixelcnnpp.evaluate.measurements import MEASUREMENTS, BatchOptions
from keras_pixelcnnpp.evaluate.subject import Subject
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.recipes.recipe import BaselineRecipe, PixelCNNRecipe
from keras_pixelcnnpp.train.data import load_training_data
from keras_pixelcnnpp.train.run_training import Start, train_baseline, train_pixelcnnpp
from keras_pixelcnnpp.training.run import RunFolder

MODEL = {"network": "pixelcnn", "filters": 4, "num_blocks": 1, "num_mixtures": 1}
HYBRID = {"label_loss_weight": 0.5, "likelihood_epochs": 1, "learn_class_bias": True}
FEW = {"per_class": 4, "count": 7}


class Measured(NamedTuple):
    """A run, its model, and the figures and the output of each measurement."""

    run: RunFolder
    model: AutoregressiveModel
    figures: dict
    printed: dict

    def report(self, name):
        """Returns the content of the file of a measurement."""
        return report_of(self.run, name)


@pytest.fixture(autouse=True)
def blank_figures(monkeypatch):
    """Writes a small image in place of a figure, whose layout takes most of the time."""

    def blank(figure, file, **how):
        Image.new("L", (90, 60)).save(file, "png")

    monkeypatch.setattr(Figure, "savefig", blank)


@pytest.fixture(scope="session")
def measured(tmp_path_factory):
    """Two models that were trained for a moment, with all measurements and real figures.

    No test may change the run.
    """
    folder = tmp_path_factory.mktemp("measured")
    run, data = RunFolder(folder / "run"), tiny.save_npz(folder / "two words.npz")
    options = {"data": str(data), "epochs": 2, "batch_size": 24, "seed": 7}
    recipe = PixelCNNRecipe(**options, **MODEL, **HYBRID).for_data(PixelCNNRecipe(), 3)
    dataset, drawn, figures, printed = load_training_data(recipe), [], {}, {}

    savefig = Figure.savefig

    def record(figure, file, **how):
        drawn.append(figure)
        savefig(figure, file, **how)

    with eager(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", record)
        train_pixelcnnpp(dataset, recipe, Start(run, verbose=0))
        recipe = BaselineRecipe(**options, horizontal_flip=False).with_defaults()
        train_baseline(dataset, recipe, Start(run, verbose=0))
        subject = Subject(BatchOptions(run=run.path))
        for one in MEASUREMENTS:
            names = {field.name for field in fields(one.options)}
            chosen = {**FEW, "ood_data": str(data)}
            given = {name: value for name, value in chosen.items() if name in names}
            drawn.clear()
            with contextlib.redirect_stdout(io.StringIO()) as out:
                measure(one, one.options(run=run.path, **given), subject)
            figures[one.name], printed[one.name] = [*drawn], out.getvalue()
    return Measured(run, subject.model, figures, printed)
