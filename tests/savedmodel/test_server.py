import importlib.util
import random
import sys
from pathlib import Path

import pytest
import tiny

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("kserve") is None, reason="needs the extra `serve`"
    ),
]

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_right_answers_under_load(tmp_path, monkeypatch):
    """Against the same endpoint in this process, with bad pictures and bad requests among them."""
    from keras_pixelcnnpp.export.endpoints import export_saved_model

    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    from serving import requests_served

    path = tmp_path / "savedmodel"
    export_saved_model(tiny.tiny_model(), path / "1", ("dark", "grey", "bright"), {})
    figures = requests_served(60, path, random.Random(0), requests=300)
    assert figures["failures"] == []
    assert set(figures["statuses"]) == {"200", "400"}
    assert figures["requests"] == 300
