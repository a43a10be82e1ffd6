"""Large sets in small: pictures to score, and what lies in a folder of parts."""

import tiny
from PIL import Image

from keras_pixelcnnpp.data.images import to_pixels

COUNT = 11
BAD = ("02 bad.png", "sub, more/99.jpg")


def write_pictures(folder):
    """Writes good pictures of `tiny_split` in two folders, two bad ones, and other files."""
    (folder / "sub, more").mkdir(parents=True)
    pixels = to_pixels(tiny.tiny_split(COUNT).images, 5)
    for number, picture in enumerate(pixels):
        subfolder = "sub, more" if number >= 6 else ""
        Image.fromarray(picture[..., 0]).save(folder / subfolder / f"{number:02d}.png")
    (folder / BAD[0]).write_bytes((folder / "02.png").read_bytes()[:50])
    (folder / BAD[1]).write_bytes(b"no picture")
    (folder / ".hidden.png").touch()
    (folder / "notes.txt").touch()
    return folder


def contents(folder):
    """The files below a folder: bytes by path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def unchanged(folder):
    """The files below a folder: what tells by path whether one was written again."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }
