"""Checks of a run's `config.json`, which may have been written by anybody."""

from pathlib import Path

from keras_pixelcnnpp.errors import UserError


def check_run_config(config: dict, path: Path) -> None:
    """Checks what the commands rely on.

    Args:
        config: The content of `config.json`.
        path: Where it was read, for the message.

    Raises:
        UserError: if it is not the configuration of a run; the message names the entry.
    """
    data = config.get("data")
    if not isinstance(data, dict):
        raise UserError(f"{path} is not the configuration of a run.")
    for section in ("pixelcnnpp", "baseline"):
        if section in config and not _is_section(config[section]):
            raise UserError(f"{path} is damaged: the section {section!r} lacks its options")
    for name, (is_valid, expected) in _DATA.items():
        if name in data and not is_valid(data[name]):
            raise UserError(
                f"{path} is damaged: data.{name} must be {expected}. Received: {data[name]!r:.80}"
            )


def require_data(config: dict, *names: str) -> dict:
    """Returns the section `data`, after checking that it has the entries `names`."""
    missing = [name for name in names if name not in config["data"]]
    if missing:
        raise UserError(f"config.json of the run is damaged: data.{missing[0]} is missing")
    return config["data"]


def _is_section(section: object) -> bool:
    return isinstance(section, dict) and isinstance(section.get("options"), dict)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_shape(value: object) -> bool:
    is_triple = isinstance(value, list) and len(value) == 3
    return is_triple and all(_is_integer(size) and 0 < size < 2**16 for size in value)


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


_DATA = {
    "source": (lambda value: isinstance(value, str), "a text"),
    "fingerprint": (lambda value: isinstance(value, str), "a text"),
    "seed": (lambda value: _is_integer(value) and value >= 0, "an integer of at least 0"),
    "class_names": (_is_names, "a list of texts"),
    "image_shape": (_is_shape, "three sizes"),
    "num_levels": (
        lambda value: _is_integer(value) and 2 <= value <= 256,
        "an integer from 2 to 256",
    ),
}
