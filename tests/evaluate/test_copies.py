import numpy as np
import pytest
import tiny
from command_line import done, report_of
from images import tiles
from samples import REFERENCE, TRAIN, FirstPixels, pixels, sampled

from keras_pixelcnnpp.evaluate.copies import nearest_gallery, nearest_training
from keras_pixelcnnpp.training.run import RunFolder
from keras_pixelcnnpp.utils.files import write_json

pytestmark = [pytest.mark.once, pytest.mark.eagerly]


def copies_of(run):
    return report_of(run, "copies")["memorization"]["pixels"]


class TestNearestTraining:
    def test_copies_are_found_and_shown(self):
        samples = sampled(per_class=3, seed=7)
        samples.images[7] = TRAIN.images[11]
        _, found = nearest_training(samples, TRAIN.images, REFERENCE.images)
        distances, rows = found["pixels"]
        assert (distances[7, 0], rows[7, 0]) == (0, 11)
        shown, _, _ = nearest_gallery(samples, TRAIN.images, found)
        assert (shown[2, :2] == TRAIN.images[11]).all()

    def test_distances_by_hand(self):
        samples = sampled(per_class=2, seed=7)
        report, found = nearest_training(samples, TRAIN.images, REFERENCE.images, FirstPixels())
        assert set(report) == set(found) == {"pixels", "features"}
        distances, rows = found["pixels"]
        difference = (samples.images[2] / 255.0) - (TRAIN.images[rows[2, 1]] / 255.0)
        assert distances[2, 1] == pytest.approx(np.sqrt(np.mean(difference**2)), rel=1e-5)
        difference = pixels(TRAIN.images).astype(float) - pixels(samples.images[:1])
        expected = np.linalg.norm(difference, axis=1).min()
        assert found["features"][0][0, 0] == pytest.approx(expected)


def test_samples_beside_their_neighbors(measured):
    nearest = measured.figures["copies"][0].axes[0]
    known = {image.tobytes() for image in tiny.tiny_split(24).images}
    first, *neighbors = np.moveaxis(tiles(nearest.images[0].get_array(), 7), 1, 0)
    assert len(first) == 3
    assert {image.tobytes() for column in neighbors for image in column} <= known
    assert set(measured.report("copies")["memorization"]) == {"pixels", "features"}


def test_copies_are_of_what_the_model_was_trained_on(pixelcnnpp, run_without_baseline, tmp_path):
    """They are searched in the run's training images, not in the split train of `--data`."""
    run = run_without_baseline
    command = ("evaluate", "copies", "--run", run.path, "--per-class", 2)
    assert pixelcnnpp(*command)[0] == 0
    expected = copies_of(run)
    arrays = dict(np.load(run.read_config()["data"]["source"]))
    arrays["x_train"] = arrays["x_train"][::-1] // 2
    np.savez(tmp_path / "other.npz", **arrays)
    other = ("--data", tmp_path / "other.npz")
    assert pixelcnnpp(*command, *other)[0] == 0
    assert copies_of(run) == expected
    on_other = RunFolder(run.path)
    on_other.reports /= "other"
    assert copies_of(on_other) == expected
    # A model that was trained on flipped images may have copied these.
    config = run.read_config()
    config["pixelcnnpp"]["options"]["horizontal_flip"] = True
    config["data"]["source"] = str(tmp_path / "gone.npz")
    write_json(run.config_json, config)
    out = done(pixelcnnpp(*command, *other))
    assert "gone.npz, which the model was trained on, is missing or has" in out
    assert copies_of(on_other) != expected
