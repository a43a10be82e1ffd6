"""RESULTS.md says what the kept files say."""

import importlib.util
import json
import statistics
from pathlib import Path

import pytest

from keras_pixelcnnpp.files import write_json

ROOT = Path(__file__).parent.parent


def benchmark(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def results():
    return benchmark("results")


def test_no_number_was_typed_by_hand(results):
    assert (ROOT / "RESULTS.md").read_text(encoding="utf-8") == results.render()


def test_readme_has_the_measured_table_of_the_backends():
    measured = (ROOT / "benchmarks" / "results" / "backends.json").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert benchmark("backends").markdown(json.loads(measured)) in readme


def test_reliability_has_the_figures_of_the_soak(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    measured = (ROOT / "benchmarks" / "results" / "soak.json").read_text(encoding="utf-8")
    text = (ROOT / "RELIABILITY.md").read_text(encoding="utf-8")
    assert benchmark("soak").markdown(json.loads(measured)) in text


@pytest.fixture(scope="module")
def fusions(results):
    """Rows of the comparisons by data, strategy and objective."""
    found = {}
    for data in ("digits", "cpen455"):
        report = results.Run(results.RESULTS / f"fusion-{data}").json("reports/fusion.json")
        rows = {(row["strategy"], row["objective"]): row for row in report["rows"]}
        found[data] = rows, list(dict.fromkeys(row["strategy"] for row in report["rows"]))
    return found


def test_what_results_say_of_the_objectives(fusions):
    for rows, strategies in fusions.values():
        assert len(strategies) == 8
        for strategy in strategies:
            likelihood, hybrid = (rows[strategy, name] for name in ("likelihood", "hybrid"))
            assert hybrid["accuracy"] > likelihood["accuracy"]
            assert hybrid["bits_per_dim"] > likelihood["bits_per_dim"]


def test_what_results_say_of_the_strategies(fusions):
    rows, strategies = fusions["digits"]
    for objective in ("likelihood", "hybrid"):
        by_loss = sorted(strategies, key=lambda name: rows[name, objective]["log_loss"])
        assert by_loss[0] == "one_hot"
        bits = {name: rows[name, objective]["bits_per_dim"] for name in strategies}
        assert min(bits, key=bits.get) == "one_hot"
    rows, strategies = fusions["cpen455"]
    hybrid = {name: rows[name, "hybrid"] for name in strategies}
    assert min(strategies, key=lambda name: hybrid[name]["accuracy"]) == "mixture_head"
    best, head = max(row["accuracy_ci95"][0] for row in hybrid.values()), hybrid["mixture_head"]
    assert sum(row["accuracy_ci95"][1] > best for row in hybrid.values()) > 4  # most overlap
    others = [row["seconds_per_epoch"] for name, row in hybrid.items() if name != "mixture_head"]
    assert head["seconds_per_epoch"] < 0.4 * statistics.median(others)  # a third


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
    assert results.heads_command("heads-x", {**comparison, "limit": None, "seed": 0}) == (
        "python examples/compare_heads.py --data digits --preset mine --epochs 3 --seed 0 "
        "--output runs/heads-x"
    )


def test_a_comparison_of_strategies_is_kept_with_its_command(results, tmp_path):
    report = {
        "data": "/home/me/pictures",
        "split": "test",
        "options": {"strategy": ["bias", "film"], "seeds": 2, "image_size": 16},
    }
    run = tmp_path / "runs" / "mine"
    (run / "reports").mkdir(parents=True)
    (run / "reports" / "fusion.json").write_text(json.dumps(report))
    kept = results.Run(results.keep(run, tmp_path / "results")).json("reports/fusion.json")
    assert kept == {**report, "data": "pictures"}
    assert results.fusion_command("mine", kept) == (
        "pixelcnnpp train fusion --data pictures --strategy bias --strategy film --seeds 2 "
        "--image-size 16 --split test --run runs/mine"
    )


def test_what_results_say_of_the_heads(results):
    def bits_per_dim(name):
        file = results.RESULTS / f"heads-{name}.json"
        heads = json.loads(file.read_text(encoding="utf-8"))["heads"]
        return {row["head"].split()[-1]: row["bits_per_dim"] for row in heads}

    digits, photographs = bits_per_dim("digits"), bits_per_dim("cpen455")
    assert 0 < min(digits["logistics"], digits["logistic"]) - digits["softmax"] < 0.05
    assert photographs["softmax"] - photographs["logistics"] > 0.5


def test_what_results_say_of_the_lighter_weight(results):
    heavy, light = (
        results.Run(results.RESULTS / name).json("reports/classification.json")["models"]
        for name in ("report-hybrid", "report-hybrid-light")
    )
    heavy, light = heavy["pixelcnnpp"], light["pixelcnnpp"]
    assert light["bits_per_dim"] < heavy["bits_per_dim"]
    assert light["accuracy"] < heavy["accuracy"]
    assert light["accuracy_ci95"][1] > heavy["accuracy_ci95"][0]
