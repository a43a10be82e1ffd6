import html
import re

import pytest

from keras_pixelcnnpp.train.tensorboard import configuration_text, hyperparameters

OPTIONS = {"filters": [20, 40], "limit": None, "jit_compile": False, "frechet_every": 5}
CONFIG = {"options": OPTIONS, "parameters": 1234, "versions": {"keras": "3.15.1"}}
DATA = {"source": "/data/a|b", "class_names": ["x_1_", "*y*"]}


def test_hyperparameters_are_what_tensorboard_takes():
    assert hyperparameters("baseline", CONFIG, DATA) == {
        "model": "baseline",
        "data": "a|b",
        "parameters": 1234,
        "filters": "20,40",
        "jit_compile": False,
    }


def test_text_shows_values_as_they_are():
    markdown = pytest.importorskip("markdown")
    # As TensorBoard renders it.
    page = markdown.markdown(configuration_text(CONFIG, DATA), extensions=["tables"])
    rows = dict(re.findall(r"<tr>\s*<td>(.*?)</td>\s*<td><code>(.*?)</code></td>", page, re.S))
    assert {name: html.unescape(value) for name, value in rows.items()} == {
        "filters": "20,40",
        "limit": "–",
        "jit_compile": "False",
        "frechet_every": "5",
        "parameters": "1,234",
        "source": "/data/a|b",
        "class_names": "x_1_,*y*",
        "keras": "3.15.1",
    }
