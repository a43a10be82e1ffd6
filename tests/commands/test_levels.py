"""Every command at every number of levels, of images and of codes."""

import numpy as np
import pytest
from command_line import SMALL_OPTIONS, done, one_line, read_rows, report_of
from matplotlib.text import Text
from PIL import Image

from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.training.run import RunFolder

pytestmark = [pytest.mark.once, pytest.mark.eagerly]

LEVELS = [2, 255, 256, 257, 512, 513, 4096]
COUNT, SHAPE = 12, (3, 3, 1)


def draw(num_levels, seed=0):
    """Returns levels of images, `(12, 3, 3)`, each of which has the highest level."""
    levels = np.random.default_rng(seed).integers(0, num_levels, (COUNT, 3, 3))
    levels[:, 0, 0] = num_levels - 1
    return levels


def write_files(folder, num_levels, suffix=".png"):
    """Writes images of two classes as files of 8 or 16 bits; returns their values by path."""
    values = {}
    for index, levels in enumerate(draw(num_levels)):
        deep = num_levels > 256
        pixels = levels if deep else np.rint(levels * 255 / (num_levels - 1))
        pixels = pixels.astype("uint16" if deep else "uint8")
        split = "validation" if index < 4 else "train"
        file = folder / split / ("bright" if index % 2 else "dim") / f"{index}{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
        values[file] = pixels[..., None]
    return values


def train(pixelcnnpp, data, run, num_levels, *more):
    levels = ("--num-levels", num_levels)
    return done(pixelcnnpp("train", "--data", data, "--run", run, *levels, *SMALL_OPTIONS, *more))


@pytest.mark.slow
@pytest.mark.parametrize("num_levels", LEVELS)
def test_every_command_on_files_of_images(pixelcnnpp, tmp_path, num_levels):
    suffix = ".tif" if num_levels == 513 else ".png"
    images, run, out = tmp_path / "images", tmp_path / "run", tmp_path / "out"
    values, model_of = write_files(images, num_levels, suffix), ("--run", run)
    out.mkdir()
    size = () if num_levels > 256 else ("--channels", 1, "--image-size", 3)
    train(pixelcnnpp, images, run, num_levels, *size)
    model = load_trained_model(RunFolder(run).model_keras)
    assert (model.num_levels, model.image_shape, model.ordered_levels) == (num_levels, SHAPE, 1)
    pixels = np.stack([*values.values()])
    # Values are read as they are, and all are recognized as training or validation images.
    scores = out / "scores.csv"
    done(pixelcnnpp("score", *model_of, "--data", images, "--output", scores))
    found = {images / row["path"]: float(row["bits_per_dim"]) for row in read_rows(scores)}
    expected = dict(zip(values, model.bits_per_dim(pixels), strict=True))
    assert found == pytest.approx(expected, rel=1e-5)
    said = done(pixelcnnpp("classify", *model_of, images, "--csv", out / "classes.csv"))
    assert "8 of 12 images were trained on" in said
    # Samples: an array, one file each, and a grid, which is stretched if it must be.
    given = ("sample", *model_of, "--count", 2, "--seed", 1, "--output")
    done(pixelcnnpp(*given, out / "a.npy"))
    sampled = model.sample([0, 0, 1, 1], seed=1)
    np.testing.assert_array_equal(np.load(out / "a.npy"), sampled)
    done(pixelcnnpp(*given, out / "samples"))
    files = sorted((out / "samples").glob("*.png"))  # class 0 is bright
    read = np.stack([np.asarray(Image.open(file)) for file in files])
    np.testing.assert_array_equal(read, sampled[..., 0])
    assert read.dtype == sampled.dtype
    said = done(pixelcnnpp(*given, out / "grid.png"))
    assert ("Stretched" in said) == (num_levels > 256)
    with Image.open(out / "grid.png") as grid:
        shown = np.asarray(grid)[::21, ::21]  # 3×3 images are enlarged
    low, high = (sampled.min(), sampled.max()) if num_levels > 256 else (0, 255)
    wanted = (sampled[0, ..., 0].astype(int) - low) * 255 // (high - low)
    np.testing.assert_array_equal(shown[1:4, 1:4], wanted)
    # The known part is kept, by value.
    file = next(iter(values))
    given = ("complete", file, *model_of, "--seed", 2, "--count", 2, "--output")
    done(pixelcnnpp(*given, out / "c.npy"))
    completed = np.load(out / "c.npy")
    rounded = model.to_images(model.to_levels(values[file]))
    np.testing.assert_array_equal(completed[:, :1], rounded[None, :1].repeat(2, axis=0))
    done(pixelcnnpp(*given, out / "c.png"))
    # There and back.
    done(pixelcnnpp("compress", images, *model_of, "--output", out / "images.pxc"))
    back = out / "back"
    done(pixelcnnpp("decompress", out / "images.pxc", *model_of, "--output", back))
    for path, original in values.items():
        name = f"{path.relative_to(images)}".replace(".tif", ".tif.png")
        with Image.open(back / name) as image:
            np.testing.assert_array_equal(np.asarray(image), original[..., 0])


