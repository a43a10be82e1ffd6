"""Folders of image files, with CSV files or class folders."""

import os

import numpy as np
import pytest
from images import write_course_folder, write_image
from PIL import Image

from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.utils.errors import UserError

pytestmark = pytest.mark.once


@pytest.fixture
def folder(tmp_path):
    return write_course_folder(tmp_path / "course")


def append(folder, row, split="train"):
    with (folder / f"{split}.csv").open("a") as file:
        file.write(row + "\n")


def test_csv_files_as_spreadsheets_write_them(folder):
    """CSV files may have a byte order mark, spaces, blank lines, missing labels, an image twice."""
    path = folder / "validation.csv"
    text = path.read_text().replace(",", " , ").replace("\n", "\r\n\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    write_image(folder / "train/extra.png")
    append(folder, "train/extra.png,-1\ntrain/003.png,1")
    dataset = load_dataset(folder, image_size=8)
    assert dataset.counts() == {"train": [10, 11, 1], "validation": [2, 2, 0], "test": [0, 0, 3]}
    assert dataset.class_names == ("Class0", "Class1")
    assert (dataset.image_shape, dataset.name) == ((8, 8, 3), "course")
    train = dataset.split("train")
    assert train.labels.tolist() == [0, 1] * 10 + [-1, 1]
    for row in (3, 21):
        assert train.paths[row] == "train/003.png"
        assert train.images[row, 7, 7].tolist() == [3, 10, 99]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("train/pipe.png,0", "'train/pipe.png': no such file"),  # which is not waited for
        ("train/000.jpg,0.0", "Received: '0.0'. In pandas: frame"),
        ("train/000.jpg,nan", "nothing for an unlabeled image. Received: 'nan'"),
        ("train/extra.png,5", "label 5 is out of range: .* have the labels 0, 1"),
        ("train/extra.png,-2", "label -2 is out of range"),
        ("train/extra.png", "expected 2 columns, found 1"),
        ("../outside.png,0", "Expected a path below the folder"),
        (r"a\..\..\outside.png,0", "Expected a path below the folder"),
        ("C:/outside.png,0", "Expected a path below the folder"),
        ("train/a\0b.png,0", "no such file|line contains NUL"),
    ],
)
def test_bad_row_is_named(folder, row, message):
    write_image(folder / "train/extra.png")
    write_image(folder.parent / "outside.png")

    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "train/pipe.png")
    append(folder, row)
    with pytest.raises(UserError, match=message) as caught:
        load_dataset(folder, image_size=4)
    line = str(caught.value)
    assert "\n" not in line
    assert "row 21" in line or "NUL" in line  # reading stops at a null byte


def test_bad_files_are_told_at_once_or_skipped(folder):
    """Images 2 to 14 are damaged, and one of validation is missing."""
    for index in range(2, 15):
        (folder / f"train/{index:03d}.png").write_bytes(b"no image")
    (folder / "validation/000.png").unlink()
    with pytest.raises(UserError, match=r"^14 bad files\. .*csv row 3: .*002\.png") as caught:
        load_dataset(folder, image_size=4)
    message = str(caught.value)
    assert "\n" not in message
    assert message.count("not an image") == 10
    assert "and 4 more. Remove such files, or skip them with skip_corrupted" in message
    dataset = load_dataset(folder, image_size=4, skip_corrupted=True)
    assert [len(split) for split in dataset.splits.values()] == [7, 3, 3]
    train = dataset.split("train")
    assert train.paths == tuple(f"train/{index:03d}.png" for index in (0, 1, *range(15, 20)))
    assert train.labels.tolist() == [0, 1, 1, 0, 1, 0, 1]
    assert train.images[:, 3, 3, 0].tolist() == [0, 1, *range(15, 20)]
    assert "Skipped 14 files that cannot be read: " in dataset.notes[0]


CLASSES = ("burger", "koala")


def write_classes(folder, count=10, classes=CLASSES):
    for label, name in enumerate(classes):
        for index in range(count):
            write_image(folder / name / f"{index}.jpg", color=(0, 100 * label % 256, index))
    return folder


