import importlib.util
import itertools
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tiny
from scipy.special import log_softmax

PATH = Path(__file__).parents[2] / "examples" / "compare_heads.py"
SMALL = {**tiny.MODEL, "filters": 3, "conditioning": "none", "dropout_rate": 0.0}


@pytest.fixture(scope="module")
def compare_heads():
    specification = importlib.util.spec_from_file_location("compare_heads", PATH)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def random_model(compare_heads, image_shape, num_levels):
    model = compare_heads.SoftmaxPixelCNN(image_shape, 0, num_levels, **SMALL)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    return model


# Three channels: each but the first depends on those before it, through tables.
@pytest.mark.parametrize(("image_shape", "num_levels"), [((2, 2, 1), 4), ((1, 2, 3), 2)])
def test_all_pictures_together_are_certain(compare_heads, image_shape, num_levels):
    model = random_model(compare_heads, image_shape, num_levels)
    pictures = list(itertools.product(range(num_levels), repeat=model.dimensions))
    pictures = np.array(pictures, "uint8").reshape(-1, *image_shape)
    probabilities = np.exp(np.float64(model.log_prob(pictures, batch_size=256)))
    assert probabilities.std() > 1e-4
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_earlier_channels_add_rows_of_tables(compare_heads):
    model = random_model(compare_heads, (1, 1, 3), 5)
    tables = {name: np.asarray(table.embeddings) for name, table in model.tables.items()}
    logits = np.random.default_rng(1).normal(size=(1, 1, 1, 1, 15)).astype("float32")
    red, green, blue = logits[0, 0, 0, 0].reshape(3, 5)
    expected = (
        log_softmax(red)[4]
        + log_softmax(green + tables["1_given_0"][4])[0]
        + log_softmax(blue + tables["2_given_0"][4] + tables["2_given_1"][0])[2]
    )
    levels = np.array([[[[4, 0, 2]]]], "uint8")
    (received,) = keras.ops.convert_to_numpy(model.log_likelihood(logits, levels))[0]
    assert received == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_command(compare_heads, tmp_path, capsys, monkeypatch):
    from keras_pixelcnnpp.files import write_json

    mixture, *others = compare_heads.heads(2, 256).items()
    assert mixture == ("mixture of 2 logistics", (compare_heads.kp.PixelCNNPlusPlus, 2))
    # It differs from the single logistic in a number only, and would cost a third of the time.
    monkeypatch.setattr(compare_heads, "heads", lambda *_: dict(others))
    preset = {
        "model": {**tiny.MODEL, "num_mixtures": 2, "image_shape": [4, 4, 1]},
        "training": {"epochs": 1, "batch_size": 12},
    }
    write_json(tmp_path / "preset" / "config.json", preset)
    data = tiny.save_npz(tmp_path / "data.npz")
    options = ["--data", data, "--preset", tmp_path / "preset", "--epochs", 2]
    compare_heads.main([str(option) for option in [*options, "--output", tmp_path]])
    report = json.loads((tmp_path / "heads.json").read_text())
    single, softmax = report["heads"]
    assert single["split"] == "validation"
    # A logistic has a weight, a mean and a scale; the .npz has 256 levels.
    assert [head["parameters_per_pixel"] for head in report["heads"]] == [3, 256]
    # 4 features, a gain and a bias for each.
    assert softmax["parameters"] - single["parameters"] == (256 - 3) * (4 + 2)
    assert all(0 < head["bits_per_dim"] < 20 for head in report["heads"])
    assert all(len(epochs) == 2 for epochs in report["histories"].values())
    assert (tmp_path / "heads.png").stat().st_size > 1000
    assert "256-way softmax" in capsys.readouterr().out
