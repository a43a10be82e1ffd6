"""Where a run comes from: its data, its models, their training."""

import statistics

from keras_pixelcnnpp.reporting.history_figure import history_png
from keras_pixelcnnpp.reporting.page import Gallery, Missing, Section, Table
from keras_pixelcnnpp.reporting.run_files import RunFiles, png_picture
from keras_pixelcnnpp.reporting.wording import (
    NONE,
    TITLES,
    decimal,
    duration,
    find,
    option,
    percent,
    shape,
    whole,
)

CURVES = {
    "bits_per_dim": "bits/dim",
    "accuracy": "accuracy",
    "cross_entropy": "cross-entropy (nats)",
}


def data_section(files: RunFiles) -> Section:
    """What the models were trained on."""
    data = files.config["data"]
    facts = Table(
        ("", ""),
        (
            ("source", option(data.get("source"))),
            ("shape", shape(data.get("image_shape"))),
            ("levels of a sub-pixel", option(data.get("num_levels"))),
            ("classes", option(len(files.class_names))),
            ("fingerprint", option(data.get("fingerprint"))),
        ),
    )
    counts = data.get("counts")
    text = (
        "Trained on the split train, watched on validation. The fingerprint "
        "is a SHA-256 of all pictures, labels and splits."
    )
    return Section(
        "Data", text, (facts, _counts(counts, files.class_names)) if counts else (facts,)
    )


def model_section(files: RunFiles) -> Section:
    """How the models were configured."""
    trained = {title: files.section(name) for name, title in TITLES.items() if files.section(name)}
    rows = _rows([_options(section) for section in trained.values()])
    rows += _rows([_versions(section) for section in trained.values()])
    text = "Every option of the training, the random seed among them, and the versions it ran with."
    return Section("Model", text, (Table(("", *trained), rows),))


def training_section(files: RunFiles) -> Section | Missing:
    """How the training went."""
    histories = {title: files.history(name) for name, title in TITLES.items()}
    histories = {title: rows for title, rows in histories.items() if rows}
    if not histories:
        return Missing(("Training curves",), files.training_command("pixelcnnpp"))
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
        "training pictures, as the training loop sees them, with dropout and, for PixelCNN++, "
        "the true label among the candidates, or, where it trains with one candidate, a part of "
        "them measured as the validation pictures; so the two lines of a model need not meet. "
        "Bits/dim is of the picture under its own class."
    )
    return Section("Training", text, (Gallery(tuple(curves)), summary))


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
