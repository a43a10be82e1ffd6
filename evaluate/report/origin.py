"""Where a run comes from: its data, its models, their training, and the commands that repeat it."""

import shlex
import statistics

from keras_pixelcnnpp.evaluate.figures import history_png
from keras_pixelcnnpp.evaluate.report.facts import (
    NONE,
    RunFacts,
    decimal,
    duration,
    find,
    option,
    percent,
    png_picture,
    shape,
    whole,
)
from keras_pixelcnnpp.evaluate.report.page import Listing, Missing, Pictures, Section, Table
from keras_pixelcnnpp.run import data_words

CURVES = {
    "bits_per_dim": "bits/dim",
    "accuracy": "accuracy",
    "cross_entropy": "cross-entropy (nats)",
}
NO_OPTIONS = (
    # of every Keras model
    *("name", "trainable", "dtype"),
    # given by the data
    *("image_shape", "num_classes", "num_levels"),
)


def data_section(facts: RunFacts) -> Section:
    """What the models were trained on."""
    data = facts.config["data"]
    table = Table(
        ("", ""),
        (
            ("source", option(data.get("source"))),
            ("shape", shape(data.get("image_shape"))),
            ("levels of a sub-pixel", option(data.get("num_levels"))),
            ("classes", option(len(facts.class_names))),
            ("fingerprint", option(data.get("fingerprint"))),
        ),
    )
    counts = data.get("counts")
    blocks = (table, _counts(counts, facts.class_names)) if counts else (table,)
    text = (
        "Trained on the split train, watched on validation. The fingerprint "
        "is a SHA-256 of all pictures, labels and splits."
    )
    return Section("Data", text, blocks)


def model_section(facts: RunFacts) -> Section:
    """How the models were configured."""
    trained = {
        title: facts.section(name) for name, title in facts.titles.items() if facts.section(name)
    }
    rows = _rows([_options(section) for section in trained.values()])
    rows += _rows([_versions(section) for section in trained.values()])
    text = "Every option of the training, the random seed among them, and the versions it ran with."
    return Section("Model", text, (Table(("", *trained), rows),))


def training_section(facts: RunFacts) -> Section | Missing:
    """How the training went."""
    histories = {title: facts.history(name) for name, title in facts.titles.items()}
    histories = {title: rows for title, rows in histories.items() if rows}
    if not histories:
        return Missing(("Training curves",), facts.training_command("pixelcnnpp"))
    curves = []
    for quantity, label in CURVES.items():
        png = history_png(histories, quantity, label)
        if png:
            alt = f"{label} over the epochs: {', '.join(histories)}"
            curves.append(png_picture(png, alt, chart=True))
    summary = Table(
        ("", "epochs", "time", "per epoch", "bits/dim", "accuracy", "cross-entropy"),
        tuple(_training_row(title, rows) for title, rows in histories.items()),
        "After the last epoch, on the validation pictures",
    )
    text = (
        "Solid: validation pictures, with the averaged weights, all classes as candidates. Dashed: "
        "training pictures, as the training loop sees them, with dropout and, for "
        f"{facts.titles['pixelcnnpp']}, the true label among the candidates, or, where it trains "
        "with one candidate, a part of them measured as the validation pictures; so the two lines "
        "of a model need not meet. Bits/dim is of the picture under its own class."
    )
    return Section("Training", text, (Pictures(tuple(curves)), summary))


def _options(section: dict) -> dict[str, object]:
    known = {"parameters": whole(section["parameters"])} if "parameters" in section else {}
    return {**known, **section.get("options", {})}


def _versions(section: dict) -> dict[str, object]:
    return {
        name if name in ("backend", "machine") else f"version of {name}": value
        for name, value in section.get("versions", {}).items()
    }


def _rows(columns: list[dict[str, object]]) -> tuple[tuple[str, ...], ...]:
    """A row for each name that any of the columns has."""
    names = dict.fromkeys(name for column in columns for name in column)
    return tuple(
        (name.replace("_", " "), *(option(column.get(name)) for column in columns))
        for name in names
    )


def _counts(counts: dict, class_names: list[str]) -> Table:
    names = [*class_names, "without label"]
    rows = [
        (name, *(whole(of_split[index]) for of_split in counts.values()))
        for index, name in enumerate(names)
        if index < len(class_names) or any(of_split[index] for of_split in counts.values())
    ]
    totals = ("all", *(whole(sum(of_split)) for of_split in counts.values()))
    return Table(("class", *counts), (*rows, totals), "Pictures")


def _training_row(title: str, rows: list[dict]) -> tuple[str, ...]:
    last = rows[-1]
    seconds = [row["seconds"] for row in rows if row.get("seconds") is not None]
    return (
        title,
        whole(last["epoch"]),
        duration(sum(seconds)) if seconds else NONE,
        duration(statistics.median(seconds)) if seconds else NONE,
        decimal(find(last, "val_bits_per_dim")),
        percent(find(last, "val_accuracy")),
        decimal(find(last, "val_cross_entropy")),
    )


def reproduction_section(facts: RunFacts) -> Section:
    """How to repeat the run."""
    trained = [name for name in facts.titles if facts.section(name)]
    blocks = [
        Listing(
            tuple(_training_command(facts, name) for name in trained), "Train, with every option"
        ),
        Listing(tuple(_evaluation_commands(facts)), "Measure"),
    ]
    text = (
        "Same seed, same versions, same kind of machine: the same numbers. Every option is "
        "written out, so that a preset that changes does not matter."
    )
    if find(facts.section("pixelcnnpp"), "options", "limit") is not None:
        text += " This run used a part of the split train only, chosen by its seed."
    return Section("Reproduce", text, tuple(blocks))


def training_words(config: dict, model: str) -> list[str]:
    """The words after `pixelcnnpp` of the command that trains `model` again, without `--run`.

    `config` is the content of `config.json`.
    """
    data, section = config["data"], config[model]
    options = dict(section["options"])
    if model == "pixelcnnpp":
        # With the model's own defaults: they may change, and a preset may have others.
        options = {**section.get("model", {}), **options}
    words = ["train", model, *data_words(data)]
    architecture = options.get("architecture")
    if model == "pixelcnnpp" and architecture in (None, "pixelcnnpp"):
        # Of options that have no value, such as a schedule that runs of before didn't know, this
        # preset has none either, whatever that of the data has.
        words += ["--preset", "report"]
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


def _training_command(facts: RunFacts, model: str) -> str:
    backend = find(facts.section(model), "versions", "backend")
    prefix = f"KERAS_BACKEND={shlex.quote(str(backend))} " if backend else ""
    return prefix + facts.command(*training_words(facts.config, model))


def _evaluation_commands(facts: RunFacts) -> list[str]:
    commands = []
    for name in ("classification", "generation", "evidence", "foreign"):
        if report := facts.json(name):
            options = report.get("options", {}).items()
            words = [word for option, value in options for word in _option(option, value)]
            commands.append(facts.command("evaluate", name, *words))
    return [*commands, facts.command("evaluate", "report")]
