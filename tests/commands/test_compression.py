import struct

import hostile
import numpy as np
import pytest
import tiny
from command_line import done, one_line
from PIL import Image

from keras_pixelcnnpp.codec.container import DIGEST_BYTES, MAGIC, compress_images
from keras_pixelcnnpp.commands.compression import _paths_inside
from keras_pixelcnnpp.distributions.levels import to_images
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.utils.errors import UserError

pytestmark = [pytest.mark.once, pytest.mark.eagerly]


@pytest.fixture
def run(trained_run):
    return trained_run.path


@pytest.fixture
def files(tmp_path):
    """Gray images of five levels, by the names of the decompressed files."""
    names = ("a.png", "sub, more/a.png", "sub, more/b.PNG", "c.jpg", "d.png")
    folder = tmp_path / "images"
    (folder / "sub, more").mkdir(parents=True)
    for name, levels in zip(names, tiny.tiny_split(len(names)).images, strict=True):
        array = np.full((4, 4), 128, "uint8")  # JPEG is lossless for it
        if name != "c.jpg":
            array = levels[..., 0]
        Image.fromarray(array).save(folder / name)
    with Image.open(folder / "d.png") as image:
        image.convert("P").save(folder / "d.png")
    return [folder / name for name in names]


def pixels(file):
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def test_there_and_back(pixelcnnpp, run, files, tmp_path, monkeypatch):
    """Images of two subfolders come back, and a folder with files is not overwritten."""
    output, folder = tmp_path / "images.pxc", tmp_path / "back"
    monkeypatch.chdir(files[1].parent)
    given = ("../a.png", ".", "../c.jpg", "../d.png")
    done(pixelcnnpp("compress", "--run", run, *given, "--output", output))

    mine = folder / "sub, more" / "a.png"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    command = ("decompress", output, "--model", run / "model.keras")
    command = (*command, "--output", folder)
    one_line(pixelcnnpp(*command), f"{mine} exists", "--overwrite")
    assert [path for path in folder.rglob("*") if path.is_file()] == [mine]
    assert mine.read_text() == "mine"

    assert pixelcnnpp(*command, "--overwrite")[0] == 0
    names = ("a.png", "sub, more/a.png", "sub, more/b.PNG", "c.jpg.png", "d.png")
    assert {path for path in folder.rglob("*") if path.is_file()} == {folder / n for n in names}
    for file, name in zip(files, names, strict=True):
        np.testing.assert_array_equal(pixels(folder / name), pixels(file))


def test_images_that_are_larger_than_the_model(pixelcnnpp, run, tmp_path):
    file, output, folder = tmp_path / "a.png", tmp_path / "a.pxc", tmp_path / "back"
    levels = np.random.default_rng(0).integers(0, 5, (6, 4))
    Image.fromarray(to_images(levels, 5)).save(file)
    command = ("compress", "--run", run, file, "--output", output)
    one_line(pixelcnnpp(*command), "cannot be compressed without loss", "add --tiled")
    out = done(pixelcnnpp(*command, "--tiled"))
    data = output.read_bytes()
    before = len(MAGIC) + DIGEST_BYTES
    coded = len(data) - before - 4 - struct.unpack_from("<I", data, before)[0]
    assert f"{len(data)} bytes, of which {len(data) - coded} are the header" in out
    assert f" {8 * coded / 24:.3f} bits/dim" in out
    command = ("decompress", output, "--run", run, "--output", folder)
    one_line(pixelcnnpp(*command), "images of (6, 4)", "add --tiled")
    done(pixelcnnpp(*command, "--tiled"))
    np.testing.assert_array_equal(pixels(folder / "a.png"), pixels(file))
    other = tmp_path / "other.png"
    Image.new("L", (4, 5)).save(other)
    command = ("compress", "--run", run, file, other, "--tiled", "--output", tmp_path / "b.pxc")
    one_line(pixelcnnpp(*command), "images of one size in a file. Received: 5×4, 6×4")


def test_images_that_would_not_come_back(pixelcnnpp, run, files, tmp_path):
    bad = tmp_path / "bad.png"
    command = ("compress", "--run", run, files[0], bad, "--output", tmp_path / "out.pxc")
    red, clear = Image.new("RGB", (4, 4), "red"), Image.new("LA", (4, 4), (255, 0))
    for image in (Image.new("L", (4, 5)), red, clear, Image.new("I;16", (4, 4))):
        image.save(bad)
        one_line(pixelcnnpp(*command), f"{bad} cannot be compressed", "4×4 pixels, 8-bit gray.")
        assert not (tmp_path / "out.pxc").exists()
    frames = {"save_all": True, "append_images": [Image.new("L", (4, 4), 9)]}
    of_16_bits = hostile.png(4, 4, data=bytes(4 * 25), bits=16, color=2)
    for content in (hostile.encoded(Image.new("L", (4, 4)), "WEBP", **frames), of_16_bits):
        bad.write_bytes(content)
        one_line(pixelcnnpp(*command), f"{bad} cannot be compressed")
    Image.new("L", (4, 4), 9).save(bad)
    assert "1 image rounded to the 5 levels of the model" in done(pixelcnnpp(*command))
    # A damaged file is named, and the others are compressed.
    bad.write_bytes(files[0].read_bytes()[:50])
    status, out, err = pixelcnnpp(*command, "--overwrite")
    assert status == 2
    assert "Wrote 1 image" in out
    assert "rounded" not in out
    assert err.startswith(f"pixelcnnpp: error: {bad}: cannot be read")


def test_bad_input(pixelcnnpp, run, files, tmp_path):
    output = ("--output", tmp_path / "out.pxc")
    command = ("compress", "--run", run)
    one_line(pixelcnnpp(*command, files[0], files[0], *output), "become the same file")
    name = tmp_path / "\x1b.png"
    name.write_bytes(files[0].read_bytes())
    one_line(pixelcnnpp(*command, name, *output), r"Rename the file '\x1b.png'")
    command = ("decompress", "--run", run, files[0], "--output", tmp_path / "out")
    one_line(pixelcnnpp(*command), "a.png: The data contain no ")


def test_names_that_lead_out_of_the_folder_or_were_not_given(pixelcnnpp, run, tmp_path):
    file, back = tmp_path / "images.pxc", tmp_path / "back"
    images, model = tiny.tiny_split(1).images, load_trained_model(run / "model.keras")
    file.write_bytes(compress_images(model, images, names=["../b.png"], verbose=0))
    command = ("decompress", file, "--run", run, "--output", back)
    one_line(pixelcnnpp(*command), "Invalid file name", "'../b.png'")
    assert not back.exists()
    file.write_bytes(model.compress(images, verbose=0))
    done(pixelcnnpp(*command))
    np.testing.assert_array_equal(pixels(back / "00000.png")[..., :1], images[0])


@pytest.mark.parametrize(
    "name",
    [
        *("../out.png", "/tmp/out.png", "a/../../out.png", "", "\0.png"),
        *("good.txt", ".bashrc", "GOOD.png", "link/out.png"),
        *("C:/out.png", "c:out.png", r"..\..\out.png", r"\out.png", r"\\host\share\out.png"),
        *("new\nline.png", "\x1b[2J.png", "\x9b1m.png"),
    ],
)
def test_names_that_compress_does_not_give(tmp_path, name):
    back = tmp_path / "back"
    back.mkdir()
    (back / "link").symlink_to(tmp_path)
    with pytest.raises(UserError, match="name"):
        _paths_inside(back, ["good.png", name], ".png")
