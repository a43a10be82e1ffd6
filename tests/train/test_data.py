import numpy as np
from images import write_course_folder

from keras_pixelcnnpp.files import write_json
from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.train.data import load_larger, load_training_data
from keras_pixelcnnpp.train.options import BaselineOptions


def test_evaluation_skips_the_files_that_the_training_skipped(capsys, tmp_path):
    folder = write_course_folder(tmp_path / "data")
    for name in ("train/002.png", "validation/000.png"):
        (folder / name).write_bytes(b"no image")
    options = BaselineOptions(data=str(folder), run="run", image_size=4, skip_corrupted=True)
    dataset, config = load_training_data(options)
    assert "left out, 2" in capsys.readouterr().out
    write_json(tmp_path / "config.json", {"data": config})
    again = RunFolder(tmp_path).load_data()
    assert "changed" not in capsys.readouterr().out
    assert again.split("train").paths == dataset.split("train").paths
    # The larger images are the same ones, or crops would be of others.
    larger = load_larger(options, dataset, 2).split("train")
    assert larger.images.shape == (19, 6, 6, 3)
    assert larger.paths == dataset.split("train").paths
    np.testing.assert_array_equal(larger.labels, dataset.split("train").labels)