@pytest.mark.parametrize(
    ("write", "counts", "note"),
    [
        (write_course_folder, [[9, 9, 0], [1, 1, 0], [0, 0, 3]], "No validation split"),
        (lambda folder: write_classes(folder, 20), [[16, 16, 0], [2, 2, 0], [2, 2, 0]], "80/10/10"),
    ],
)
def test_splits_that_are_not_there_are_made_by_the_seed(tmp_path, write, counts, note):
    write(tmp_path)
    (tmp_path / "validation.csv").unlink(missing_ok=True)
    dataset, again, other = (load_dataset(tmp_path, image_size=4, seed=seed) for seed in (0, 0, 1))
    assert [dataset.counts()[name] for name in ("train", "validation", "test")] == counts
    assert note in dataset.notes[0]
    paths = [path for split in dataset.splits.values() for path in split.paths]
    assert len(set(paths)) == len(paths)
    assert dataset.fingerprint() == again.fingerprint() != other.fingerprint()


def test_other_files_are_skipped_and_counted(tmp_path):
    write_classes(tmp_path / "train")
    (tmp_path / "train/koala/.DS_Store").touch()
    (tmp_path / "train/koala/notes.txt").touch()
    for name in ("koala/.ipynb_checkpoints/0-checkpoint.jpg", "1.png", "2.png", "../test/3.PNG"):
        write_image(tmp_path / "train" / name)
    dataset = load_dataset(tmp_path, image_size=4)
    skipped = "Files were skipped: 1 .txt, 2 next to the class folders."
    assert skipped in dataset.notes
    assert dataset.class_names == CLASSES
    # Images without class folders have no labels.
    assert dataset.counts() == {"train": [9, 9, 0], "validation": [1, 1, 0], "test": [0, 0, 1]}


TWO = ("train/burger/0.jpg", "train/koala/0.jpg", "test/koala/0.jpg")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["test/burger/0.jpg"], "Expected a split train. Received: test"),
        (["train/.0.jpg", "validation/0.jpg"], "train has no image files .* and no CSV file"),
        (["burger/0.jpg", "koala/0.jpg"], r"too few.*fewer than ten images: burger \(1\), koala"),
        ([*TWO, "val/panda/0.jpg"], "no class 'panda'. It has: burger, koala"),
        ([*TWO, "val/koala/0.jpg", "validation/koala/0.jpg"], "two names for one split"),
    ],
)
def test_bad_folder_is_named(tmp_path, files, message):
    for name in files:
        write_image(tmp_path / name)
    with pytest.raises(UserError, match=message):
        load_dataset(tmp_path, image_size=4)


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        (["a.png", "b.png"], {"all": 20}),
        (["train/a.png", "train/b.png", "test/a.png"], {"train": 20, "test": 10}),
    ],
)
def test_images_in_no_class_folder_are_unlabeled(tmp_path, files, splits):
    for name in files:
        for index in range(10):
            write_image(tmp_path / name.replace(".", f"{index}."), color=(index, len(name), 9))
    dataset = load_dataset(tmp_path, image_size=4, make_splits=False)
    assert {name: len(split) for name, split in dataset.splits.items()} == splits
    assert dataset.num_classes == 0
    assert all((split.labels == -1).all() for split in dataset.splits.values())
    assert load_dataset(tmp_path, image_size=4).splits.keys() >= {"train", "validation"}


def test_only_images_to_be_measured(tmp_path):
    """The classes are those of the only split."""
    write_classes(tmp_path / "Testing")
    dataset = load_dataset(tmp_path, image_size=4, make_splits=False)
    assert dataset.counts() == {"test": [10, 10, 0]}
    assert dataset.class_names == CLASSES
    assert dataset.split_to_measure() == "test"


def write_listed(folder, name, rows, count=20, place="img"):
    """Writes images in a subfolder, and a CSV file with the `rows` that list them."""
    for index in range(count):
        write_image(folder / place / f"{index}.png", color=(index, 9, 9))
    (folder / name).write_text("\n".join(rows) + "\n")
    return folder


ODD = ["cat" if index % 2 else "an apple" for index in range(20)]


@pytest.mark.parametrize("name", ["split", "Split"])
def test_a_column_divides_the_images_into_splits(tmp_path, name):
    """Test images are never trained on, and columns without a meaning are told."""
    parts = [("train", "Val", "validation", "test")[index % 4] for index in range(20)]
    rows = [f"{index}.png,{index // 4 % 2},ann,{part}" for index, part in enumerate(parts)]
    write_listed(tmp_path, "all.csv", [f"image_id,label,author,{name}", *rows])
    dataset = load_dataset(tmp_path, image_size=4)
    assert dataset.counts() == {"train": [3, 2, 0], "validation": [6, 4, 0], "test": [3, 2, 0]}
    assert dataset.split("test").paths == tuple(f"img/{index}.png" for index in range(3, 20, 4))
    assert "Columns of CSV files that are not used: author." in dataset.notes


