"""Tests of what a training takes from its options and a preset, and of one-line errors."""

import json
import shutil
from pathlib import Path

import pytest
from command_line import done

from keras_pixelcnnpp.models.archive import NETWORKS
from keras_pixelcnnpp.presets import Preset, preset_names
from keras_pixelcnnpp.recipes.recipe import BaselineRecipe, PixelCNNRecipe
from keras_pixelcnnpp.train.data import load_preset
from keras_pixelcnnpp.utils.errors import UserError
from keras_pixelcnnpp.utils.files import read_json, write_json

pytestmark = pytest.mark.once

PRESET = PixelCNNRecipe(
    network="pixelcnnpp",
    label_loss_weight=0.3,
    num_candidates=2,
    filters=40,
    epochs=44,
    likelihood_epochs=26,
    crop_margin=4,
    batch_size=16,
    learning_rate_schedule="cosine",
)
UNLABELED = {"unlabeled_weight": 1.0, "label_loss_weight": 0.1}


@pytest.mark.parametrize(
    ("given", "data", "expected"),
    [
        # The user's options override the preset.
        ({"filters": None, "epochs": 44}, {}, {"filters": 40, "epochs": 44, "batch_size": 16}),
        ({"filters": 20, "batch_size": 8}, {}, {"filters": 20, "epochs": 44, "batch_size": 8}),
        ({"learning_rate": 0.1}, {}, {"learning_rate_schedule": "cosine"}),
        # Values of the preset that do not apply to the data are dropped.
        ({}, {}, {"label_loss_weight": 0.3, "crop_margin": 4, "num_candidates": 2}),
        ({}, {"num_classes": 1}, {"label_loss_weight": 0.0}),
        ({"conditioning": "none"}, {}, {"label_loss_weight": 0.0}),
        ({}, {"from_files": False}, {"crop_margin": 0}),
        ({"crop_margin": 2}, {"from_files": False}, {"crop_margin": 2}),
        ({"learning_rate_decay": 0.9}, {}, {"learning_rate_schedule": "exponential"}),
        # With other epochs, the fraction of likelihood-only epochs is kept.
        ({}, {}, {"likelihood_epochs": 26}),
        ({"epochs": 10}, {}, {"likelihood_epochs": 5}),
        ({"epochs": 88}, {}, {"likelihood_epochs": 52}),
        ({"epochs": 10, "likelihood_epochs": 8}, {}, {"likelihood_epochs": 8}),
        # Unlabeled images contribute from the first epoch, with all candidates.
        (UNLABELED, {}, {"likelihood_epochs": 0, "num_candidates": None}),
        ({**UNLABELED, "likelihood_epochs": 4}, {}, {"likelihood_epochs": 4}),
    ],
)
def test_what_a_training_takes(given, data, expected):
    recipe = PixelCNNRecipe(**given).for_data(PRESET, **{"num_classes": 4, **data})
    assert recipe.network == "pixelcnnpp"
    assert {name: getattr(recipe, name) for name in expected} == expected


def resolved():
    """Returns every value that the recipes of this package train with, by their names."""
    recipes = {name: Preset(name).recipe() for name in preset_names()}
    for name, network in NETWORKS.items():
        if network.recipe:
            recipes[name] = PixelCNNRecipe(network=name, **network.recipe)
    found = {n: PixelCNNRecipe().for_data(one, num_classes=10) for n, one in recipes.items()}
    found["defaults"], found["baseline"] = PixelCNNRecipe(), BaselineRecipe()
    return {name: recipe.with_defaults().values() for name, recipe in found.items()}


def test_the_recipes_are_frozen():
    """Stored recipes have all values: another default, or a new option, needs another `FORMAT`."""
    frozen = Path(__file__).with_name("recipes.json")
    assert json.loads(json.dumps(resolved())) == read_json(frozen)


def test_a_changed_default_changes_no_stored_recipe(preset, monkeypatch):
    monkeypatch.setattr(PixelCNNRecipe, "DEFAULTS", {**PixelCNNRecipe.DEFAULTS, "optimizer": "new"})
    stored = Preset(preset).recipe()
    assert PixelCNNRecipe().for_data(stored, num_classes=3).optimizer == "adam"


def test_another_format_is_refused(preset, run, tmp_path):
    shutil.copytree(preset, tmp_path / "newer")
    write_json(tmp_path / "newer" / "metadata.json", {"format": 2})
    config = run.read_config()
    config["pixelcnnpp"]["format"] = 2
    write_json(run.config_json, config)
    for read in (lambda: Preset(tmp_path / "newer"), run.read_config):
        with pytest.raises(UserError, match=r"another version .* the format 1\. Received: 2"):
            read()


def test_the_help_shows_the_defaults(pixelcnnpp):
    """Those of both recipes, and none for an option whose help says more."""
    for command, size in (("train-baseline", 64), ("train", 8)):  # those of `photographs`
        text = " ".join(done(pixelcnnpp(command, "--help")).split())
        assert f"Number of images per training step. Default: {size}." in text
    assert "Number of passes over the training images. Default: 38." in text
    assert "per resolution: 2,1,1. Default: 2,1,1." in text
    assert "0 with --unlabeled-weight. [" in text


EMPTY = PixelCNNRecipe()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: PixelCNNRecipe(conditioning="bias").for_data(EMPTY, 1),
            "`conditioning`. It needs at least two classes",
        ),
        (
            lambda: load_preset("digits", "digits", "pixelcnn"),
            "The network of preset digits is pixelcnnpp. Received: pixelcnn$",
        ),
        (lambda: PixelCNNRecipe(epochs=0), "integer of at least 1. Received: epochs=0"),
        (lambda: BaselineRecipe(horizontal_flip="yes"), "Expected true or false. Received: hor"),
        (lambda: BaselineRecipe(ema_momentum=2), "a number from 0 to 1. Received: ema_momentum=2"),
        (lambda: BaselineRecipe.of({"filters": 3}), "Unknown options of a recipe: filters"),
    ],
)
def test_refused(call, message):
    with pytest.raises(UserError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "wrong",
    [
        *(("--filters", "24;48"), ("--precision", "int8"), ("--epochs", 0)),
        ("--network", "pixelcnn", "--num-resolutions", 2),  # noticed by the model
    ],
)
def test_a_wrong_value_is_refused_before_anything_is_written(pixelcnnpp, tmp_path, wrong):
    command = ("train", "--data", "digits", "--run", tmp_path / "run", *wrong)
    status, _, err = pixelcnnpp(*command)
    assert status == 2
    assert wrong[-2].removeprefix("--").replace("-", "_") in err.replace("-", "_")
    assert not (tmp_path / "run" / "config.json").exists()
