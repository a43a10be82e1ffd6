"""A measurement is one class and one template; its command and its section follow."""

import importlib

import jinja2
import pytest
import tiny
from command_line import done, one_line

from keras_pixelcnnpp.evaluate import commands, report
from keras_pixelcnnpp.evaluate.measurements import MEASUREMENTS, Measurement
from keras_pixelcnnpp.utils.files import read_json

pytestmark = [pytest.mark.once, pytest.mark.eagerly]


class Brightness(Measurement):
    """Measure the mean of all values."""

    name = "brightness"
    title = "Brightness"
    writes = ("brightness.txt",)

    def reason_against(self, subject):
        return "It is too dark" if subject.options.split == "test" else None

    def measure(self, subject, options, folder):
        (folder / "brightness.txt").write_text(str(len(subject.images)))
        return {"split": subject.split, "mean": float(subject.images.images.mean())}


SECTION = """
{% from "macros.html.j2" import number, row, section, table %}
{% set numbers = number("Brightness", report.mean | decimal(1), "of 255") %}
{% call section("Brightness of images") %}
{% call table() %}{{ row("mean", report.mean | decimal(2)) }}{% endcall %}
{% endcall %}
"""


@pytest.fixture
def brightness(monkeypatch):
    """A measurement of a contributor, of which the commands know."""
    templates = report._environment()
    own = jinja2.DictLoader({"brightness.html.j2": SECTION})
    monkeypatch.setattr(templates, "loader", jinja2.ChoiceLoader([templates.loader, own]))
    MEASUREMENTS.append(Brightness())
    importlib.reload(commands)
    yield
    MEASUREMENTS.pop()
    importlib.reload(commands)


@pytest.mark.usefixtures("brightness")
def test_a_class_and_a_template_are_enough(pixelcnnpp, run):
    assert "Measure the mean of all values." in done(pixelcnnpp("evaluate", "--help"))
    common = ("--run", run.path)
    one_line(pixelcnnpp("evaluate", "brightness", *common, "--split", "test"), "It is too dark")
    out = done(pixelcnnpp("evaluate", "brightness", *common))
    assert f"Wrote brightness.json, brightness.txt and index.html to {run.reports}" in out
    result = read_json(run.reports / "brightness.json")
    assert result["mean"] == tiny.tiny_split(9, 1).images.mean()
    page = (run.reports / "index.html").read_text(encoding="utf-8")
    assert f"<td>{result['mean']:.2f}</td>" in page
    assert f'<dd class="value">{result["mean"]:.1f}</dd>' in page
