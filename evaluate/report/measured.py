"""PixelCNN++ and the baseline CNN as classifiers."""

from keras_pixelcnnpp.reporting.page import Gallery, Missing, Section, Table
from keras_pixelcnnpp.reporting.run_files import RunFiles
from keras_pixelcnnpp.reporting.wording import (
    NONE,
    TITLES,
    decimal,
    find,
    other_data,
    p_value,
    percent,
    percent_interval,
    points,
    whole,
)


def comparison_section(files: RunFiles) -> Section | Missing:
    """The two classifiers side by side."""
    report = files.json("classification")
    models = _models(report)
    if not models:
        return Missing(("Comparison with the CNN",), files.command("evaluate", "classification"))
    rows = [
        (
            TITLES[name],
            percent(numbers.get("accuracy")),
            percent_interval(numbers.get("accuracy_ci95")),
            decimal(numbers.get("log_loss")),
            decimal(numbers.get("ece")),
            decimal(numbers.get("bits_per_dim")),
        )
        for name, numbers in models.items()
    ]
    floor = report.get("pixel_histogram_bits_per_dim")
    rows.append(("pixel histograms", NONE, NONE, NONE, NONE, decimal(floor)))
    headings = ("", "accuracy", "95 % interval", "log-loss", "ECE", "bits/dim")
    caption = f"{whole(report.get('count'))} pictures of the split {report.get('split')}"
    blocks = [Table(headings, tuple(rows), caption)]
    if len(models) > 1:
        blocks.append(_difference(report))
    text = (
        "Every model judges the same pictures. Bits/dim is that of p(x), over equally likely "
        "classes; the pixel histograms, independent for each place, are what any density has to "
        "beat."
    )
    if report.get("flip_average"):
        text += " Each picture was judged together with its mirror image."
    text += other_data(report)
    return Section("Comparison with the CNN", text, tuple(blocks))


def per_class_section(files: RunFiles) -> Section | Missing:
    """Precision, recall and F1 of each class."""
    report = files.json("classification")
    tables = []
    for name, numbers in _models(report).items():
        by_class = numbers.get("classification_report")
        if isinstance(by_class, dict):
            rows = tuple(
                _class_row(key, by_class.get(key), find(numbers, "roc_auc", "classes", key))
                for key in files.class_names
            )
            headings = ("class", "precision", "recall", "F1", "AUC", "pictures")
            tables.append(Table(headings, rows, TITLES[name]))
    if not tables:
        return Missing(("Classes",), files.command("evaluate", "classification"))
    text = "Each class against all others. AUC is the area under its ROC curve."
    return Section("Classes", text, tuple(tables))


def confusion_section(files: RunFiles) -> Section | Missing:
    """Which classes are taken for which."""
    text = "Rows are true classes, columns predicted ones."
    return _of_each_model(files, "confusion", "Confusion", "Confusion matrix", text)


def roc_section(files: RunFiles) -> Section | Missing:
    """How well each class is told from all others."""
    text = (
        "Each class against all others, at every threshold. The nearer to the corner, the better."
    )
    return _of_each_model(files, "roc", "ROC", "ROC curves", text)


def calibration_section(files: RunFiles) -> Section | Missing:
    """Whether the probabilities mean what they say."""
    picture = files.picture("reliability", "Accuracy against confidence", chart=True, scrolls=True)
    if picture is None:
        return Missing(("Calibration",), files.command("evaluate", "classification"))
    rows = tuple(
        (
            TITLES[name],
            decimal(numbers.get("ece")),
            decimal(find(numbers, "temperature_scaling", "ece")),
            decimal(numbers.get("log_loss")),
            decimal(find(numbers, "temperature_scaling", "log_loss")),
        )
        for name, numbers in _models(files.json("classification")).items()
    )
    headings = ("", "ECE", "scaled", "log-loss", "scaled")
    text = (
        "Of the answers given with 80 % confidence, 80 % should be right: on the diagonal. Scaled: "
        "with a temperature fitted on the other half of the pictures."
    )
    return Section("Calibration", text, (picture, Table(headings, rows)) if rows else (picture,))


def selective_section(files: RunFiles) -> Section | Missing:
    """Accuracy of a classifier that may abstain."""
    picture = files.picture(
        "selective_accuracy", "Accuracy against the share of pictures answered", chart=True
    )
    if picture is None:
        return Missing(("Selective accuracy",), files.command("evaluate", "classification"))
    models = _models(files.json("classification"))
    found = {name: find(numbers, "selective_accuracy") for name, numbers in models.items()}
    found = {name: numbers for name, numbers in found.items() if isinstance(numbers, dict)}
    coverages = list(dict.fromkeys(c for n in found.values() for c in n.get("at_coverage") or ()))
    rows = tuple(
        (
            TITLES[name],
            decimal(numbers.get("area")),
            *(percent(find(numbers, "at_coverage", coverage)) for coverage in coverages),
        )
        for name, numbers in found.items()
    )
    headings = ("", "area", *(f"surest {100 * float(coverage):g} %" for coverage in coverages))
    text = "The accuracy on the pictures that the model is surest of, the more of them the lower."
    blocks = (picture, Table(headings, rows)) if rows else (picture,)
    return Section("Selective accuracy", text, blocks)


def _models(report: dict) -> dict[str, dict]:
    models = report.get("models") or {}
    return {name: models[name] for name in TITLES if isinstance(models.get(name), dict)}


def _difference(report: dict) -> Table:
    difference = report.get("accuracy_difference")
    test = ("McNemar's exact test: are they different?", f"p = {p_value(report.get('mcnemar_p'))}")
    rows = [test]
    if isinstance(difference, dict):
        shown = points(difference.get("value"), difference.get("ci95"))
        rows.append(("accuracy, 95 % interval of a paired bootstrap", shown))
    return Table(("PixelCNN++ minus baseline", ""), tuple(rows))


def _class_row(name: str, numbers: object, area: object) -> tuple[str, ...]:
    measured = (decimal(find(numbers, key)) for key in ("precision", "recall", "f1-score"))
    return (name, *measured, decimal(area), whole(find(numbers, "support")))


def _of_each_model(files, name, title, alt, text) -> Section | Missing:
    pictures = [
        files.picture(f"{name}_{model}", f"{alt}: {of}", chart=True) for model, of in TITLES.items()
    ]
    pictures = tuple(picture for picture in pictures if picture)
    if not pictures:
        return Missing((title,), files.command("evaluate", "classification"))
    return Section(title, text, (Gallery(pictures),))
