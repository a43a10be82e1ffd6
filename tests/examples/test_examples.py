"""Runs each example with small settings, and checks its results."""

import compare_conditioning
import compare_heads
import incremental_sampling
import numpy as np
import pytest
import receptive_field
import strip
import tiny
from matplotlib.colors import to_hex

import keras_pixelcnnpp as kp

pytestmark = [pytest.mark.once, pytest.mark.eagerly]


@pytest.mark.slow
def test_compare_conditioning(tmp_path, capsys, figures):
    data, output = tiny.save_npz(tmp_path / "data.npz"), tmp_path / "figure.png"
    options = ["--data", str(data), "--epochs", "1", "--output", str(output)]
    compare_conditioning.main([*options, "--strategy", "bias"])
    (bits,), (accuracy,) = (axes.lines[0].get_xdata() for axes in figures[0].axes)
    assert f"│ {bits:.3f}    │ {accuracy / 100:.1%}" in capsys.readouterr().out


@pytest.mark.slow
def test_compare_heads(tmp_path, capsys, monkeypatch, figures):
    module, made, make = compare_heads, [], compare_heads.make
    monkeypatch.setattr(module, "HEADS", {"softmax": module.HEADS["softmax"]})
    monkeypatch.setattr(module, "make", lambda *a, **k: made.append(make(*a, **k)) or made[-1])
    monkeypatch.setattr(module, "PIXELCNNPP", {**module.PIXELCNNPP, "filters": (4, 4)})
    data, output = tiny.save_npz(tmp_path / "data.npz"), tmp_path / "figure.png"
    options = ["--data", str(data), "--epochs", "1", "--output", str(output)]
    module.main([*options, "--networks", "PixelCNN", "PixelCNN++"])
    printed = capsys.readouterr().out
    for line in figures[0].axes[0].lines:
        assert f"{line.get_ydata()[-1]:.3f}" in printed
    masked, pixelcnnpp = made[-2:]
    # The number of filters has steps of two, which matter for narrow networks.
    assert 1 <= masked.count_params() / pixelcnnpp.count_params() < 1.6


def test_receptive_field(tmp_path, capsys, monkeypatch, figures):
    for name, value in (("SIZE", 8), ("ROW", 5), ("COLUMN", 2)):
        monkeypatch.setattr(receptive_field, name, value)
    networks = {
        name: (network, {"filters": 8, "num_blocks": 1})
        for name, (network, _) in receptive_field.NETWORKS.items()
    }
    monkeypatch.setattr(receptive_field, "NETWORKS", networks)
    receptive_field.main(["--output", str(tmp_path / "field.png")])
    assert capsys.readouterr().out.count("earlier pixels and 0 others") == 3
    earlier = np.arange(64).reshape(8, 8) < 5 * 8 + 2
    for axes in figures[0].axes[:3]:
        shown = ~np.ma.getmaskarray(axes.images[0].get_array())
        assert not np.any(shown & ~earlier)
        assert axes.get_title().endswith(f"\n{shown.sum()} of {earlier.sum()}")


def test_incremental_sampling(tmp_path, figures):
    module = incremental_sampling
    module.main(["--output", str(tmp_path / "pass.png")])
    # One row and one more entry are kept; later positions are never kept.
    cells = figures[0].axes[2].patches[: module.SIZE**2]
    kept = [cell.get_xy()[::-1] for cell in cells if to_hex(cell.get_facecolor()) == module.KEPT]
    assert len(kept) == module.SIZE + 1
    assert max(kept) < (module.ROW, module.COLUMN)


@pytest.mark.slow
def test_strip(tmp_path, figures):
    rng = np.random.default_rng(0)
    arrays = {"x_test": rng.integers(0, 256, (10, 28, 28)).astype("uint8"), "y_test": np.arange(10)}
    arrays |= {"x_train": arrays["x_test"].repeat(10, 0), "y_train": arrays["y_test"].repeat(10)}
    np.savez(tmp_path / "garments.npz", **arrays)
    shape, maps = (28, 28, 1), kp.Maps((28, 28, 1), low=0, high=255)
    denoising = kp.GatedPixelCNN(shape, conditions=maps, filters=2, num_blocks=1)
    denoising.save(tmp_path / "denoising.keras")
    data = str(tmp_path / "garments.npz")
    strip.main(tmp_path / "denoising.keras", data, 200, 1, tmp_path / "strip.png")
    panels = figures[0].axes
    for row, image in enumerate(arrays["x_test"]):  # the upper half is known, the lower completed
        known, completed = (panels[place + row].images[0].get_array() for place in (10, 20))
        np.testing.assert_array_equal(known[:14, :, 0], image[:14])
        np.testing.assert_array_equal(completed[:14], image[:14])
    for panel in panels[51::2]:
        for line in panel.lines:
            assert line.get_ydata().sum() == pytest.approx(1)
