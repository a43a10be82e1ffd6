import io

import numpy as np
import pytest
from PIL import Image

from keras_pixelcnnpp.evaluate import figures


def test_gallery_shows_each_pixel_in_its_place():
    pixels = np.zeros((2, 3, 16, 16, 3), "uint8")
    pixels[1, 2] = (200, 100, 50)
    png = figures.gallery_png(pixels, ("first $x", "second"), ("one", "two", ""))
    with Image.open(io.BytesIO(png)) as image:
        shown = np.asarray(image.convert("RGB")).astype(int)
    rows, columns = np.nonzero((shown == (200, 100, 50)).all(axis=-1))
    black_rows, black_columns = np.nonzero((shown == 0).all(axis=-1))
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=2)
    assert np.ptp(rows) == 63  # 16 pixels, each four times as wide
    # It is the last one; labels are on the left of the images and above them.
    assert rows.max() >= black_rows.max() - 1
    assert columns.max() >= black_columns.max() - 1
    assert columns.min() > 2 * np.ptp(columns)
    assert rows.min() > np.ptp(rows) + 10


def test_names_in_tables_are_not_markup(capsys):
    figures.print_table(("", "[b]head"), [("cat [old]", ":smile:"), ("[/b]", "1")], title="[i]t")
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("[b]head", "cat [old]", ":smile:", "[/b]", "[i]t"))


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


def test_first_epochs_do_not_flatten_the_curves(monkeypatch):
    made = []
    monkeypatch.setattr(figures, "figure_png", lambda figure, dpi: made.append(figure) or b"png")
    values = [900.0, 5.0, 2.0, 1.5, 1.0]
    rows = [{"epoch": epoch, "bits_per_dim": value} for epoch, value in enumerate(values, 1)]
    figures.history_png({"model": rows}, "bits_per_dim", "bits/dim")
    bottom, top = made[0].axes[0].get_ylim()
    assert bottom < 1.0
    assert top == pytest.approx(3.0)
