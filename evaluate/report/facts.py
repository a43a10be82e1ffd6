"""What a run folder has to tell, and how a report writes numbers."""

import base64
import io
import shlex

from PIL import Image, UnidentifiedImageError

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.evaluate.report.page import Missing, Picture
from keras_pixelcnnpp.files import read_json
from keras_pixelcnnpp.run import RunFolder, model_titles, split_words

NONE = "–"


class RunFacts:
    """Reads a run folder: what is missing is empty, what is damaged a `UserError` that names it."""

    def __init__(self, run: RunFolder):
        self.run = run
        self.config = run.read_config()
        self.titles = model_titles(self.config)

    @property
    def class_names(self) -> list[str]:
        """The names of the classes."""
        return self.config["data"].get("class_names", [])

    def section(self, model: str) -> dict:
        """The section of `config.json` of `"pixelcnnpp"` or `"baseline"`."""
        return self.config.get(model, {})

    def history(self, model: str) -> list[dict]:
        """What was measured in each epoch."""
        return self.run.history(model)

    def json(self, name: str) -> dict:
        """The content of `reports/<name>.json`."""
        path = self.run.reports / f"{name}.json"
        return read_json(path) if path.is_file() else {}

    def picture(self, name: str, alt: str, **look) -> Picture | None:
        """The picture `reports/<name>.png`; other arguments are those of `Picture`."""
        path = self.run.reports / f"{name}.png"
        if not path.is_file():
            return None
        try:
            return png_picture(path.read_bytes(), alt, **look)
        except UnidentifiedImageError as error:
            raise UserError(f"{path} is damaged: not a picture") from error

    def command(self, *words: object) -> str:
        """A command on this run, as one types it."""
        return shlex.join(["pixelcnnpp", *map(str, words), "--run", str(self.run.path)])

    def training_command(self, model: str) -> str:
        """The command that trains `model` on the run's data, with the options' defaults."""
        data = self.config["data"]
        known = "source" in data and "image_shape" in data
        return self.command("train", model, *(split_words(data) if known else ("--data", "DATA")))

    def missing(self, title: str, subject: str) -> Missing:
        """Says that `evaluate <subject>` has not measured yet what a section would show."""
        return Missing((title,), self.command("evaluate", subject))


def png_picture(content: bytes, alt: str, **look) -> Picture:
    """A PNG file as a `Picture`."""
    with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
        size = image.size
    uri = "data:image/png;base64," + base64.b64encode(content).decode()
    return Picture(uri, size, alt, **look)


def find(content: object, *keys: str) -> object:
    """`content[key][…]`, or `None` where a key or a level is missing."""
    for key in keys:
        if not isinstance(content, dict):
            return None
        content = content.get(key)
    return content


def is_number(value: object) -> bool:
    """Whether JSON gave a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def decimal(value: object, digits: int = 3) -> str:
    """`0.123`."""
    return f"{value:.{digits}f}".replace("-", "−") if is_number(value) else NONE


def percent(value: object, digits: int = 1) -> str:
    """`12.3 %`, of a share."""
    return f"{100 * value:.{digits}f} %" if is_number(value) else NONE


def whole(value: object) -> str:
    """`1,234`."""
    return f"{value:,.0f}" if is_number(value) else NONE


def p_value(value: object) -> str:
    """Three digits; small ones as `2.1e-05`."""
    return f"{value:.3g}" if is_number(value) else NONE


def percent_interval(bounds: object) -> str:
    """`95.3–99.1 %`, of two shares."""
    low_high = _pair(bounds)
    return f"{100 * low_high[0]:.1f}–{100 * low_high[1]:.1f} %" if low_high else NONE


def points(value: object, bounds: object) -> str:
    """`+0.8 points (−1.7 to +3.3)`, of a difference of shares and its interval."""
    if not is_number(value):
        return NONE
    low_high = _pair(bounds)
    interval = f" ({_signed(low_high[0])} to {_signed(low_high[1])})" if low_high else ""
    return f"{_signed(value)} points{interval}"


def option(value: object) -> str:
    """An option's value as it stands in `config.json`."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(option, value))
    return str(value)


def duration(seconds: float) -> str:
    """`48 s`, `12 min`, `3.4 h`."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def shape(sizes: object) -> str:
    """`32×32×3`."""
    return "×".join(map(str, sizes)) if isinstance(sizes, list | tuple) else NONE


def other_data(report: dict) -> str:
    """A sentence, where a report was measured on data that the command was given."""
    data = find(report, "options", "data")
    return f" Measured on {data} (--data)." if data else ""


def _pair(bounds: object) -> list | tuple | None:
    fits = isinstance(bounds, list | tuple) and len(bounds) == 2 and all(map(is_number, bounds))
    return bounds if fits else None


def _signed(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "−")
