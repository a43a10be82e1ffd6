"""Tests of `pixelcnnpp sample`, `complete` and `classify` with a preset, a run or a file."""

import re
from pathlib import Path

import numpy as np
import pytest
import tiny
from command_line import done, one_line, read_rows
from PIL import Image

from keras_pixelcnnpp.commands.trained_model import TrainedModel
from keras_pixelcnnpp.data.images import png_bytes, read_image
from keras_pixelcnnpp.utils.files import write_json

pytestmark = [pytest.mark.once, pytest.mark.eagerly]


def test_classify(pixelcnnpp, trained, archive, tmp_path):
    """Folders give the true labels, and the last line is the accuracy."""
    split, labels = tiny.tiny_split(6), [0, 1, 2, 0, 1, -1]
    folders = ["dark", "gray/dark/gray", "a/bright", "dark/b", "gray", "cat"]
    for index, folder in enumerate(folders):
        file = tmp_path / "images" / folder / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png_bytes(split.images[index]))
    images, bad = tmp_path / "images", tmp_path / "no.png"
    command = ("classify", "--model", archive, "--csv", tmp_path / "out.csv", "--overwrite")
    out = done(pixelcnnpp(*command, images))
    rows = read_rows(tmp_path / "out.csv")
    order = [int(row["path"][-5]) for row in rows]
    assert sorted(order) == list(range(6))
    assert [int(row["label"]) for row in rows] == [labels[index] for index in order]
    probabilities = trained.class_probabilities(split.images)
    predicted = probabilities.argmax(axis=1)
    assert [int(row["predicted"]) for row in rows] == predicted[order].tolist()
    found = [[float(row[f"p_{label}"]) for label in range(3)] for row in rows]
    np.testing.assert_allclose(found, probabilities[order], atol=1e-4)
    bits = [float(row["bits_per_dim"]) for row in rows]
    np.testing.assert_allclose(bits, trained.bits_per_dim(split.images)[order], atol=1e-4)
    right = np.mean(predicted[:5] == labels[:5])
    assert out.splitlines()[-1].startswith(f"Accuracy: {right:.1%} of 5 images")
    # An image alone has no label, and a file that cannot be read is an error.
    status, out, err = pixelcnnpp(*command, images / "cat" / "5.png", bad)
    assert status == 2
    assert err == f"pixelcnnpp: error: {bad}: no such file\n"
    assert f"{probabilities[5].max():.1%}" in out
    assert tiny.NAMES[predicted[5]] in out
    assert "Accuracy" not in out


def test_a_run_knows_its_images_and_how_they_were_read(pixelcnnpp, run, rng, tmp_path):
    """PNG files of an array's images are recognized."""
    dataset, config = tiny.tiny_dataset(), run.read_config()
    run.write_listing(dataset.listing())
    write_json(run.config_json, {**config, "data": {**config["data"], "resize": "stretch"}})
    for name, row in (("train", 0), ("train", 5), ("validation", 0)):
        file = tmp_path / f"{name}{row}.png"
        file.write_bytes(png_bytes(dataset.split(name).images[row]))
    wide, table = tmp_path / "wide.png", tmp_path / "out.csv"
    wide.write_bytes(png_bytes(rng.integers(0, 256, (4, 12, 1), "uint8")))
    files = sorted(tmp_path.glob("*.png"))
    out = done(pixelcnnpp("classify", "--run", run.path, *files, "--csv", table))
    assert "Warning: 2 of 4 images were trained on." in out
    *rows, row = read_rows(table)
    assert [row["trained_on"] for row in rows] == ["1", "1", "0"]
    trained = TrainedModel.find(run.model_keras)
    assert trained.reading == {"resize": "stretch"}
    image = read_image(wide, (4, 4, 1), "stretch")
    expected = trained.model.class_probabilities(image[None])[0]
    assert [float(row[f"p_{label}"]) for label in range(3)] == pytest.approx(expected, abs=1e-5)


