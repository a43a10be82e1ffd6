"""Tests of the docstrings of methods that share arguments."""

import inspect
import re

import pytest

import keras_pixelcnnpp as kp

pytestmark = pytest.mark.once


def methods_of_arrays():
    for kind in (kp.PixelCNNPlusPlus, kp.TiledModel):
        for name, method in inspect.getmembers(kind, inspect.isfunction):
            names = [*inspect.signature(method).parameters][1:]
            if method.__module__.startswith("keras_pixelcnnpp") and "verbose" in names:
                yield pytest.param(method, names, id=f"{kind.__name__}.{name}")


@pytest.mark.parametrize(("method", "names"), [*methods_of_arrays()])
def test_help_of_a_method_describes_each_argument(method, names):
    text = inspect.getdoc(method)
    described = re.search(r"^Args:\n((?:    .*\n|\n)*)", text + "\n", re.MULTILINE)[1]
    assert re.findall(r"^    (\w+): ", described, re.MULTILINE) == names
    assert not re.search(r": See\s+`", text)
