"""Checks of what options name: data, presets, and runs. They load neither these nor Keras.

A mistyped name is thus an error within half a second, and not after Keras is imported.
"""

import shlex
from pathlib import Path

from keras_pixelcnnpp.utils.errors import UserError

DIGITS = tuple("0123456789")
#: The names of the classes of each built-in data set.
CLASS_NAMES = {
    "digits": DIGITS,
    "mnist": DIGITS,
    "fashion_mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    "cifar10": (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ),
}
BUILT_IN_PRESETS = Path(__file__).parents[1] / "presets"
#: The beginning of the name of a preset on the Hugging Face Hub.
SCHEME = "hf://"


def existing_data(text: str | None) -> str | None:
    """Returns a value of `--data`, or raises a `UserError` for a mistyped name or path.

    A text with a colon may name a source of a contributor, which `source_of` knows.
    """
    if text is None or text in CLASS_NAMES or ":" in text or Path(text).exists():
        return text
    raise UserError(
        f"Expected an existing file or folder, or one of: {', '.join(CLASS_NAMES)}. "
        f"Received: {text}, but there is no such file or folder"
    )


def preset_names() -> list[str]:
    """Returns the sorted names of the built-in presets."""
    return sorted(path.parent.name for path in BUILT_IN_PRESETS.glob("*/config.json"))


def existing_preset(name: str | None) -> str | None:
    """Returns a value of `--preset`, or raises a `UserError` if no such preset is here."""
    if name is not None and not name.startswith(SCHEME):
        require_preset(name, preset_folder(name))
    return name


def require_preset(name: str, folder: Path) -> None:
    """Raises a `UserError` if the folder of a preset has no `config.json`."""
    if not (folder / "config.json").is_file():
        raise UserError(
            f"Unknown preset. Expected one of: {', '.join(preset_names())}; or a folder with a "
            f"config.json, here or on the Hugging Face Hub. Received: {name!r}"
        )


def preset_folder(name: str | Path) -> Path:
    """Returns the folder of a built-in preset, or of one that a path names; a `Path` is a path."""
    return BUILT_IN_PRESETS / name if name in preset_names() else Path(name)


def existing_run(path: Path | None) -> Path | None:
    """Returns the folder of a run, or raises a `UserError` if it has no `config.json`."""
    if path is not None and not (path / "config.json").is_file():
        raise UserError(
            f"No run in {path}: it has no config.json. Train one first: "
            f"pixelcnnpp train --data … --run {shlex.quote(str(path))}. A preset is named "
            "with --preset, and a model without its run with --model"
        )
    return path