def test_images_of_channels_that_no_png_file_has(pixelcnnpp, tmp_path):
    model = tiny.untrained_pixelcnn(image_shape=(2, 2, 2))
    model.save(tmp_path / "model.keras")
    command = ("sample", "--model", tmp_path / "model.keras", "--count", 1, "--seed", 1)
    for output in ("a.png", "folder"):
        result = pixelcnnpp(*command, "--output", tmp_path / output)
        one_line(result, "Expected images of 1 or 3 channels, gray or RGB. Received: 2")
        assert "Sampling" not in result[1]
    done(pixelcnnpp(*command, "--output", tmp_path / "a.npy"))
    expected = model.sample([0, 1, 2], seed=1)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), expected)


def test_sample(pixelcnnpp, trained, archive, tmp_path):
    output = tmp_path / "samples.png"
    options = ["--label", "bright", "--label", "0", "--count", 3]
    out = done(pixelcnnpp("sample", "--model", archive, *options, "--output", output))
    assert "dark, bright" in out
    (seed,) = re.findall(r"--seed (\d+)", out)
    grid = np.asarray(Image.open(output))[::16, ::16]  # 4×4 images are enlarged
    sampled = trained.sample([0, 0, 0, 2, 2, 2], seed=int(seed))[..., 0]
    # The first row has the first class, with one pixel between the images.
    np.testing.assert_array_equal(grid[1:5, 1:5], sampled[0])
    np.testing.assert_array_equal(grid[6:10, 1:5], sampled[3])
    # A class that is given twice has twice the images.
    words = ("--label", "gray", "--label", "1", "--count", 2, "--seed", 4)
    done(pixelcnnpp("sample", "--model", archive, *words, "--output", tmp_path / "a.npy"))
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), trained.sample([1] * 4, seed=4))


def test_complete(pixelcnnpp, trained, archive, tmp_path):
    levels, path = tiny.IMAGES[2], tmp_path / "image.png"
    path.write_bytes(png_bytes(levels))
    output = tmp_path / "completions.png"
    command = ("complete", path, "--model", archive, "--output", output, "--overwrite")
    of_class = ("--label", "bright", "--count", 2, "--seed", 4)
    done(pixelcnnpp(*command, *of_class, "--particles", 3))
    grid = np.asarray(Image.open(output))[::16, ::16]
    images = np.stack([levels] * 2)
    expected = trained.complete(images, 2, [2, 2], seed=4)[..., 0]
    np.testing.assert_array_equal(grid[1:3, 1:5], levels[:2, :, 0])
    assert np.all(grid[3:5, 1:5] == 200)
    np.testing.assert_array_equal(grid[1:5, 6:10], expected[0])
    # White pixels are unknown.
    unknown = np.zeros((4, 4), bool)
    unknown[:2, 1:3] = True
    mask = tmp_path / "mask.png"
    Image.fromarray(unknown.astype("uint8") * 255).save(mask)
    options = ("--mask", mask, "--guidance", 2, "--particles", 32)
    out = done(pixelcnnpp(*command, *of_class, *options))
    assert "Unknown: 4 of 16 pixels" in out
    how = {"seed": 4, "guidance": 2.0, "num_particles": 32}
    expected = trained.complete(images, ~unknown, [2, 2], **how)[..., 0]
    grid = np.asarray(Image.open(output))[::16, ::16]
    np.testing.assert_array_equal(grid[1:5, 6:10], expected[0])
    np.testing.assert_array_equal(grid[1:5, 1:5], np.where(unknown, 200, levels[..., 0]))
    one_line(pixelcnnpp(*command, "--mask", mask, "--rows", 2), "--rows and --mask")
    Image.fromarray(unknown.astype("uint8")).save(mask)  # 1 is not white
    one_line(pixelcnnpp(*command, "--mask", mask), f"no unknown pixel in {mask}")
    # Without --label, the class is one of the posterior.
    done(pixelcnnpp(*command, "--seed", 7, "--count", 2))
    expected = trained.complete(images, 2, [-1, -1], seed=7)[..., 0]
    grid = np.asarray(Image.open(output))[::16, ::16]
    np.testing.assert_array_equal(grid[6:10, 1:5], expected[1])


