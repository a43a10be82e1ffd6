import pytest

from keras_pixelcnnpp.evaluate import figures

pytestmark = [pytest.mark.once, pytest.mark.eagerly]


def test_curves_show_what_was_measured(monkeypatch):
    made = []
    monkeypatch.setattr(figures, "figure_png", lambda figure, dpi: made.append(figure) or b"png")
    histories = {
        "first": [{"epoch": 1, "val_accuracy": 0.25}, {"epoch": 2, "val_accuracy": None}],
        "second": [{"epoch": 1, "accuracy": 0.5}, {"epoch": 2, "accuracy": 0.75}],
    }
    assert figures.history_png(histories, "accuracy", "accuracy") == b"png"
    (axes,) = made[0].axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert lines == {"first, validation": [[1, 0.25]], "second, training": [[1, 0.5], [2, 0.75]]}
    assert figures.history_png(histories, "bits_per_dim", "bits/dim") is None
