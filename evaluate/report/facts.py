"""What a run folder has to tell."""

import base64
import io
import shlex

from PIL import Image, UnidentifiedImageError

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.history import read_history
from keras_pixelcnnpp.json_files import read_json
from keras_pixelcnnpp.reporting.page import Picture
from keras_pixelcnnpp.run_folder import RunFolder


class RunFiles:
    """Reads a run folder for its report: what is missing is empty, what is damaged is named.

    Args:
        run: The run folder.

    Raises:
        UserError: if there is no run.

    Example:

    ```python
    files = RunFiles(RunFolder("runs/digits"))
    files.json("classification")["models"]
    files.picture("samples", "Generated digits")
    ```
    """

    def __init__(self, run: RunFolder):
        self.run = run
        self.config = run.read_config()

    @property
    def class_names(self) -> list[str]:
        """The names of the classes."""
        return self.config["data"].get("class_names", [])

    def section(self, model: str) -> dict:
        """The section of `config.json` of `"pixelcnnpp"` or `"baseline"`; empty if not trained."""
        return self.config.get(model, {})

    def history(self, model: str) -> list[dict]:
        """What was measured in each epoch."""
        return read_history(self.run.history(model))

    def json(self, name: str) -> dict:
        """The content of `reports/<name>.json`, empty if there is none.

        Raises:
            UserError: if it is damaged.
        """
        path = self.run.reports / f"{name}.json"
        return read_json(path) if path.is_file() else {}

    def picture(self, name: str, alt: str, **look) -> Picture | None:
        """The picture `reports/<name>.png`, `None` if there is none.

        Args:
            name: The file's name.
            alt: What is to be seen.
            **look: Other arguments of `Picture`.

        Raises:
            UserError: if it is damaged.
        """
        path = self.run.reports / f"{name}.png"
        if not path.is_file():
            return None
        content = path.read_bytes()
        try:
            return png_picture(content, alt, **look)
        except UnidentifiedImageError as error:
            raise UserError(f"{path} is damaged: not a picture") from error

    def command(self, *words: object) -> str:
        """A command on this run, as one types it."""
        return shlex.join(["pixelcnnpp", *map(str, words), "--run", str(self.run.path)])

    def training_command(self, model: str) -> str:
        """The command that trains `model` on the run's data, with the options' defaults."""
        return self.command("train", model, "--data", self.config["data"].get("source", "DATA"))


def png_picture(content: bytes, alt: str, **look) -> Picture:
    """A PNG file as a `Picture`."""
    with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
        size = image.size
    uri = "data:image/png;base64," + base64.b64encode(content).decode()
    return Picture(uri, size, alt, **look)