TILED = "Add --tiled to score them at their own size."


@pytest.mark.parametrize(
    ("words", "notes"),
    [
        ("classify images", "Resized: 1 of 2 images, such as images/large.png (8×6 to 4×4)."),
        ("complete images/large.png", "Resized: images/large.png (8×6 to 4×4)."),
        ("complete images/one.png", ""),
        (
            "score --data images",
            f"Resized: 1 of 2 images, such as images/large.png (8×6 to 4×4). {TILED}",
        ),
        ("score --data images --tiled", ""),
        (
            "score --data wide",
            f"Cropped to another aspect ratio: wide/a.png (8×4 to 4×4). {TILED}",
        ),
        # Not all of them can be tiled.
        ("score --data all", "Resized: 2 of 3 images, such as all/images/large.png (8×6 to 4×4)."),
    ],
)
def test_images_of_another_size_are_told(
    pixelcnnpp, archive, tmp_path, monkeypatch, rng, words, notes
):
    monkeypatch.chdir(tmp_path)
    for name, size in {"images/one": (4, 4), "images/large": (6, 8), "wide/a": (4, 8)}.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(f"{name}.png").write_bytes(png_bytes(rng.integers(0, 256, (*size, 1), "uint8")))
    Path("all").mkdir()
    Path("all/images").symlink_to(tmp_path / "images")
    Path("all/narrow.png").write_bytes(png_bytes(rng.integers(0, 256, (4, 3, 1), "uint8")))
    output = () if words.startswith("classify") else ("--output", "out.csv")
    output = ("--output", "out.png") if words.startswith("complete") else output
    out = done(pixelcnnpp(*words.split(), "--model", archive, *output))
    lines = out.replace(f"{tmp_path}/", "").splitlines()
    found = [line for line in lines if line.startswith(("Resized", "Cropped"))]
    assert found[:1] == ([notes] if notes else [])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("sample", "Expected exactly one of the options --preset NAME, --run FOLDER"),
        (f"sample --model {__file__}", "--model. Expected a .keras file. Received: "),
        ("sample --preset nowhere", "Unknown preset. Expected one of: cifar10, "),
        ("sample --preset digits --output no/a.png", "a.png: the folder"),
        (f"complete {__file__} --preset digits --output c.jpg", ".npy file. Received: c.jpg"),
        ("sample --preset digits --resume", "--resume need a folder of images as --output"),
        ("classify --run digits a.png", "A preset is named with --preset"),
    ],
)
def test_mistakes(pixelcnnpp, words, message):
    one_line(pixelcnnpp(*words.split()), message)


@pytest.mark.parametrize(
    ("command", "suffix"),
    [("sample", ".png"), ("complete", ".png"), ("classify", ".csv"), ("compress", ".pxc")],
)
def test_existing_files_and_inputs_are_kept(pixelcnnpp, archive, tmp_path, command, suffix):
    """Files of models and images have other suffixes than what commands write."""
    image, output = tmp_path / "a.png", tmp_path / f"b{suffix}"
    Image.fromarray(tiny.IMAGES[0, ..., 0]).save(image)
    output.write_text("old")
    given = [] if command == "sample" else [image]
    option = "--csv" if command == "classify" else "--output"
    words = [command, "--model", archive, *given, option]
    one_line(pixelcnnpp(*words, output), "--overwrite")
    assert output.read_text() == "old"
    if command == "complete":
        one_line(pixelcnnpp(*words, image, "--overwrite"), "a.png is an input")
    elif command != "sample":
        one_line(pixelcnnpp(*words, archive, "--overwrite"), f"Expected a {suffix} file")
