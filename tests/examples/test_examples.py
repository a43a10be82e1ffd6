"""Runs each example with small settings, and checks its results."""

import compare_conditioning
import compare_heads
import incremental_sampling
import numpy as np
import pytest
import receptive_field
import three_jobs
import tiny

pytestmark = [pytest.mark.once, pytest.mark.eagerly]


@pytest.mark.slow
def test_compare_conditioning(tmp_path, capsys):
    data, output = tiny.save_npz(tmp_path / "data.npz"), tmp_path / "figure.png"
    options = ["--data", str(data), "--epochs", "1", "--output", str(output)]
    compare_conditioning.main([*options, "--strategy", "bias"])
    assert output.stat().st_size > 1000
    assert "bias" in capsys.readouterr().out


@pytest.mark.slow
def test_compare_heads(tmp_path, capsys, monkeypatch):
    module, made, make = compare_heads, [], compare_heads.make
    monkeypatch.setattr(module, "HEADS", {"softmax": module.HEADS["softmax"]})
    monkeypatch.setattr(module, "make", lambda *a, **k: made.append(make(*a, **k)) or made[-1])
    monkeypatch.setattr(module, "PIXELCNNPP", {**module.PIXELCNNPP, "filters": (4, 4)})
    data, output = tiny.save_npz(tmp_path / "data.npz"), tmp_path / "figure.png"
    options = ["--data", str(data), "--epochs", "1", "--output", str(output)]
    module.main([*options, "--networks", "PixelCNN", "PixelCNN++"])
    assert output.stat().st_size > 1000
    assert "PixelCNN++, softmax" in capsys.readouterr().out
    masked, pixelcnnpp = made[-2:]
    # The number of filters has steps of two, which matter for narrow networks.
    assert 1 <= masked.count_params() / pixelcnnpp.count_params() < 1.6


def test_receptive_field(tmp_path, capsys, monkeypatch):
    for name, value in (("SIZE", 8), ("ROW", 5), ("COLUMN", 2)):
        monkeypatch.setattr(receptive_field, name, value)
    networks = {
        name: (network, {"filters": 8, "num_blocks": 1})
        for name, (network, _) in receptive_field.NETWORKS.items()
    }
    monkeypatch.setattr(receptive_field, "NETWORKS", networks)
    receptive_field.main(["--output", str(tmp_path / "field.png")])
    assert (tmp_path / "field.png").stat().st_size > 1000
    assert capsys.readouterr().out.count("earlier pixels and 0 others") == 3


def test_incremental_sampling(tmp_path):
    module = incremental_sampling
    module.main(["--output", str(tmp_path / "pass.png")])
    assert (tmp_path / "pass.png").stat().st_size > 1000
    # One row and one more entry are kept; later positions are never kept.
    places = np.ndindex(module.SIZE, module.SIZE)
    kept = [place for place in places if module.new_pixel(*place) == module.KEPT]
    assert len(kept) == module.SIZE + 1
    assert max(kept) < (module.ROW, module.COLUMN)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Particles have collapsed")  # there are only four
def test_three_jobs(tmp_path):
    options = ["--preset", "digits", "--particles", "4", "--output", tmp_path / "jobs.png"]
    three_jobs.main([str(option) for option in options])
    assert (tmp_path / "jobs.png").stat().st_size > 1000