CODES = 600


@pytest.fixture(scope="module")
def codes():
    """Codes of two classes, `(12, 2, 2)`, from 0 to 599."""
    drawn = np.random.default_rng(0).integers(0, CODES, (COUNT, 2, 2))
    drawn.flat[[0, -1]] = 0, CODES - 1
    return drawn


def train_on_codes(pixelcnnpp, run, data, *more, num_codes=CODES):
    options = ("--network", "gated_pixelcnn", "--filters", 4, "--num-blocks", 1, "--epochs", 1)
    options = (*options, "--codes", "--num-levels", num_codes, "--batch-size", 4, *more)
    return pixelcnnpp("train", "--data", data, "--run", run, *options)


@pytest.mark.slow
def test_every_command_on_codes(pixelcnnpp, tmp_path, codes):
    data, run, out = tmp_path / "codes.npz", tmp_path / "run", tmp_path / "out"
    out.mkdir()
    labels = np.arange(COUNT) % 2
    splits = {"x_train": codes, "y_train": labels, "x_val": codes[:4], "y_val": labels[:4]}
    np.savez(data, **splits)
    said = done(train_on_codes(pixelcnnpp, run, data))
    assert "600 codes, images not flipped" in said
    model, model_of = load_trained_model(RunFolder(run).model_keras), ("--run", run)
    assert (model.num_levels, model.ordered_levels, model.head) == (CODES, False, "categorical")
    samples = ("sample", *model_of, "--count", 2, "--seed", 1, "--output")
    done(pixelcnnpp(*samples, out / "a.npy"))
    np.testing.assert_array_equal(np.load(out / "a.npy"), model.sample([0, 0, 1, 1], seed=1))
    for name in ("grid.png", "folder"):
        one_line(pixelcnnpp(*samples, out / name), "a .npy file, because codes have no picture")
    files = tmp_path / "files"
    files.mkdir()
    for index, of_image in enumerate(codes):
        np.save(files / f"{index:02}.npy", of_image)
    one, scores = files / "00.npy", out / "scores.csv"
    done(pixelcnnpp("score", *model_of, "--data", files, "--output", scores))
    found = [float(row["bits_per_dim"]) for row in read_rows(scores)]
    np.testing.assert_allclose(found, model.bits_per_dim(codes), rtol=1e-5)
    assert "12 of 12 images were trained on" in done(pixelcnnpp("classify", *model_of, files))
    complete = ("complete", one, *model_of, "--count", 2, "--seed", 1, "--output")
    one_line(pixelcnnpp(*complete, out / "c.png"), "a .npy file")
    done(pixelcnnpp(*complete, out / "c.npy"))
    completed = np.load(out / "c.npy")
    assert completed.shape == (2, 2, 2, 1)
    np.testing.assert_array_equal(completed[:, 0, :, 0], codes[[0, 0], 0])
    done(pixelcnnpp("compress", files, *model_of, "--output", out / "codes.pxc"))
    back = out / "back"
    done(pixelcnnpp("decompress", out / "codes.pxc", *model_of, "--output", back))
    for index, of_image in enumerate(codes):
        np.testing.assert_array_equal(np.load(back / f"{index:02}.npy")[..., 0], of_image)
    # Values that are no codes, and arrays of another size, are named.
    np.save(one, np.full((2, 2), CODES))
    one_line(pixelcnnpp("classify", *model_of, one), "00.npy", "from 0 to 599")
    np.save(one, codes[0, :1])
    one_line(pixelcnnpp("classify", *model_of, one), "00.npy", "Expected integers 0–599 of shape")
    # Measurements: likelihood without an order, and no pictures.
    said = done(pixelcnnpp("evaluate", "all", *model_of))
    for name in ("generation", "copies", "evidence", "ood"):
        assert f"evaluate {name} compares images, and codes are no images" in said
    report = report_of(RunFolder(run), "likelihood")
    assert report["bits_per_dim"] == pytest.approx(model.bits_per_dim(codes[:4]).mean(), rel=1e-5)
    assert "pit_histogram" not in report
    assert "Codes have no order" in report["interpretation"]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"num_codes": 500}, "must be codes, integers from 0 to 499. Received"),
        ({"images": np.zeros((12, 2, 2))}, {}, "images must be codes, integers from 0 to 599"),
        ({"maps": np.full((12, 2, 2), 600)}, {}, "maps must be codes, integers from 0 to 599"),
        ({}, {"more": ("--image-size", 4)}, "codes are not resized"),
        ({}, {"more": ("--horizontal-flip",)}, "whose mirror image has other codes"),
        ({}, {"more": ("--head", "logistic_mixture")}, "head"),
    ],
)
def test_what_is_no_code_is_refused(pixelcnnpp, tmp_path, codes, change, options, message):
    np.savez(tmp_path / "codes.npz", **{"images": codes, **change})
    more, number = options.get("more", ()), options.get("num_codes", CODES)
    data = tmp_path / "codes.npz"
    answer = train_on_codes(pixelcnnpp, tmp_path / "run", data, *more, num_codes=number)
    one_line(answer, message)


