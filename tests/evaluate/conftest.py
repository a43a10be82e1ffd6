"""The figures that a test's commands save."""

import pytest
from matplotlib.figure import Figure


@pytest.fixture
def figures(monkeypatch):
    """The figures that are rendered, in order, so that tests can compare what they show."""
    rendered, savefig = [], Figure.savefig

    def record(figure, *given, **how):
        rendered.append(figure)
        savefig(figure, *given, **how)

    monkeypatch.setattr(Figure, "savefig", record)
    return rendered
