"""What all plots and grids of pictures are made with."""

import io
import math

import numpy as np

from keras_pixelcnnpp.errors import UserError

DPI = 100


def picture_grid(pixels: np.ndarray, columns: int | None = None, gap: int = 1) -> np.ndarray:
    """Lays pictures out in a grid, row by row, small ones enlarged to be seen.

    Args:
        pixels: uint8 `[count, height, width, channels]`, 0 to 255.
        columns: The number of columns; by default the grid is about square.
        gap: White pixels between the pictures, before enlarging.

    Returns:
        uint8 `[grid_height, grid_width, channels]`.
    """
    count, height, width, channels = pixels.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    grid = np.full(
        (rows * (height + gap) + gap, columns * (width + gap) + gap, channels), 255, np.uint8
    )
    for index, picture in enumerate(pixels):
        top = gap + index // columns * (height + gap)
        left = gap + index % columns * (width + gap)
        grid[top : top + height, left : left + width] = picture
    enlarge = max(1, 64 // max(height, width))
    return grid.repeat(enlarge, axis=0).repeat(enlarge, axis=1)


def png_bytes(pixels: np.ndarray) -> bytes:
    """Encodes a picture as a PNG file.

    Args:
        pixels: uint8 `[height, width, channels]`, 0 to 255, with 1 or 3 channels.

    Raises:
        UserError: if it has another number of channels.
    """
    from PIL import Image

    check_channels(pixels)
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()


def check_channels(pixels: np.ndarray) -> None:
    """Raises UserError unless a picture has 1 or 3 channels."""
    if pixels.shape[-1] not in (1, 3):
        raise UserError(
            "Only pictures of 1 or 3 channels can be written as PNG. "
            f"These have {pixels.shape[-1]}."
        )


def png_pixels(png: bytes) -> np.ndarray:
    """Decodes a PNG file: uint8 `[height, width, 3]`, 0 to 255."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def new_figure(width: float, height: float):
    """An empty matplotlib `Figure` of `width` × `height` inches."""
    # No pyplot: a command or a training thread must not open windows or keep figures alive.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def figure_png(figure, dpi: int = DPI, **arguments) -> bytes:
    """Draws a figure: the content of a PNG file. Other arguments are those of `savefig`."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, **arguments)
    return buffer.getvalue()
