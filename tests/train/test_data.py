import shutil

import numpy as np
import pytest
from images import write_course_folder, write_image
from PIL import Image

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.files import write_json
from keras_pixelcnnpp.run import RunFolder, how_to_read
from keras_pixelcnnpp.train.data import load_larger, load_training_data
from keras_pixelcnnpp.train.options import BaselineOptions


@pytest.mark.parametrize(("resize", "channels"), [("stretch", 1), ("center_crop", None)])
def test_evaluation_reads_the_images_as_the_training_did(capsys, tmp_path, resize, channels):
    """The same images are skipped, and all are resized in the same way."""
    folder = write_course_folder(tmp_path / "data")
    for name in ("train/002.png", "validation/000.png"):
        (folder / name).write_bytes(b"no image")
    how = {"image_size": 4, "channels": channels, "resize": resize, "skip_corrupted": True}
    options = BaselineOptions(data=str(folder), run="run", **how)
    dataset, config = load_training_data(options)
    assert "Skipped 2 files" in capsys.readouterr().out
    write_json(tmp_path / "config.json", {"data": config})
    again = RunFolder(tmp_path).load_data()
    assert "changed" not in capsys.readouterr().out
    assert again.split("train").paths == dataset.split("train").paths
    assert again.fingerprint() == dataset.fingerprint()
    # The larger images must have the same order.
    larger = load_larger(options, dataset, {"crop_margin": 2}).split("train")
    assert larger.images.shape == (19, 6, 6, channels or 3)
    assert larger.paths == dataset.split("train").paths
    np.testing.assert_array_equal(larger.labels, dataset.split("train").labels)
    write_image(folder / "train/000.png", color=(9, 9, 9))
    for source in (None, str(folder)):
        with pytest.raises(UserError, match="has changed since"):
            RunFolder(tmp_path).load_data(source)


def test_images_are_not_enlarged_for_random_crops(capsys, tmp_path):
    given = {"data": str(write_course_folder(tmp_path)), "run": "run", "image_size": 9}
    dataset, _ = load_training_data(BaselineOptions(**given))
    training = {"crop_margin": 2}
    assert load_larger(BaselineOptions(**given), dataset, training) is None  # files are 12×10
    assert training == {"crop_margin": 0}
    assert "train/000.png is smaller than 11×11" in capsys.readouterr().out
    asked = BaselineOptions(**given, crop_margin=2)
    with pytest.raises(UserError, match=r"`crop_margin`.*would be blurred"):
        load_larger(asked, dataset, {"crop_margin": 2})
    assert load_larger(asked, dataset, {"crop_margin": 1}).image_shape == (10, 10, 3)


def test_evaluation_reads_the_same_white_level(tmp_path):
    for index in range(20):
        path = tmp_path / "data" / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), 200 * index + 295, dtype="uint16")).save(path)
    how = {"image_size": 4, "channels": 1, "white_level": 4095}
    options = BaselineOptions(data=str(tmp_path / "data"), run="run", **how)
    dataset, config = load_training_data(options)
    write_json(tmp_path / "config.json", {"data": config})
    assert RunFolder(tmp_path).load_data().fingerprint() == dataset.fingerprint()
    # The same images elsewhere are split in the same way, so none of them was trained on.
    shutil.copytree(tmp_path / "data", tmp_path / "moved")
    moved = RunFolder(tmp_path).load_data(str(tmp_path / "moved"))
    assert moved.split("test").paths == dataset.split("test").paths
    other = RunFolder(tmp_path).load_data(str(tmp_path / "data" / "b"))
    assert other.split("all").images.max() == 255
    assert how_to_read(config) == {"resize": "center_crop", "white_level": 4095}
