"""What was measured of a run: sections on classification, generation, and what the model sees."""

from keras_pixelcnnpp.evaluate.report.facts import (
    NONE,
    RunFacts,
    decimal,
    find,
    option,
    other_data,
    p_value,
    percent,
    percent_interval,
    points,
    whole,
)
from keras_pixelcnnpp.evaluate.report.page import Missing, Picture, Pictures, Section, Table
from keras_pixelcnnpp.files import safe_names
from keras_pixelcnnpp.run import TITLES

METRICS = {
    "frechet_distance": "Fréchet",
    "kid": "KID",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
}


def comparison_section(facts: RunFacts) -> Section | Missing:
    """The two classifiers side by side."""
    report = facts.json("classification")
    models = _models(report)
    if not models:
        return facts.missing("Comparison with the CNN", "classification")
    rows = [
        (
            facts.titles[name],
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
        blocks.append(_difference(report, facts.titles["pixelcnnpp"]))
    text = (
        "Every model judges the same pictures. Bits/dim is that of p(x), over equally likely "
        "classes; the pixel histograms, independent for each place, are what any density has to "
        "beat."
    )
    if report.get("flip_average"):
        text += " Each picture was judged together with its mirror image."
    text += other_data(report)
    return Section("Comparison with the CNN", text, tuple(blocks))


def per_class_section(facts: RunFacts) -> Section | Missing:
    """Precision, recall and F1 of each class."""
    report = facts.json("classification")
    tables = []
    for name, numbers in _models(report).items():
        by_class = numbers.get("classification_report")
        if isinstance(by_class, dict):
            rows = tuple(
                _class_row(key, by_class.get(key), find(numbers, "roc_auc", "classes", key))
                for key in facts.class_names
            )
            headings = ("class", "precision", "recall", "F1", "AUC", "pictures")
            tables.append(Table(headings, rows, facts.titles[name]))
    if not tables:
        return facts.missing("Classes", "classification")
    text = "Each class against all others. AUC is the area under its ROC curve."
    return Section("Classes", text, tuple(tables))


def confusion_section(facts: RunFacts) -> Section | Missing:
    """Which classes are taken for which."""
    text = "Rows are true classes, columns predicted ones."
    return _of_each_model(facts, "confusion", "Confusion", "Confusion matrix", text)


def roc_section(facts: RunFacts) -> Section | Missing:
    """How well each class is told from all others."""
    text = (
        "Each class against all others, at every threshold. The nearer to the corner, the better."
    )
    return _of_each_model(facts, "roc", "ROC", "ROC curves", text)


def calibration_section(facts: RunFacts) -> Section | Missing:
    """Whether the probabilities mean what they say."""
    rows = tuple(
        (
            facts.titles[name],
            decimal(numbers.get("ece")),
            decimal(find(numbers, "temperature_scaling", "ece")),
            decimal(numbers.get("log_loss")),
            decimal(find(numbers, "temperature_scaling", "log_loss")),
        )
        for name, numbers in _models(facts.json("classification")).items()
    )
    headings = ("", "ECE", "scaled", "log-loss", "scaled")
    text = (
        "Of the answers given with 80 % confidence, 80 % should be right: on the diagonal. Scaled: "
        "with a temperature fitted on the other half of the pictures."
    )
    picture = facts.picture("reliability", "Accuracy against confidence", chart=True, scrolls=True)
    return _pictured(facts, "Calibration", "classification", text, picture, Table(headings, rows))


def selective_section(facts: RunFacts) -> Section | Missing:
    """Accuracy of a classifier that may abstain."""
    models = _models(facts.json("classification"))
    found = {name: find(numbers, "selective_accuracy") for name, numbers in models.items()}
    found = {name: numbers for name, numbers in found.items() if isinstance(numbers, dict)}
    coverages = list(dict.fromkeys(c for n in found.values() for c in n.get("at_coverage") or ()))
    rows = tuple(
        (
            facts.titles[name],
            decimal(numbers.get("area")),
            *(percent(find(numbers, "at_coverage", coverage)) for coverage in coverages),
        )
        for name, numbers in found.items()
    )
    headings = ("", "area", *(f"surest {100 * float(coverage):g} %" for coverage in coverages))
    text = "The accuracy on the pictures that the model is surest of, the more of them the lower."
    alt = "Accuracy against the share of pictures answered"
    picture = facts.picture("selective_accuracy", alt, chart=True)
    table = Table(headings, rows)
    return _pictured(facts, "Selective accuracy", "classification", text, picture, table)


def partial_section(facts: RunFacts) -> Section | Missing:
    """What the first rows of a picture tell the classifiers."""
    title, report = "Part of a picture", facts.json("partial")
    if not report:
        return Missing((title,), facts.command("evaluate", "classification", "--partial"))
    models = _models(report)
    accuracies = [find(numbers, "accuracy") or () for numbers in models.values()]
    rows = tuple(
        (percent(share, 0), *map(percent, at_share))
        for share, *at_share in zip(report.get("shares") or (), *accuracies, strict=True)
    )
    alt = "Accuracy over the share of the picture that is seen"
    picture = facts.picture("partial", alt, chart=True)
    count, split = whole(report.get("count")), report.get("split")
    table = Table(
        ("seen", *(facts.titles[name] for name in models)),
        rows,
        f"Accuracy on {count} pictures of {split}",
    )
    cuts = find(facts.section("baseline"), "options", "cut_rate")
    trained = "on such pictures too" if cuts else "on whole pictures"
    text = (
        f"{facts.titles['pixelcnnpp']} knows p(first rows | class) exactly. The CNN, which "
        f"was trained {trained}, sees the mean training picture in place of the rest."
    )
    return Section(title, text, (picture, table) if picture else (table,))


def _models(report: dict) -> dict[str, dict]:
    models = report.get("models") or {}
    return {name: models[name] for name in TITLES if isinstance(models.get(name), dict)}


def _difference(report: dict, title: str) -> Table:
    difference = report.get("accuracy_difference")
    test = ("McNemar's exact test: are they different?", f"p = {p_value(report.get('mcnemar_p'))}")
    rows = [test]
    if isinstance(difference, dict):
        shown = points(difference.get("value"), difference.get("ci95"))
        rows.append(("accuracy, 95 % interval of a paired bootstrap", shown))
    return Table((f"{title} minus baseline", ""), tuple(rows))


def _class_row(name: str, numbers: object, area: object) -> tuple[str, ...]:
    measured = (decimal(find(numbers, key)) for key in ("precision", "recall", "f1-score"))
    return (name, *measured, decimal(area), whole(find(numbers, "support")))


def _of_each_model(
    facts: RunFacts, name: str, title: str, alt: str, text: str
) -> Section | Missing:
    pictures = [
        facts.picture(f"{name}_{model}", f"{alt}: {of}", chart=True)
        for model, of in facts.titles.items()
    ]
    shown = Pictures(tuple(picture for picture in pictures if picture))
    return Section(title, text, (shown,)) if shown else facts.missing(title, "classification")


def samples_section(facts: RunFacts) -> Section | Missing:
    """Generated pictures by class."""
    grids = [
        facts.picture(f"samples_{file_name}", f"Generated pictures of {name}", caption=name)
        for file_name, name in zip(safe_names(facts.class_names), facts.class_names, strict=True)
    ]
    small = Pictures(tuple(grid for grid in grids if grid), small=True)
    report = facts.json("generation")
    text = "A row for each class, then all pictures of each."
    if report:
        text += (
            f" {whole(report.get('count'))} pictures in {decimal(report.get('seconds'), 1)} s, "
            f"temperature {decimal(report.get('temperature'), 2)}, "
            f"guidance {decimal(report.get('guidance'), 2)}, seed {whole(report.get('seed'))}. "
            f"Bits/dim of the pictures under their own class: "
            f"{decimal(report.get('bits_per_dim'))}; of a good model, close to that of real ones."
        )
    overview = facts.picture("samples", "Generated pictures, a row for each class")
    return _pictured(facts, "Samples", "generation", text, overview, small)


def generation_section(facts: RunFacts) -> Section | Missing:
    """Distances between generated and real pictures, beside those between real ones."""
    report = facts.json("generation")
    metrics = report.get("metrics")
    if not metrics:
        return facts.missing("Generation metrics", "generation")
    rows = []
    for name, numbers in metrics.items():
        rows.append((name, *_metrics(numbers)))
        if find(numbers, "floor"):
            rows.append((f"{name}: real pictures", *_metrics(numbers["floor"])))
    split = find(report, "reference", "split") or "reference"
    caption = f"Against {whole(find(report, 'reference', 'count'))} pictures of {split}"
    fid = report.get("fid")
    cells = tuple(
        (f"{size} dimensions", decimal(find(value, "all")), decimal(find(value, "floor")))
        for size, value in (fid if isinstance(fid, dict) else {}).items()
    )
    blocks = (
        Table(("", *METRICS.values()), tuple(rows), caption),
        Table(("FID", "generated", "real pictures"), cells),
    )
    text = (
        f"Measured on {_features(report)}. Each row of real pictures is the floor: the same number "
        "for as many pictures of the split train. A perfect model comes as near to it as chance "
        "allows. Fréchet and KID are better when small, the others when large."
        f"{other_data(report)}"
    )
    return Section("Generation metrics", text, blocks)


def neighbours_section(facts: RunFacts) -> Section | Missing:
    """Whether the model repeats what it was trained on."""
    text = (
        "Generated pictures beside the nearest training pictures: a model that copies shows the "
        "same picture twice."
    )
    found = facts.json("generation").get("memorisation")
    spaces = found if isinstance(found, dict) else {}
    tables = [_memorisation(space, numbers) for space, numbers in spaces.items()]
    alt = "Generated pictures beside the training pictures nearest to them"
    picture = facts.picture("nearest_neighbours", alt, scrolls=True)
    return _pictured(facts, "Nearest neighbours", "generation", text, picture, *tables)


def completions_section(facts: RunFacts) -> Section | Missing:
    """Pictures whose upper part is given."""
    report = facts.json("generation")
    split = find(report, "reference", "split") or "reference"
    text = f"The upper part is a real picture of the split {split}, the rest is drawn."
    text += other_data(report)
    alt = "Real pictures and several completions of each"
    picture = facts.picture("completions", alt, scrolls=True)
    return _pictured(facts, "Completions", "generation", text, picture)


def temperatures_section(facts: RunFacts) -> Section | Missing:
    """The same classes, drawn more or less daringly."""
    rows = tuple(
        (
            decimal(find(row, "temperature"), 2),
            decimal(find(row, "bits_per_dim")),
            decimal(find(row, "frechet_distance")),
            percent(find(row, "named_rightly")),
        )
        for row in facts.json("generation").get("temperatures") or ()
    )
    table = Table(("temperature", "bits/dim", "Fréchet", "named rightly by the CNN"), rows)
    text = "Below 1 the model draws safer and smoother pictures, above 1 more daring ones."
    alt = "Generated pictures at several temperatures"
    picture = facts.picture("temperatures", alt, scrolls=True)
    return _pictured(facts, "Temperatures", "generation", text, picture, table)


def _metrics(numbers: object) -> list[str]:
    return [decimal(find(numbers, name)) for name in METRICS]


def _features(report: dict) -> str:
    dimensions = whole(find(report, "features", "dimensions"))
    names = {
        "baseline_cnn": f"the {dimensions} features of the run's own baseline CNN (so not a FID)",
        "inception": f"{dimensions} features of the Inception network",
    }
    name = find(report, "features", "name")
    return names.get(name, f"{dimensions} features of {name}")


def _memorisation(space: str, numbers: object) -> Table:
    def row(title: str, key: str, expected: str) -> tuple[str, str, str]:
        return title, percent(find(numbers, key)), expected

    medians = ("median_distance", "held_out_median_distance")
    return Table(
        ("", "generated", "real, held out"),
        (
            ("median distance", *(decimal(find(numbers, key)) for key in medians)),
            row("closer than half of the held-out", "share_closer_than_median", "50.0 %"),
            row("closer than all but 5 % of them", "share_closer_than_5_percent", "5.0 %"),
            row("identical to a training picture", "identical", NONE),
        ),
        f"Distance to the nearest training picture, by {space}",
    )


def evidence_section(facts: RunFacts) -> Section | Missing:
    """Where in a picture the decision comes from."""
    text = (
        "Each pixel's log p under the true class, minus that under the most probable other one, "
        "given the pixels before it. The sum over the picture is what the decision rests on."
        f"{other_data(facts.json('evidence'))}"
    )
    alt = "Pictures beside the evidence in each of their pixels"
    picture = facts.picture("evidence", alt, scrolls=True)
    return _pictured(facts, "Evidence maps", "evidence", text, picture)


def foreign_section(facts: RunFacts) -> Section | Missing:
    """Whether the model notices pictures that are none of its business."""
    report = facts.json("foreign")
    alt = "Foreign inputs, and the AUROC of each detector on them"
    picture = facts.picture("foreign", alt, scrolls=True)
    if not report and picture is None:
        return facts.missing("Foreign inputs", "foreign")
    inputs = report.get("inputs") or {}
    detectors = list(dict.fromkeys(d for i in inputs.values() for d in find(i, "auroc") or ()))
    rows = tuple(
        (name, *(decimal(find(of_input, "auroc", detector)) for detector in detectors))
        for name, of_input in inputs.items()
    )
    headings = ("AUROC", *(detector.replace("_", " ") for detector in detectors))
    given = report.get("detectors")
    meanings = tuple(
        (name.replace("_", " "), option(meaning))
        for name, meaning in (given if isinstance(given, dict) else {}).items()
    )
    caption = "Detectors: the larger, the more foreign"
    blocks = (picture, Table(headings, rows), Table(("", ""), meanings, caption))
    text = (
        "How well each detector tells foreign inputs from pictures like those the model was "
        "trained on: 1 always, 0.5 not at all, below that it takes the foreign ones for the "
        "more familiar."
        f"{other_data(report)}"
    )
    return Section("Foreign inputs", text, blocks)


def _pictured(
    facts: RunFacts, title: str, subject: str, text: str, picture: Picture | None, *blocks
) -> Section | Missing:
    """A section about a picture, which is missing as a whole where the picture is."""
    if picture is None:
        return facts.missing(title, subject)
    return Section(title, text, (picture, *blocks))
