"""Tests of the arguments that docstrings describe."""

import difflib
import importlib
import inspect
import itertools
import re
from collections import defaultdict
from pathlib import Path
from pydoc import locate

import pytest

import keras_pixelcnnpp
from keras_pixelcnnpp.sampling.options import SamplingOptions, ScoringOptions

pytestmark = pytest.mark.once


@pytest.fixture
def documented(monkeypatch):
    """The functions and methods of the reference by name, with their descriptions."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "docs" / "extensions")
    names = importlib.import_module("names")
    found = {}
    for page in names.REFERENCE.glob("*.md"):
        for name, listed in names.BLOCK.findall(page.read_text(encoding="utf-8")):
            if name == "commands":
                continue
            members = {name: locate(name)}
            if inspect.isclass(members[name]):
                chosen = names.members(locate(name), listed.split())
                members = {f"{name}.{own}": one for own, one in chosen}
            for own, one in members.items():
                function = getattr(one, "__func__", one)  # of a class method
                if inspect.isfunction(function):
                    found[own] = function, descriptions(function)
    return found


def descriptions(found):
    """Returns the descriptions of arguments in a docstring by name; empty without any."""
    text = (inspect.getdoc(found) or "") + "\n"
    section = re.search(r"^Args:\n((?:    .*\n|\n)*)", text, re.MULTILINE)
    parts = re.split(r"^    (\*{0,2}\w+): ", section[1] if section else "", flags=re.MULTILINE)
    return {
        name: " ".join(text.split()) for name, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def argument_names(function):
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    parameters = [*inspect.signature(function).parameters.values()]
    names = [stars.get(one.kind, "") + one.name for one in parameters]
    return [name for name in names if name not in ("self", "cls")]


def test_docstrings_describe_the_arguments_of_the_signature(documented):
    """Those of public classes all arguments, others all or, in a sentence, none one by one."""
    wrong = {}
    for name, (function, described) in documented.items():
        is_public = name.split(".")[1] in keras_pixelcnnpp.__all__
        expected = argument_names(function)
        if [*described] != expected and (is_public or described):
            wrong[name] = expected, [*described]
    assert not wrong


def test_descriptions_of_an_argument_are_equal_or_say_something_else(documented):
    """A description that was changed in one of several places is nearly that of the others."""
    texts = defaultdict(dict)
    for one in (SamplingOptions, ScoringOptions):
        for argument, text in descriptions(one).items():
            texts[argument][text] = one.__name__
    for name, (_, described) in documented.items():
        for argument, text in described.items():
            texts[argument].setdefault(text, name)
    similar = []
    for argument, places in texts.items():
        for pair in itertools.combinations(places, 2):
            words = [text.split() for text in pair]
            share = difflib.SequenceMatcher(None, *words, autojunk=False).ratio()
            if share > 0.8 and not argument.startswith("*"):  # these name another function
                similar.append((argument, *(places[text] for text in pair)))
    assert not similar