@pytest.mark.parametrize(
    "rows",
    [
        ["filename,label", *(f"{index}.png,{name}" for index, name in enumerate(ODD))],
        ["Class,Author,File", *(f"{name},me,img/{index}.png" for index, name in enumerate(ODD))],
        [f"img/{index}.png,{name}" for index, name in enumerate(ODD)],
    ],
)
def test_a_csv_file_of_any_name_with_names_of_classes(tmp_path, rows):
    """The folder of the images is not taken for a class."""
    write_listed(tmp_path, "labels.csv", rows)
    dataset = load_dataset(tmp_path, image_size=4, make_splits=False)
    assert dataset.class_names == ("an apple", "cat")
    everything = dataset.split("all")
    assert everything.labels.tolist() == [0, 1] * 10
    assert everything.paths[3] == "img/3.png"
    assert everything.images[:, 3, 3, 0].tolist() == list(range(20))
    assert load_dataset(tmp_path, image_size=4).counts()["train"] == [8, 8, 0]


@pytest.mark.parametrize("header", [[], ["filename"]])
def test_a_csv_file_without_labels(tmp_path, header):
    rows = [*header, *(f"{index}.png" for index in range(20))]
    dataset = load_dataset(write_listed(tmp_path, "train.csv", rows, place="train"), image_size=4)
    assert dataset.num_classes == 0
    assert dataset.counts() == {"train": [18], "validation": [2]}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["filename,species", "0.png,cat"], r"row 1: .*'filename,species'\. A folder must not"),
        (["filename;label", "0.png;cat"], "row 1: expected path,label.*'filename;label'"),
        (["0.png,1,2"], "row 1: expected path,label, or a header"),
        (["path,label,label", "0.png,1,2"], "row 1: expected one column for each of: label"),
        (["image_id,label", "0,cat", "1,dog"], "row 2: '0': no such file"),
        (["0,cat", "1,dog"], "row 1: .* Paths need extensions"),
        (["path,label", "0.png,0", "1.png,cat"], "row 3: label 'cat' is not an integer, as others"),
        (["path,label"], "lists no image"),
        (
            ["path,label,split", "0.png,0,train", "1.png,1,holdout"],
            r"labels\.csv row 3: split 'holdout'.* one of: train, .*validation",
        ),
    ],
)
def test_bad_list_is_named(tmp_path, rows, message):
    write_listed(tmp_path, "labels.csv", rows)
    with pytest.raises(UserError, match=message) as caught:
        load_dataset(tmp_path, image_size=4)
    assert "\n" not in str(caught.value)


def test_which_csv_file_lists_the_images(folder):
    (folder / "notes.csv").write_text("a,b\n")
    notes = load_dataset(folder, image_size=4).notes
    assert "Skipped other CSV files: notes.csv." in notes
    for name in ("train", "validation", "test"):
        (folder / f"{name}.csv").rename(folder / f"my {name}.csv")
    with pytest.raises(UserError, match=r"or a single CSV file .* Received: my test\.csv, my"):
        load_dataset(folder)


def test_duplicates_are_counted(tmp_path):
    for split, count in {"train": 10, "validation": 2}.items():
        for label, name in enumerate(CLASSES):
            for index in range(count):
                path = tmp_path / split / name / f"{index}.png"
                write_image(path, color=(100 * label, 9 * index, 0), size=(8, 8))
    # A BMP file has the same pixels.
    write_image(tmp_path / "train/burger/copy.bmp", color=(100, 81, 0), size=(8, 8))
    *_, duplicates, contradictory = load_dataset(tmp_path, image_size=8).notes
    first = "train/burger/0.png = validation/burger/0.png, "
    assert duplicates.startswith(f"Exact duplicates: 4 images in more than one split: {first}")
    assert contradictory == (
        "Contradictory labels: 1 image in more than one class: "
        "train/burger/copy.bmp (burger) = train/koala/9.png (koala)."
    )


