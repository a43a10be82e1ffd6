import json

import pytest
import tiny
from scripts import script


@pytest.fixture(scope="module")
def compare_heads():
    return script("examples/compare_heads.py")


def test_networks_of_equal_size(compare_heads):
    arguments = {"image_shape": (8, 8, 1), "num_classes": 3, "conditioning": "bias"}
    for name in ("pixelcnn", "gated_pixelcnn"):
        found = compare_heads.with_as_many_weights(name, 60_000, {**arguments, "num_blocks": 2})
        model = compare_heads.ARCHITECTURES[name](**found)
        assert model.count_params() == pytest.approx(60_000, rel=0.1)


@pytest.mark.slow
def test_command(compare_heads, tmp_path, capsys, monkeypatch):
    from keras_pixelcnnpp.files import write_json

    # The mixture differs from the single logistic in a number only.
    heads = {name: compare_heads.HEADS[name] for name in ("single logistic", "softmax")}
    monkeypatch.setattr(compare_heads, "HEADS", heads)
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
    assert all(head["gradient_norm"] > 0 for head in report["heads"])
    assert all(len(epochs) == 2 for epochs in report["histories"].values())
    assert (tmp_path / "heads.png").stat().st_size > 1000
    assert "PixelCNN++, softmax" in capsys.readouterr().out


def test_receptive_field(tmp_path, capsys, monkeypatch):
    module = script("examples/receptive_field.py")
    for name, value in (("SIZE", 8), ("ROW", 5), ("COLUMN", 2)):
        monkeypatch.setattr(module, name, value)
    networks = {
        name: (network, {"filters": 8, "num_blocks": 1})
        for name, (network, _) in module.NETWORKS.items()
    }
    monkeypatch.setattr(module, "NETWORKS", networks)
    module.main(["--output", str(tmp_path / "field.png")])
    assert (tmp_path / "field.png").stat().st_size > 1000
    assert capsys.readouterr().out.count("earlier pixels and 0 others") == 3


def test_incremental_sampling(tmp_path):
    module = script("examples/incremental_sampling.py")
    module.main(["--output", str(tmp_path / "pass.png")])
    assert (tmp_path / "pass.png").stat().st_size > 1000
    # What is kept is as much as a row and one entry more; nothing is kept of what isn't there.
    places = [(row, column) for row in range(module.SIZE) for column in range(module.SIZE)]
    kept = [place for place in places if module.new_pixel(*place) == module.KEPT]
    assert len(kept) == module.SIZE + 1
    assert max(kept) < (module.ROW, module.COLUMN)


@pytest.mark.slow
def test_three_jobs(tmp_path):
    options = ["--preset", "digits", "--classes", "2", "--output", tmp_path / "jobs.png"]
    script("examples/three_jobs.py").main([str(option) for option in options])
    assert (tmp_path / "jobs.png").stat().st_size > 1000
