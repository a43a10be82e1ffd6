import images
import numpy as np
from command_line import one_line

from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.files import write_json
from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.train.data import load_larger, load_training_data
from keras_pixelcnnpp.train.options import BaselineOptions


def classes(folder):
    for split, count in {"train": 6, "val": 2, "test": 2}.items():
        for index in range(count):
            color = (index, 99, 0)
            images.write_image(folder / split / f"class{index % 2}" / f"{index}.png", color)
    return folder


def test_evaluation_skips_the_files_that_the_training_skipped(pixelcnnpp, capsys, tmp_path):
    folder = classes(tmp_path / "data")
    for split, name in (("train", "2"), ("val", "0")):
        (folder / split / "class0" / f"{name}.png").write_bytes(b"no image")
    command = ("train", "baseline", "--data", folder, "--run", tmp_path / "run")
    one_line(pixelcnnpp(*command), "2 bad files", "train/class0/2.png", "skip_corrupted")
    options = BaselineOptions(data=str(folder), run="run", image_size=4, skip_corrupted=True)
    dataset, config = load_training_data(options)
    assert "left out, 2" in capsys.readouterr().out
    write_json(tmp_path / "config.json", {"data": config})
    again = RunFolder(tmp_path).load_data()
    assert "changed" not in capsys.readouterr().out
    assert again.split("train").paths == dataset.split("train").paths
    assert len(again.split("train")) == 5
    # The larger images are the same ones, or crops would be of others.
    larger = load_larger(options, dataset, 2)
    expected = load_dataset(folder, image_size=6, skip_corrupted=True).split("train")
    assert larger.paths == expected.paths == dataset.split("train").paths
    np.testing.assert_array_equal(larger.images, expected.images)
