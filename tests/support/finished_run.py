"""A finished run without its models: the JSON files and the names of the figures of a tiny run.

    KERAS_BACKEND=tensorflow PYTHONPATH=tests/support python tests/support/finished_run.py

makes `tests/evaluate/finished_run.json` again. A slow test compares its structure with a new run.
"""

import hashlib
import json
import tempfile
from dataclasses import fields
from pathlib import Path

import numpy as np
import tiny
from PIL import Image

from keras_pixelcnnpp.evaluate.measure import measure
from keras_pixelcnnpp.evaluate.measurements import measurements
from keras_pixelcnnpp.evaluate.subject import HASH_LENGTH
from keras_pixelcnnpp.train.data import load_training_data
from keras_pixelcnnpp.train.run_training import Start, train_baseline, train_pixelcnnpp
from keras_pixelcnnpp.training.recipe import BaselineRecipe, PixelCNNRecipe
from keras_pixelcnnpp.training.run import RunFolder
from keras_pixelcnnpp.utils.files import read_json, sha256, write_json

STORED = Path(__file__).parents[1] / "evaluate" / "finished_run.json"
MODEL = {"network": "pixelcnn", "filters": 4, "num_blocks": 1, "num_mixtures": 1}
HYBRID = {"label_loss_weight": 0.5, "likelihood_epochs": 1, "learn_class_bias": True}
FEW = {"per_class": 2, "count": 4, "temperatures": "1,1.15", "completions": 1}


def finish(folder):
    """Trains both models for a moment and measures them; returns the stored part of the run."""
    run, data = RunFolder(folder / "run"), tiny.save_npz(folder / "tiny.npz")
    options = {"data": str(data), "epochs": 2, "batch_size": 24, "seed": 7}
    recipe = PixelCNNRecipe(**options, **MODEL, **HYBRID).for_data(PixelCNNRecipe(), 3)
    dataset = load_training_data(recipe)
    train_pixelcnnpp(dataset, recipe, Start(run, verbose=0))
    recipe = BaselineRecipe(**options, horizontal_flip=False).with_defaults()
    train_baseline(dataset, recipe, Start(run, verbose=0))
    for one in measurements():
        names = {field.name for field in fields(one.options)}
        given = {name: value for name, value in FEW.items() if name in names}
        measure(one, one.options(run=run.path, **given))
    files = {
        path.relative_to(run.path).as_posix(): read_json(path)
        for path in (run.config_json, *run.path.glob("reports/*.json"))
    }
    for name in run.MODEL_FILES:
        path = run.history_json(name)
        files[path.relative_to(run.path).as_posix()] = run.history(name)
    text = json.dumps(files).replace(str(data), "/data/two words")
    for name in run.MODEL_FILES:  # the stored run has other bytes as its models
        found = sha256(run.model(name))[:HASH_LENGTH]
        text = text.replace(found, hashlib.sha256(name.encode()).hexdigest()[:HASH_LENGTH])
    names = sorted(path.name for path in run.reports.iterdir() if path.suffix != ".json")
    return {"files": json.loads(text), "others": names}


def write(path, names=tiny.NAMES):
    """Writes the stored run, whose classes may get other names; its figures are noise."""
    run, stored = RunFolder(path), read_json(STORED)
    for name, content in stored["files"].items():
        text = json.dumps(content)
        for old, new in zip(tiny.NAMES, names, strict=True):
            text = text.replace(json.dumps(old), json.dumps(new))
        file = run.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    for name in run.MODEL_FILES:
        run.model(name).write_text(name)
    noise = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype="uint8")
    for name in stored["others"]:
        if name.endswith(".png"):
            Image.fromarray(noise).save(run.reports / name)
    return run


if __name__ == "__main__":
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    with tempfile.TemporaryDirectory() as temporary:
        write_json(STORED, finish(Path(temporary)))
