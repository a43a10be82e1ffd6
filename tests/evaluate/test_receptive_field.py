import json

import numpy as np
import pytest
import tiny
from command_line import one_line
from PIL import Image

from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.files import write_json


@pytest.mark.parametrize("options", [(), ("--untrained",)])
def test_counts_and_picture(pixelcnnpp, run, options):
    if options:
        run.model_keras.unlink()
    status, out, _ = pixelcnnpp("evaluate", "receptive-field", "--run", run.path, *options)
    assert status == 0
    assert str(run.reports) in out
    report = json.loads((run.reports / "receptive_field.json").read_text())
    assert (report["trained"], report["pictures"]) == (not options, 4)
    assert [(t["row"], t["column"]) for t in report["targets"]] == [(1, 2), (2, 0), (2, 2), (3, 3)]
    for target in report["targets"]:
        assert target["later_seen"] == 0
        assert target["seen"] <= target["earlier"] == 4 * target["row"] + target["column"]
        assert target["blind_spot_seen"] == target["blind_spot"]
    with Image.open(run.reports / "receptive_field.png") as image:
        assert image.format == "PNG"


def test_unconditional_model(pixelcnnpp, run):
    tiny.tiny_model(num_classes=0, conditioning="none").save(run.model_keras)
    status, _, _ = pixelcnnpp("evaluate", "receptive-field", "--run", run.path)
    assert status == 0


def test_no_labels_for_a_model_of_classes(pixelcnnpp, run, tmp_path):
    config = run.read_config()
    arrays = dict(np.load(config["data"]["source"]))
    arrays["y_validation"][:] = -1
    source = str(tmp_path / "unlabelled.npz")
    np.savez(source, **arrays)
    own = {"source": source, "fingerprint": load_dataset(source).fingerprint()}
    write_json(run.config_json, {**config, "data": {**config["data"], **own}})
    result = pixelcnnpp("evaluate", "receptive-field", "--run", run.path)
    one_line(result, "validation has no labelled picture")


@pytest.mark.parametrize("model", [None, [1], {"filters": "many"}])
def test_damaged_configuration(pixelcnnpp, run, model):
    config = run.read_config()
    write_json(run.config_json, {**config, "pixelcnnpp": {"options": {}, "model": model}})
    one_line(pixelcnnpp("evaluate", "receptive-field", "--run", run.path, "--untrained"))


def test_no_model(pixelcnnpp, run):
    run.model_keras.unlink()
    result = pixelcnnpp("evaluate", "receptive-field", "--run", run.path)
    one_line(result, "model.keras", "pixelcnnpp train pixelcnnpp")


def test_baseline_only(pixelcnnpp, run):
    config = run.read_config()
    write_json(run.config_json, {"data": config["data"]})
    result = pixelcnnpp("evaluate", "receptive-field", "--run", run.path, "--untrained")
    one_line(result, "no PixelCNN++")