def picture(size=(8, 8), mode="RGB"):
    """Returns a picture of 12-bit values in gray, or of colors, with an alpha channel in RGBA."""
    width, height = size
    values = np.arange(width * height).reshape(height, width) * 4096 // (width * height)
    if mode == "I;16":
        return Image.fromarray(values.astype("uint16"))
    ramp = Image.fromarray((values // 16).astype("uint8"))
    if mode == "L":
        return ramp
    bands = [ramp, ramp.rotate(180), Image.new("L", size, 90)]
    return Image.merge(mode, bands if mode == "RGB" else [*bands, ramp])


CROPPED = (
    "Cropped to another aspect ratio: 1 of 2 images, such as odd.png (12×8 to 8×8). "
    'To keep the borders, train with resize="stretch" (train --resize stretch).'
)
GRAY = (
    "Gray, read as RGB: 1 of 2 images, such as odd.png. To read all images as gray, train with "
    "channels=1 (train --channels 1)."
)
CLIPPED = (
    "Brighter than the white level, clipped: 1 of 2 images, such as odd.png (75% of its values). "
    "To clip fewer values, train with a larger white_level (train --white-level)."
)


@pytest.mark.parametrize(
    ("odd", "how", "note", "remedy"),
    [
        (picture((12, 12)), {}, "Resized: 1 of 2 images, such as odd.png (12×12 to 8×8).", None),
        (picture((12, 8)), {}, CROPPED, {"resize": "stretch"}),
        (picture(mode="L"), {}, GRAY, {"channels": 1}),
        (
            picture(mode="RGBA"),
            {},
            "Transparent, blended with white: 1 of 2 images, such as odd.png.",
            None,
        ),
        # A quarter of the values is at most 1000.
        (
            picture(mode="I;16"),
            {"white_level": 1000, "channels": 1},
            CLIPPED,
            {"white_level": 4095},
        ),
    ],
)
def test_what_reading_changes_is_told(tmp_path, odd, how, note, remedy):
    """By one note for each kind of change, which the remedy avoids; other images have none."""
    picture().save(tmp_path / "even.png")
    opaque = picture()
    opaque.putalpha(255)
    odd.save(tmp_path / "odd.png")
    how = {"image_size": 8, "make_splits": False, **how}
    assert note in load_dataset(tmp_path, **how).notes
    kind = note.partition(":")[0]
    if remedy:
        assert kind not in " ".join(load_dataset(tmp_path, **{**how, **remedy}).notes)
    opaque.save(tmp_path / "odd.png")
    assert kind not in " ".join(load_dataset(tmp_path, **how).notes)


def test_twelve_bits_in_sixteen(tmp_path):
    """12-bit data in 16-bit files gives a note, and `white_level` corrects the brightness."""
    for suffix, value in ((".tif", 295), (".png", 4095)):
        image = Image.fromarray(np.full((4, 4), value, dtype="uint16"))
        image.save((tmp_path / "a").with_suffix(suffix))
    how = {"image_size": 4, "channels": 1, "make_splits": False}
    dark = load_dataset(tmp_path, **how)
    assert dark.split("all").images.max() == 16
    assert any("nearly black: the largest value is 16" in note for note in dark.notes)
    given = load_dataset(tmp_path, **how, white_level=65535).notes
    assert "A smaller white_level than 65535 makes them brighter" in given[0]
    bright = load_dataset(tmp_path, **how, white_level=4095)
    images = bright.split("all").images
    assert (images.max(), images.min()) == (255, 18)  # the TIFF file: 295 / 4095 · 255
    assert not any("black" in note for note in bright.notes)


def test_links_are_followed(tmp_path):
    """Clusters often store data sets as folders of links. Links in a circle end."""
    store = write_classes(tmp_path / "store")
    folder = tmp_path / "data"
    for name in CLASSES:
        (folder / "train" / name).mkdir(parents=True)
        (folder / "train" / name / "part").symlink_to(store / name)
        (folder / "validation" / name).mkdir(parents=True)
        (folder / "validation" / name / "0.jpg").symlink_to(store / name / "0.jpg")
        (folder / "validation" / name / "circle").symlink_to(folder / "validation" / name)
    linked = load_dataset(folder, image_size=4)
    assert [len(split) for split in linked.splits.values()] == [20, 2]
    assert linked.split("train").paths[0] == "train/burger/part/0.jpg"


def test_folders_that_are_numbers_are_in_their_order(tmp_path):
    """The label of an image is the name of its folder, as far as the numbers allow it."""
    names = [str(number) for number in range(12)]
    write_classes(tmp_path / "all", 1, names)
    dataset = load_dataset(tmp_path / "all", image_size=4, make_splits=False)
    assert dataset.class_names == tuple(names)
    write_classes(tmp_path / "some", 1, ["2", "10"])
    dataset = load_dataset(tmp_path / "some", image_size=4, make_splits=False)
    assert dataset.class_names == ("2", "10")
