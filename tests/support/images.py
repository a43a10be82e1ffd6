"""Images on disk, for tests of what reads them."""

import numpy as np
from PIL import Image


def write_image(path, color=(200, 100, 50), size=(12, 10), mode="RGB"):
    """Writes an image of one color with a black corner, and returns `path`.

    Args:
        path: `pathlib.Path`; the suffix chooses the format. Its folder is made.
        color: Color in RGB.
        size: Pair (width, height).
        mode: Pillow's mode to convert to.
    """
    pixels = np.empty((size[1], size[0], 3), dtype="uint8")
    pixels[:] = color
    pixels[:2, :2] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def write_course_folder(folder):
    """Writes a folder in the course's layout, of two classes."""
    for split, count in {"train": 20, "validation": 4, "test": 3}.items():
        rows = []
        for index in range(count):
            name = f"{split}/{index:03d}.png"
            write_image(folder / name, color=(index, 10 * (index % 2), 99))
            rows.append(f"{name},{-1 if split == 'test' else index % 2}")
        (folder / f"{split}.csv").write_text("\n".join(rows) + "\n")
    return folder
