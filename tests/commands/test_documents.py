"""The commands of the pages that a beginner follows work in their written order."""

import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import done
from images import write_image

from keras_pixelcnnpp.presets import Preset
from keras_pixelcnnpp.recipes.recipe import BaselineRecipe

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.DOTALL | re.MULTILINE)
SMALL = {
    "train": "--epochs 1 --filters 4 --num-blocks 1 --num-resolutions 1 --num-mixtures 1",
    "train-baseline": "--epochs 1",
    "data": "--count 40",
}
FIRST_TRY = ["--max-examples", "200"]


def commands_of(page):
    """Yields the arguments of the `pixelcnnpp` commands of a page, in their order."""
    for block in BLOCK.findall((ROOT / page).read_text(encoding="utf-8")):
        for line in block.splitlines():
            if line.startswith("pixelcnnpp "):
                yield shlex.split(line, comments=True)[1:]


def write_photos(folder):
    """Writes the images that the pages take for granted."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        for index in range(12):
            color = rng.integers(0, 256, 3)
            write_image(folder / "images" / name / f"{index}.png", color, size=(9, 9))
    (folder / "docs" / "images").mkdir(parents=True)
    shutil.copy(ROOT / "docs" / "images" / "shirt.png", folder / "docs" / "images")
    write_image(folder / "photos" / "cat" / "1.png", size=(9, 9))


def train_for_a_moment(monkeypatch):
    """Makes the recipes small that the pages' commands train with, but not their options."""
    recipe = Preset.recipe
    network = {"filters": 4, "num_blocks": 1, "num_resolutions": 1, "num_mixtures": 1}
    small = {**network, "epochs": 1, "likelihood_epochs": 0}
    monkeypatch.setattr(Preset, "recipe", lambda preset: replace(recipe(preset), **small))
    monkeypatch.setitem(BaselineRecipe.DEFAULTS, "epochs", 1)


@pytest.mark.slow
@pytest.mark.once
def test_commands_of_the_pages_as_they_stand(pixelcnnpp, tmp_path, monkeypatch):
    """Those of README, then those of Getting started, in their order and in one folder."""
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path)
    train_for_a_moment(monkeypatch)
    given = [*commands_of("README.md"), *commands_of("docs/getting_started.md")]
    first = [words[0] for words in given]
    assert {"train", "train-baseline", "evaluate", "sample", "classify", "complete"} <= {*first}
    for words in given:
        done(pixelcnnpp(*words))


@pytest.mark.slow
@pytest.mark.once
def test_commands_of_the_course_in_their_order(pixelcnnpp, tmp_path, monkeypatch):
    """First on a few images, and then again without this option and with --overwrite."""
    monkeypatch.chdir(tmp_path)
    data, *others = commands_of("docs/how-to/course.md")
    done(pixelcnnpp(*data, *shlex.split(SMALL["data"])))
    training = [words for words in others if words[0].startswith("train")]
    for more in (FIRST_TRY, ["--overwrite"]):
        for words in training:
            done(pixelcnnpp(*words, *shlex.split(SMALL[words[0]]), *more))
    assert (tmp_path / "runs" / "project" / "baseline.keras").is_file()
    for words in others:
        if words not in training and "torch-fidelity" not in words:
            done(pixelcnnpp(*words))
