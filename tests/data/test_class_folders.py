import os

import numpy as np
import pytest
from pictures import write_picture

from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.errors import UserError

CLASSES = ("burger", "koala")


def write_classes(folder, count=10, classes=CLASSES):
    for label, name in enumerate(classes):
        for index in range(count):
            write_picture(folder / name / f"{index}.jpg", colour=(0, 100 * label, index))
    return folder


def test_folders_per_split(tmp_path):
    write_classes(tmp_path / "train")
    write_classes(tmp_path / "val", 3)
    write_picture(tmp_path / "test/a.PNG")
    dataset = load_dataset(tmp_path, image_size=(6, 8))
    assert dataset.class_names == CLASSES
    assert dataset.image_shape == (6, 8, 3)
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 20,
        "validation": 6,
        "test": 1,
    }
    assert dataset.split("train").labels.tolist() == [0] * 10 + [1] * 10
    assert dataset.split("train").paths[0] == "train/burger/0.jpg"
    assert dataset.split("test").labels.tolist() == [-1]


def test_without_split_folders_every_class_is_split(tmp_path):
    dataset = load_dataset(write_classes(tmp_path, 20), image_size=4)
    counts = {name: np.bincount(split.labels) for name, split in dataset.splits.items()}
    assert {name: count.tolist() for name, count in counts.items()} == {
        "train": [16, 16],
        "validation": [2, 2],
        "test": [2, 2],
    }
    paths = [path for split in dataset.splits.values() for path in split.paths]
    assert len(set(paths)) == 40
    assert "80/10/10" in dataset.notes[0]
    assert load_dataset(tmp_path, image_size=4).fingerprint() == dataset.fingerprint()
    assert load_dataset(tmp_path, image_size=4, seed=1).fingerprint() != dataset.fingerprint()


def test_missing_validation_is_carved_from_training(tmp_path):
    write_classes(tmp_path / "train")
    dataset = load_dataset(tmp_path, image_size=4)
    assert sorted(dataset.splits) == ["train", "validation"]
    assert dataset.split("validation").labels.tolist() == [0, 1]


def test_other_files_are_skipped_and_counted(tmp_path):
    write_classes(tmp_path / "train")
    (tmp_path / "train/koala/.DS_Store").touch()
    (tmp_path / "train/koala/notes.txt").touch()
    dataset = load_dataset(tmp_path, image_size=4)
    assert "1 .txt" in dataset.notes[-1]


def test_nested_folders_belong_to_their_class(tmp_path):
    write_classes(tmp_path / "train")
    write_picture(tmp_path / "train/koala/zoo/more.png")
    dataset = load_dataset(tmp_path, image_size=4)
    assert sum(len(split) for split in dataset.splits.values()) == 21


def break_missing_train(folder):
    (folder / "train").rename(folder / "test")


def break_unknown_class(folder):
    write_classes(folder / "validation", 1, ("panda",))


def break_empty_class(folder):
    (folder / "train/panda").mkdir()


def break_empty_split(folder):
    (folder / "validation").mkdir()


def break_two_validations(folder):
    write_classes(folder / "validation", 1)
    write_classes(folder / "val", 1)


def break_picture(folder):
    (folder / "train/burger/3.jpg").write_bytes(b"no picture")


def break_link(folder):
    outside = write_picture(folder.parent / "outside.jpg")
    (folder / "train/burger/link.jpg").symlink_to(outside)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (break_missing_train, "the folder train is missing"),
        (break_unknown_class, "the training split has no class 'panda'. It has: burger, koala"),
        (break_empty_class, "panda holds no PNG or JPEG file"),
        (break_empty_split, "validation holds no PNG or JPEG file"),
        (break_two_validations, "two folders for one split"),
        (break_picture, r"Split train: .*burger/3\.jpg: not a PNG or JPEG picture"),
        (break_link, "leads out of the folder"),
    ],
)
def test_bad_folder_is_named(tmp_path, spoil, message):
    folder = tmp_path / "data"
    write_classes(folder / "train")
    spoil(folder)
    with pytest.raises(UserError, match=message):
        load_dataset(folder, image_size=4)


def test_class_whose_name_is_no_text(tmp_path):
    write_classes(tmp_path, classes=("tea",))
    try:
        (tmp_path / "tea").rename(tmp_path / os.fsdecode(b"caf\xe9"))
    except OSError:
        pytest.skip("this file system takes text only")
    with pytest.raises(UserError, match=r"text in UTF-8. Received: the folder 'caf\\udce9'"):
        load_dataset(tmp_path, image_size=4)


def test_too_few_pictures_to_split(tmp_path):
    with pytest.raises(UserError, match="too few to hold out"):
        load_dataset(write_classes(tmp_path, 1), image_size=4)


@pytest.mark.parametrize("below", [".", "train"])
def test_folder_without_classes(tmp_path, below):
    write_picture(tmp_path / below / "a.png")
    with pytest.raises(UserError, match=r"neither train\.csv, nor a folder for each class"):
        load_dataset(tmp_path)
