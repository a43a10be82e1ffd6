"""What a model generates: its pictures, and how far they are from real ones."""

from keras_pixelcnnpp.file_names import safe_names
from keras_pixelcnnpp.reporting.page import Gallery, Missing, Section, Table
from keras_pixelcnnpp.reporting.run_files import RunFiles
from keras_pixelcnnpp.reporting.wording import NONE, decimal, find, other_data, percent, whole

METRICS = {
    "frechet_distance": "Fréchet",
    "kid": "KID",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
}


def samples_section(files: RunFiles) -> Section | Missing:
    """Generated pictures by class."""
    overview = files.picture("samples", "Generated pictures, a row for each class")
    if overview is None:
        return Missing(("Samples",), files.command("evaluate", "generation"))
    grids = [
        files.picture(f"samples_{file_name}", f"Generated pictures of {name}", caption=name)
        for file_name, name in zip(safe_names(files.class_names), files.class_names, strict=True)
    ]
    grids = tuple(grid for grid in grids if grid)
    report = files.json("generation")
    text = "A row for each class, then all pictures of each."
    if report:
        text += (
            f" {whole(report.get('count'))} pictures in {decimal(report.get('seconds'), 1)} s, "
            f"temperature {decimal(report.get('temperature'), 2)}, "
            f"guidance {decimal(report.get('guidance'), 2)}, seed {whole(report.get('seed'))}. "
            f"Bits/dim of the pictures under their own class: "
            f"{decimal(report.get('bits_per_dim'))}; of a good model, close to that of real ones."
        )
    return Section(
        "Samples", text, (overview, Gallery(grids, small=True)) if grids else (overview,)
    )


def generation_section(files: RunFiles) -> Section | Missing:
    """Distances between generated and real pictures, beside those between real ones."""
    report = files.json("generation")
    metrics = report.get("metrics")
    if not metrics:
        return Missing(("Generation metrics",), files.command("evaluate", "generation"))
    rows = []
    for name, numbers in metrics.items():
        rows.append((name, *_metrics(numbers)))
        if find(numbers, "floor"):
            rows.append((f"{name}: real pictures", *_metrics(numbers["floor"])))
    split = find(report, "reference", "split") or "reference"
    caption = f"Against {whole(find(report, 'reference', 'count'))} pictures of {split}"
    blocks = [Table(("", *METRICS.values()), tuple(rows), caption)]
    fid = report.get("fid")
    if isinstance(fid, dict):
        cells = ((f"{size} dimensions", *_fid(value)) for size, value in fid.items())
        blocks.append(Table(("FID", "generated", "real pictures"), tuple(cells)))
    text = (
        f"Measured on {_features(report)}. Each row of real pictures is the floor: the same number "
        "for as many pictures of the split train. A perfect model comes as near to it as chance "
        "allows. Fréchet and KID are better when small, the others when large."
        f"{other_data(report)}"
    )
    return Section("Generation metrics", text, tuple(blocks))


def neighbours_section(files: RunFiles) -> Section | Missing:
    """Whether the model repeats what it was trained on."""
    alt = "Generated pictures beside the training pictures nearest to them"
    picture = files.picture("nearest_neighbours", alt, scrolls=True)
    if picture is None:
        return Missing(("Nearest neighbours",), files.command("evaluate", "generation"))
    text = (
        "Generated pictures beside the nearest training pictures: a model that copies shows the "
        "same picture twice."
    )
    found = files.json("generation").get("memorisation")
    spaces = found if isinstance(found, dict) else {}
    tables = [_memorisation(space, numbers) for space, numbers in spaces.items()]
    return Section("Nearest neighbours", text, (picture, *tables))


def completions_section(files: RunFiles) -> Section | Missing:
    """Pictures whose upper part is given."""
    alt = "Real pictures and several completions of each"
    picture = files.picture("completions", alt, scrolls=True)
    if picture is None:
        return Missing(("Completions",), files.command("evaluate", "generation"))
    report = files.json("generation")
    split = find(report, "reference", "split") or "reference"
    text = f"The upper part is a real picture of the split {split}, the rest is drawn."
    text += other_data(report)
    return Section("Completions", text, (picture,))


def temperatures_section(files: RunFiles) -> Section | Missing:
    """The same classes, drawn more or less daringly."""
    alt = "Generated pictures at several temperatures"
    picture = files.picture("temperatures", alt, scrolls=True)
    if picture is None:
        return Missing(("Temperatures",), files.command("evaluate", "generation"))
    rows = tuple(
        (
            decimal(find(row, "temperature"), 2),
            decimal(find(row, "bits_per_dim")),
            decimal(find(row, "frechet_distance")),
        )
        for row in files.json("generation").get("temperatures") or ()
    )
    table = Table(("temperature", "bits/dim", "Fréchet"), rows)
    text = "Below 1 the model draws safer and smoother pictures, above 1 more daring ones."
    return Section("Temperatures", text, (picture, table) if rows else (picture,))


def _metrics(numbers: object) -> list[str]:
    return [decimal(find(numbers, name)) for name in METRICS]


def _fid(value: object) -> tuple[str, str]:
    return decimal(find(value, "all")), decimal(find(value, "floor"))


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
