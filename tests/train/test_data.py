import numpy as np
import pictures
import pytest
from command_line import one_line

from keras_pixelcnnpp.data import folders
from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.files import write_json
from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.train.data import load_data, load_larger
from keras_pixelcnnpp.train.options import BaselineOptions


def course(folder):
    return pictures.write_course_folder(folder), 20


def course_without_validation(folder):
    return pictures.write_course_folder(folder, {"train": 20, "test": 3}), 20


def classes(folder):
    for split, count in {"train": 6, "val": 2, "test": 2}.items():
        for index in range(count):
            colour = (index, 99, 0)
            pictures.write_picture(folder / split / f"class{index % 2}" / f"{index}.png", colour)
    return folder, 6


@pytest.mark.parametrize("write", [course, course_without_validation, classes])
def test_larger_pictures_are_those_of_the_split_train_alone(tmp_path, monkeypatch, write):
    folder, count = write(tmp_path / "data")
    dataset = load_dataset(folder, image_size=4, num_levels=16, seed=3)
    expected = load_dataset(folder, image_size=6, num_levels=16, seed=3).split("train")
    read, open_image = [], folders.open_image
    monkeypatch.setattr(
        folders, "open_image", lambda *given: read.append(given) or open_image(*given)
    )
    options = BaselineOptions(data=str(folder), run="run")
    larger = load_larger(options, dataset, 2, seed=3)
    assert len(read) == count
    assert larger.paths == expected.paths == dataset.split("train").paths
    np.testing.assert_array_equal(larger.images, expected.images)


def test_crops_need_picture_files(pixelcnnpp, tmp_path):
    result = pixelcnnpp(
        "train", "pixelcnnpp", "--data", "digits", "--run", tmp_path, "--crop-margin", 2
    )
    one_line(result, "crop_margin", "digits")


@pytest.mark.parametrize(("given", "num_levels"), [(None, 17), (4, 4)])
def test_run_data_have_the_levels_of_the_training(given, num_levels, capsys, tmp_path):
    options = BaselineOptions(data="digits", run="run", num_levels=given)
    dataset, config = load_data(options, seed=0)
    assert dataset.num_levels == config["num_levels"] == num_levels
    assert dataset.split("train").images.max() == num_levels - 1
    capsys.readouterr()
    write_json(tmp_path / "config.json", {"data": config})
    again = RunFolder(tmp_path).load_data()
    assert again.fingerprint() == dataset.fingerprint()
    assert capsys.readouterr().out == ""


def test_evaluation_skips_the_files_that_the_training_skipped(pixelcnnpp, capsys, tmp_path):
    folder, _ = classes(tmp_path / "data")
    for split, name in (("train", "2"), ("val", "0")):
        (folder / split / "class0" / f"{name}.png").write_bytes(b"no picture")
    command = ("train", "baseline", "--data", folder, "--run", tmp_path / "run")
    one_line(pixelcnnpp(*command), "2 bad files", "train/class0/2.png", "skip_bad_files")
    options = BaselineOptions(data=str(folder), run="run", image_size=4, skip_bad_files=True)
    dataset, config = load_data(options, seed=0)
    assert "left out, 2" in capsys.readouterr().out
    write_json(tmp_path / "config.json", {"data": config})
    again = RunFolder(tmp_path).load_data()
    assert "changed" not in capsys.readouterr().out
    assert again.split("train").paths == dataset.split("train").paths
    assert len(again.split("train")) == 5
    # Of the larger pictures it skips the same ones, or crops would be of other pictures.
    larger = load_larger(options, dataset, 2, seed=0)
    assert larger.paths == dataset.split("train").paths
