import base64
import io
import json
import shutil
from fnmatch import fnmatch
from html.parser import HTMLParser

import hostile
import preset
import pytest
import results
import tiny
from command_line import done, one_line, report_of
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from keras_pixelcnnpp.evaluate.measure import report
from keras_pixelcnnpp.evaluate.measurements import MEASUREMENTS, BatchOptions
from keras_pixelcnnpp.training.run import RunFolder
from keras_pixelcnnpp.utils.files import write_json

pytestmark = [pytest.mark.once, pytest.mark.eagerly]

PREFIX = "data:image/png;base64,"


class HtmlPage(HTMLParser):
    """A parsed web page: its `tags` with attributes, and its `text`."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(content)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def attributes(self, name):
        """Returns the values of an attribute of all tags."""
        return [attributes[name] for _, attributes in self.tags if name in attributes]


@pytest.fixture(scope="module")
def finished_run(measured, tmp_path_factory):
    """A copy of the measured run, without its page."""
    return copied(measured.run, tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture
def finished(finished_run, tmp_path):
    """A copy of the finished run for one test to change."""
    return copied(finished_run, tmp_path / "run")


def copied(run, path, names=tiny.NAMES):
    """Copies a run without its page; its classes may get other names."""
    shutil.copytree(run.path, path, ignore=shutil.ignore_patterns("index.html"))
    for file in path.rglob("*.json"):
        text = file.read_text(encoding="utf-8")
        for old, new in zip(tiny.NAMES, names, strict=True):
            text = text.replace(json.dumps(old), json.dumps(new))
        file.write_text(text, encoding="utf-8")
    return RunFolder(path)


def page_of(pixelcnnpp, run):
    """Returns the page that the command writes, after checking that it is self-contained."""
    out = done(pixelcnnpp("evaluate", "report", "--run", run.path))
    path = run.reports / "index.html"
    assert f"Wrote {path}" in out
    page = HtmlPage(path.read_text(encoding="utf-8"))
    assert not {"script", "iframe", "object", "embed", "form"} & {tag for tag, _ in page.tags}
    for uri in page.attributes("src"):
        assert uri.startswith(PREFIX)
        with Image.open(io.BytesIO(base64.b64decode(uri.removeprefix(PREFIX)))) as image:
            image.load()
    assert page.attributes("href") == ["data:,"]  # no icon
    assert "url(" not in page.text
    assert "@import" not in page.text
    assert not [name for _, attributes in page.tags for name in attributes if name[:2] == "on"]
    assert all(attributes["alt"] for tag, attributes in page.tags if tag == "img")
    return page


def test_finished_run(pixelcnnpp, finished):
    page = page_of(pixelcnnpp, finished)
    # All figures, and three curves.
    assert len(page.attributes("src")) == len([*finished.reports.glob("*.png")]) + 3
    assert "Outdated" not in page.text
    report = report_of(finished, "classification")
    models, difference = report["models"], report["accuracy_difference"]
    low, high = (f"{100 * end:+.1f}".replace("-", "−") for end in difference["ci95"])
    shown = [f"{100 * numbers['accuracy']:.1f}%" for numbers in models.values()]
    shown += [f"({low} to {high})", report_of(finished, "likelihood")["interpretation"]]
    shown.append(f"{finished.history('pixelcnnpp')[-1]['val_bits_per_dim']:.3f}")
    for text in shown:
        assert text in page.text


def test_each_file_belongs_to_one_measurement(finished_run):
    written = {path.name for path in finished_run.reports.iterdir()} - {"index.html", "samples"}
    patterns = [p for one in MEASUREMENTS for p in (f"{one.name}.json", *one.writes)]
    for name in written:
        assert sum(fnmatch(name, pattern) for pattern in patterns) == 1, name
    for pattern in patterns:
        assert any(fnmatch(name, pattern) for name in written), pattern


def test_the_card_of_a_new_preset(finished_run, tmp_path, monkeypatch, trained):
    """After `evaluate classification` alone, without a CNN and a text in `cards.toml`."""
    run = copied(finished_run, tmp_path / "results" / "mine")
    (run.reports / "generation.json").unlink()
    report = report_of(run, "classification")
    del report["models"]["baseline"]
    write_json(run.reports / "classification.json", report)
    config = run.read_config()
    del config["baseline"]
    write_json(run.config_json, config)
    facts = {"epochs": 2, "seed": 7, "training": {"epochs": 2}}
    facts["versions"] = config["pixelcnnpp"]["versions"]
    trained.save_to_preset(tmp_path / "mine", facts)
    monkeypatch.setattr(preset, "PRESETS", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(preset, "Run", lambda _: results.Run(run.path))
    preset.card("mine")
    card = (tmp_path / "mine" / "README.md").read_text(encoding="utf-8")
    accuracy = report["models"]["pixelcnnpp"]["accuracy"]
    assert f"| accuracy | {100 * accuracy:.1f}%" in card
    assert "license: other\n" in card
    assert "train-baseline" not in card


def test_commands_are_shown_as_they_were_given(pixelcnnpp, finished):
    """Each once, in their order, with those that resumed the training.

    Bytes of file names that are not UTF-8 are escaped.
    """
    commands = [
        "pixelcnnpp train --data 'two \udcff words' --epochs 5 --run run",
        "pixelcnnpp train --resume --run run",
        "pixelcnnpp train --resume --epochs 20 --run run",
        "pixelcnnpp evaluate all --run run",
    ]
    config = finished.read_config()
    resumed = [commands[1], commands[1], commands[2]]
    config["pixelcnnpp"] |= {"command": commands[0], "resumed": resumed}
    write_json(finished.config_json, config)
    for one in MEASUREMENTS:
        result = report_of(finished, one.name)
        write_json(finished.reports / f"{one.name}.json", result | {"command": commands[3]})
    text = page_of(pixelcnnpp, finished).text
    shown = [command.encode(errors="backslashreplace").decode() for command in commands]
    places = [text.index(command) for command in shown]
    assert places == sorted(places)
    assert [text.count(command) for command in shown] == [1] * 4


def test_run_that_was_only_started(pixelcnnpp, finished):
    run = RunFolder(finished.path.parent / "started")
    write_json(run.config_json, {"data": finished.read_config()["data"]})
    assert "bright" in page_of(pixelcnnpp, run).text


def test_what_users_named_is_text(pixelcnnpp, finished_run, tmp_path):
    names = ("<script>alert(1)</script> a&lt;b", "\"><img src='x' onerror='alert(2)'>", "$x$")
    page = page_of(pixelcnnpp, copied(finished_run, tmp_path / "<i>run & co", names))
    for name in ("<i>run & co", *names):
        assert name in page.text


@pytest.mark.parametrize("content", ['{"metrics"', '{"metrics": [3]}'])
def test_damaged_file_is_named(pixelcnnpp, finished, content):
    (finished.reports / "generation.json").write_text(content)
    result = pixelcnnpp("evaluate", "report", "--run", finished.path)
    one_line(result, "generation.json", "damaged")
    assert not (finished.reports / "index.html").exists()


VALUES = [None, True, 3, -1, 1e400, "x", "\udcff", [], [1], ["x"], {}, {"x": 1}]


def places(content, path=()):
    """Returns the path of every value in JSON data."""
    inner = content.items() if isinstance(content, dict) else ()
    inner = enumerate(content) if isinstance(content, list) else inner
    return [path, *(place for key, value in inner for place in places(value, (*path, key)))]


def replaced(content, path, value):
    """Returns JSON data with another value in one place."""
    if not path:
        return value
    copy = content.copy()
    copy[path[0]] = replaced(content[path[0]], path[1:], value)
    return copy


# Any content of a run's JSON files gives a page or a one-line error.
@hostile.examples(400)
@given(data=st.data())
def test_any_value_in_any_place(finished_run, data):
    run = finished_run
    files = sorted(run.path.rglob("*.json"))
    file = data.draw(st.sampled_from(files), "file")
    original = file.read_text(encoding="utf-8")
    content = json.loads(original)
    path = data.draw(st.sampled_from(places(content)), "place")
    file.write_text(
        json.dumps(replaced(content, path, data.draw(st.sampled_from(VALUES), "value")))
    )
    page = run.reports / "index.html"
    page.unlink(missing_ok=True)
    try:
        hostile.result_or_one_line(report, BatchOptions(run=run.path))
    finally:
        file.write_text(original, encoding="utf-8")
    assert not page.exists() or "</html>" in page.read_text(encoding="utf-8")
