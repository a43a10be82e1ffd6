"""Reading any file gives data or a one-line error, in bounded time and memory."""

import io
import zipfile

import hostile
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from images import write_course_folder
from PIL import Image

from keras_pixelcnnpp.data.images import read_image
from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.utils.errors import UserError

pytestmark = pytest.mark.once

SHAPE = (8, 8, 3)
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype="uint8"))


IMAGES = [
    hostile.encoded(NOISE),
    hostile.encoded(NOISE.convert("RGBA")),
    hostile.encoded(NOISE.quantize(16), transparency=3),
    hostile.encoded(NOISE, "JPEG"),
    hostile.encoded(NOISE, "JPEG", progressive=True),
    hostile.encoded(NOISE, "GIF", save_all=True, append_images=[NOISE.rotate(90)]),
    hostile.encoded(NOISE, "WEBP"),
    hostile.encoded(NOISE, "BMP"),
    hostile.encoded(NOISE, "TIFF"),
    hostile.encoded(NOISE, "TIFF", compression="tiff_lzw"),
    hostile.encoded(Image.fromarray(np.arange(64, dtype="uint16").reshape(8, 8)), "TIFF"),
]


@hostile.examples(300)
@given(hostile.damaged(IMAGES) | st.binary(max_size=200))
def test_any_image(content):
    image = hostile.result_or_one_line(read_image, content, SHAPE)
    if image is not None:
        assert (image.shape, image.dtype) == (SHAPE, np.uint8)


def test_bomb_is_refused():
    """Pillow only warns of fewer pixels than twice its limit."""
    with pytest.raises(UserError, match="exceeds limit"):
        read_image(hostile.png(10_000, 9500), SHAPE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_course_folder(tmp_path_factory.mktemp("data") / "course", train=2)


def csv_rows():
    paths = st.sampled_from(["train/000.png", "../x.png", "/etc/hostname", "train", "", ".", "\0"])
    labels = st.sampled_from(["0", "1", "-1", "-2", "9" * 30, "", "1e3", "٣", "nan"])
    return st.tuples(paths | st.text(max_size=20), labels | st.text(max_size=8))


@hostile.examples(100)
@given(st.binary(max_size=100) | st.lists(csv_rows(), max_size=5))
def test_any_csv(folder, content):
    if isinstance(content, list):
        rows = "\n".join(f"{path},{label}" for path, label in content)
        content = rows.encode("utf-8", "surrogateescape")
    (folder / "test.csv").write_bytes(content)
    dataset = hostile.result_or_one_line(load_dataset, folder, image_size=4)
    if dataset is not None:
        files = {str(path.relative_to(folder)) for path in folder.rglob("*.png")}
        assert set(dataset.split("test").paths) <= files


ARRAYS = {
    "x_train": np.zeros((20, 2, 2, 1), "uint8"),
    "y_train": np.arange(20) % 2,
    "class_names": np.array(["cat", "dog"]),
}


def npz(**entries):
    """Returns an .npz archive of arrays or raw bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**ARRAYS, **entries}.items():
            archive.writestr(f"{name}.npy", content if isinstance(content, bytes) else npy(content))
    return buffer.getvalue()


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@hostile.examples(200)
@given(content=hostile.damaged([npz()]))
def test_any_npz(folder, content):
    path = folder.parent / "any.npz"
    path.write_bytes(content)
    hostile.result_or_one_line(load_dataset, path)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"padding": b"\x93NUMPY" + bytes(2**28)}, "would unpack to"),
        ({"class_names": b"4"}, "Expected 2 strings"),
        ({"x_train": np.array([{"a": 1}], dtype=object)}, "cannot be read"),
        ({"class_names": np.array(["cat", "dog\n\x1b[2J"])}, "must be printable"),
    ],
    ids=["zip bomb", "no array", "objects", "control"],
)
def test_hostile_npz(tmp_path, entries, message):
    path = tmp_path / "data.npz"
    path.write_bytes(npz(**entries))
    with pytest.raises(UserError, match=message) as error:
        load_dataset(path)
    assert "\n" not in str(error.value)
