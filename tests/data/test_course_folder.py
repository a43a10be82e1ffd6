import os

import numpy as np
import pytest
from pictures import write_course_folder, write_picture

from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.errors import UserError


@pytest.fixture
def folder(tmp_path):
    return write_course_folder(tmp_path / "course")


def append(folder, row, split="train"):
    with (folder / f"{split}.csv").open("a") as file:
        file.write(row + "\n")


def test_splits_labels_and_paths(folder):
    dataset = load_dataset(folder, image_size=8)
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 20,
        "validation": 4,
        "test": 3,
    }
    assert dataset.class_names == ("Class0", "Class1")
    assert (dataset.image_shape, dataset.num_levels, dataset.name) == ((8, 8, 3), 256, "course")
    train = dataset.split("train")
    assert train.labels.tolist() == [0, 1] * 10
    assert train.paths[3] == "train/003.png"
    assert train.images[3, 7, 7].tolist() == [3, 10, 99]
    assert dataset.split("test").labels.tolist() == [-1] * 3
    assert dataset.notes == ()


def test_default_is_32_pixels_in_colour(folder):
    assert load_dataset(folder).image_shape == (32, 32, 3)


def test_missing_validation_is_carved_from_training(folder):
    (folder / "validation.csv").unlink()
    dataset = load_dataset(folder, image_size=4)
    train, validation = dataset.split("train"), dataset.split("validation")
    assert sorted(validation.labels) == [0, 1]
    assert not set(train.paths) & set(validation.paths)
    assert len(train) + len(validation) == 20
    assert "No validation split" in dataset.notes[0]
    assert load_dataset(folder, image_size=4).fingerprint() == dataset.fingerprint()
    assert load_dataset(folder, image_size=4, seed=1).fingerprint() != dataset.fingerprint()


def test_unlabeled_training_pictures_are_kept(folder):
    write_picture(folder / "train/extra.png")
    append(folder, "train/extra.png,-1")
    train = load_dataset(folder, image_size=4).split("train")
    assert (len(train), len(train.labelled())) == (21, 20)


def test_byte_order_mark_blank_lines_and_spaces_are_accepted(folder):
    path = folder / "validation.csv"
    text = path.read_text().replace(",", " , ").replace("\n", "\r\n\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert len(load_dataset(folder, image_size=4).split("validation")) == 4


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("train/none.png,0", "'train/none.png': no such file"),
        ("train/000.jpg,burger", "label 'burger' is not an integer"),
        ("train/extra.png,1.0", "label '1.0' is not an integer"),
        ("train/extra.png,1_0", "label '1_0' is not an integer"),
        ("train/extra.png,99999999999999999999", "is not an integer"),
        ("train/extra.png,5", "label 5 is out of range; .* the classes 0 to 1"),
        ("train/extra.png,-2", "label -2 is out of range"),
        ("train/003.png,1", "'train/003.png' was listed before, .*train.csv row 4"),
        ("train/./003.png,1", "'train/./003.png' was listed before, .*train.csv row 4"),
        ("validation/000.png,1", "'validation/000.png' was listed before"),
        ("train/extra.png", "expected path,label; found 1 columns"),
        ("train/extra.png,0,1", "expected path,label; found 3 columns"),
        ("train,0", "no such file"),
        (",0", "no such file"),
        ("../outside.png,0", "must be a path below the folder"),
        ("/etc/hostname,0", "must be a path below the folder"),
        ("train/link.png,0", "leads out of the folder"),
        ("train/loop.png,0", "not a usable path|no such file"),
        ("x" * 5000 + ".png,0", "not a usable path"),
        ("train/a\0b.png,0", "not a usable path|line contains NUL"),
        ("train/notes.png,0", "notes.png: not a PNG or JPEG picture"),
    ],
)
def test_bad_row_is_named(folder, row, message):
    write_picture(folder / "train/extra.png")
    write_picture(folder.parent / "outside.png")
    (folder / "train/link.png").symlink_to(folder.parent / "outside.png")
    (folder / "train/loop.png").symlink_to(folder / "train/loop.png")
    (folder / "train/notes.png").write_text("no picture")
    append(folder, row)
    with pytest.raises(UserError, match=message) as caught:
        load_dataset(folder, image_size=4)
    line = str(caught.value)
    assert "\n" not in line
    # A null byte ends the reading of the file, a duplicate may be met in the later file.
    assert "row 21" in line or "validation.csv row 1" in line or "NUL" in line


def test_label_of_validation_that_training_lacks(folder):
    write_picture(folder / "validation/extra.png")
    append(folder, "validation/extra.png,2", "validation")
    with pytest.raises(UserError, match=r"validation\.csv row 5: label 2 is out of range"):
        load_dataset(folder, image_size=4)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_empty_split_is_refused(folder, split):
    (folder / f"{split}.csv").write_text("\n")
    with pytest.raises(UserError, match=rf"{split}\.csv lists no picture"):
        load_dataset(folder)


def test_missing_training_csv(folder):
    (folder / "train.csv").unlink()
    with pytest.raises(UserError, match=r"train\.csv is missing"):
        load_dataset(folder)


def test_csv_that_is_no_text(folder):
    (folder / "test.csv").write_bytes(b"\xff\xfe\x00picture")
    with pytest.raises(UserError, match="cannot be read as a CSV file"):
        load_dataset(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(folder):
    os.mkfifo(folder / "train/pipe.png")
    append(folder, "train/pipe.png,0")
    with pytest.raises(UserError, match="no such file"):
        load_dataset(folder)


def test_the_real_thing_is_read_in_the_order_of_the_file(folder):
    rows = (folder / "train.csv").read_text().split()
    (folder / "train.csv").write_text("\n".join(reversed(rows)))
    train = load_dataset(folder, image_size=4).split("train")
    assert list(train.paths) == [row.split(",")[0] for row in reversed(rows)]
    np.testing.assert_array_equal(train.images[:, 3, 3, 0], np.arange(19, -1, -1))