def test_codes_need_their_number_and_an_array(pixelcnnpp, tmp_path, codes):
    np.savez(tmp_path / "codes.npz", images=codes)
    command = ("train", "--run", tmp_path / "run", "--codes", "--data")
    one_line(pixelcnnpp(*command, tmp_path / "codes.npz"), "Missing option --num-levels")
    one_line(pixelcnnpp(*command, "digits", "--num-levels", 17), "Expected an .npz file with codes")


def test_images_of_16_bits_and_another_number_of_levels(pixelcnnpp, tmp_path):
    write_files(tmp_path / "images", 4096)
    command = ("train", "--data", tmp_path / "images", "--run", tmp_path / "run", *SMALL_OPTIONS)
    message = "The split train has values up to 4,095. Expected levels from 0 to 511"
    one_line(pixelcnnpp(*command, "--num-levels", 512), message)
    assert "less than or equal to 4096" in pixelcnnpp(*command, "--num-levels", 4097)[2]


@pytest.mark.slow
def test_pages_stretch_16_bits_and_say_so(pixelcnnpp, tmp_path, figures):
    images, run = tmp_path / "images", tmp_path / "run"
    write_files(images, 4096)
    train(pixelcnnpp, images, run, 4096)
    measured = {"classification": (), "evidence": (), "likelihood": (), "ood": ("--count", 2)}
    measured |= dict.fromkeys(("copies", "generation"), ("--per-class", 2))
    for name, more in measured.items():
        said = done(pixelcnnpp("evaluate", name, "--run", run, *more))
        assert report_of(RunFolder(run), name)
    assert "The CNN takes images of 8 bits" in said
    words = [text.get_text() for figure in figures for text in figure.findobj(Text)]
    assert sum(text.startswith("Stretched to be seen: black is") for text in words) >= 5
    with Image.open(next((RunFolder(run).reports / "samples").glob("*.png"))) as sample:
        assert sample.mode.startswith("I")
    # A CNN of 8 bits does not join a run of 16, whose files are the same.
    command = ("train-baseline", "--data", images, "--run", run, "--epochs", 1)
    one_line(pixelcnnpp(*command, "--image-size", 3, "--channels", 1), "reads the images as other")
