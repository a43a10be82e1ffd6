"""The commands that a run was made with, from what it recorded."""

import shlex

from keras_pixelcnnpp.reporting.page import Listing, Section
from keras_pixelcnnpp.reporting.run_files import RunFiles
from keras_pixelcnnpp.reporting.wording import TITLES, find

NO_OPTIONS = (
    # of every Keras model
    *("name", "trainable", "dtype"),
    # given by the data
    *("image_shape", "num_classes", "num_levels"),
)
"""Arguments of the model that the training command has no option for."""


def reproduction_section(files: RunFiles) -> Section:
    """How to repeat the run."""
    trained = [name for name in TITLES if files.section(name)]
    blocks = [
        Listing(
            tuple(_training_command(files, name) for name in trained), "Train, with every option"
        ),
        Listing(tuple(_evaluation_commands(files)), "Measure"),
    ]
    text = (
        "Same seed, same versions, same kind of machine: the same numbers. Every option is "
        "written out, so that a preset that changes does not matter."
    )
    if find(files.section("pixelcnnpp"), "options", "limit") is not None:
        text += " This run used a part of the split train only, chosen by its seed."
    return Section("Reproduce", text, tuple(blocks))


def training_words(config: dict, model: str) -> list[str]:
    """The words after `pixelcnnpp` of the command that trains `model` again, without `--run`.

    Args:
        config: The content of `config.json`.
        model: `"pixelcnnpp"` or `"baseline"`.
    """
    data, section = config["data"], config[model]
    options = dict(section["options"])
    if model == "pixelcnnpp":
        # With the model's own defaults: they may change, and a preset may have others.
        options = {**section.get("model", {}), **options}
    height, width, _ = data["image_shape"]
    if height == width:
        options["image_size"] = height
    words = ["train", model, "--data", str(data["source"])]
    for name, value in options.items():
        # "auto" is what the command takes without the option.
        if value is not None and value != "auto" and name not in NO_OPTIONS:
            words += _option(name, value)
    return words


def _option(name: str, value: object) -> list[str]:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return [f"--{flag}", text]


def _training_command(files: RunFiles, model: str) -> str:
    backend = find(files.section(model), "versions", "backend")
    prefix = f"KERAS_BACKEND={shlex.quote(str(backend))} " if backend else ""
    return prefix + files.command(*training_words(files.config, model))


def _evaluation_commands(files: RunFiles) -> list[str]:
    commands = []
    for name in ("classification", "generation", "evidence", "foreign", "receptive_field"):
        if report := files.json(name):
            options = report.get("options", {}).items()
            words = [word for option, value in options for word in _option(option, value)]
            commands.append(files.command("evaluate", name.replace("_", "-"), *words))
    return [*commands, files.command("evaluate", "report")]
