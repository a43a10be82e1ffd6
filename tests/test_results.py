"""RESULTS.md says what the kept files say."""

import json

import pytest
from scripts import ROOT, script

from keras_pixelcnnpp.files import write_json


def benchmark(name):
    return script(f"benchmarks/{name}.py")


@pytest.fixture(scope="module")
def results():
    return benchmark("results")


def test_no_number_was_typed_by_hand(results):
    assert (ROOT / "RESULTS.md").read_text(encoding="utf-8") == results.render()


def test_reliability_has_the_figures_of_the_soak(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    measured = (ROOT / "benchmarks" / "results" / "soak.json").read_text(encoding="utf-8")
    text = (ROOT / "RELIABILITY.md").read_text(encoding="utf-8")
    assert benchmark("soak").markdown(json.loads(measured)) in text


def test_a_run_is_kept_without_weights(results, tmp_path):
    run = tmp_path / "runs" / "mine"
    (run / "reports").mkdir(parents=True)
    (run / "config.json").write_text(json.dumps({"data": {"source": "/home/me/pictures"}}))
    (run / "reports" / "classification.json").write_text(json.dumps({"count": 3}))
    (run / "reports" / "roc.png").write_bytes(b"")
    (run / "reports" / "samples.png").write_bytes(b"")
    history = [{"epoch": 1, "seconds": 2.0, "val_bits_per_dim": 3.5}]
    write_json(run / "logs" / "pixelcnnpp" / "history.json", history)
    (run / "model.keras").write_bytes(b"")
    kept = results.keep(run, tmp_path / "results")
    files = sorted(str(path.relative_to(kept)) for path in kept.rglob("*") if path.is_file())
    assert files == [
        "config.json",
        "logs/pixelcnnpp/history.json",
        "reports/bits_per_dim.png",
        "reports/classification.json",
        "reports/samples.png",
    ]
    assert results.Run(kept).config == {"data": {"source": "pictures"}}
    assert results.Run(kept).json("reports/classification.json") == {"count": 3}
    assert results.Run(kept).json("reports/generation.json") is None


def test_a_comparison_of_heads_has_its_command(results):
    comparison = {"data": "digits", "image_size": None, "preset": "mine", "epochs": 3}
    assert results.heads_command("heads-x", {**comparison, "limit": None, "seeds": 2}) == (
        "python examples/compare_heads.py --all --data digits --preset mine --epochs 3 --seeds 2 "
        "--output runs/heads-x"
    )
