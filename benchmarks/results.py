"""Writes RESULTS.md and the tables in docs/benchmarks from the results of runs and benchmarks.

    python benchmarks/results.py keep runs/photographs   # copies its numbers to results/photographs
    python benchmarks/results.py keep runs/mnist --split test      # those of `--split test`
    python benchmarks/results.py figures             # plots the figures in docs/images
    python benchmarks/results.py                     # writes the pages from benchmarks/results

A test compares the pages with the files.
"""

import csv
import math
import shlex
import shutil
import statistics
import subprocess
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import figures
import jinja2
import typer
from common import RESULTS, ROOT, words_of

from keras_pixelcnnpp.evaluate.report import percent
from keras_pixelcnnpp.presets import Preset, preset_names
from keras_pixelcnnpp.training.run import RunFolder, read_history
from keras_pixelcnnpp.utils.files import read_json, write_json

VERSIONS = {"python": "Python", "keras": "Keras", "numpy": "NumPy", "tensorflow": "TensorFlow"}
CARDS = tomllib.loads((RESULTS.parent / "cards.toml").read_text(encoding="utf-8"))
# What the pages show of a run: reports, and numbers of each epoch.
REPORTS = ("classification", "copies", "generation", "ood")
OF_EPOCHS = ("epoch", "seconds", "cross_entropy")
WAYS = {
    "pixelcnnpp": "PixelCNN++, labeled images",
    "pixelcnnpp_all": "PixelCNN++, all images",
    "cnn": "CNN, labeled images",
    "cnn_pseudo_labels": "CNN, pseudo-labels",
}
DETECTORS = {
    "log_likelihood": "−log p(x)",
    "typicality": "typicality",
    "complexity_corrected": "minus PNG size",
    "pixelcnnpp_max_softmax": "confidence, PixelCNN++",
    "baseline_max_softmax": "confidence, CNN",
    "baseline_energy": "energy, CNN",
}


class Run(RunFolder):
    """A run, or its results that were kept."""

    @property
    def name(self):
        return self.path.name

    @property
    def config(self):
        """The content of `config.json`, in which the path of the data is shortened to its name."""
        config = self.read_config()
        config["data"]["source"] = Path(config["data"]["source"]).stem
        return config

    def json(self, path):
        """Reads a JSON file, or returns `None` if it was not kept."""
        file = self.path / path
        return read_json(file) if file.is_file() else None

    def command(self, model):
        """Returns the command that trained `model`."""
        return self.config[model]["command"]

    def minutes(self, model):
        """Returns the minutes of all epochs, including validation.

        If an epoch was resumed, its logged time is that after the interruption, and cards.toml has
        the minutes before it.
        """
        logged = sum(row["seconds"] for row in self.history(model)) / 60
        before = CARDS.get(self.name, {}) if model == "pixelcnnpp" else {}
        return logged + before.get("unlogged_minutes", 0) or None

    def epochs(self, model):
        """Returns the number of epochs, or `None` if it was not kept."""
        return max((row["epoch"] for row in self.history(model)), default=None)


def keep(folder, split=None):
    """Copies the results of a run that the pages show.

    The results are those on a split, by default `validation`. The commit of this repository is
    written to `config.json`.
    """
    describe = ["git", "describe", "--always", "--exclude=*", "--dirty"]
    commit = subprocess.run(describe, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    kept = Run(RESULTS / folder.name)
    shutil.rmtree(kept.path, ignore_errors=True)
    reports = folder / "reports" / (split or "")
    for file in (folder / "logs").glob("*/history.json"):
        rows = [{name: row.get(name) for name in OF_EPOCHS} for row in read_history(file)]
        write_json(kept.path / file.relative_to(folder), rows)
    for path in (path for path in reports.glob("*.json") if path.stem in REPORTS):
        report = read_json(path)
        report.pop("data", None)
        if report.get("ood_data"):
            report["ood_data"] = Path(report["ood_data"]).stem  # its folder does not matter
        write_json(kept.reports / path.name, report)
    write_json(kept.config_json, {**Run(folder).config, "commit": commit.strip()})
    print(f"Kept {kept.path}")


def heads_rows(comparison):
    """Returns means over seeds and the spread of bits/dim for each network and head, best first."""
    rows = []
    for name in dict.fromkeys(row["name"] for row in comparison["heads"]):
        own = [row for row in comparison["heads"] if row["name"] == name]
        row = dict(own[0])
        for key in (key for key, value in row.items() if isinstance(value, float)):
            row[key] = statistics.fmean(seed[key] for seed in own)
        bits = [seed["bits_per_dim"] for seed in own]
        rows.append({**row, "spread": max(bits) - min(bits)})
    return sorted(rows, key=lambda row: row["bits_per_dim"])


def over_seeds(rows, key="accuracy", **asked):
    """Formats the mean of matching rows, with their range if there are several seeds."""
    found = [row[key] for row in rows if asked.items() <= row.items()]
    if not found:
        return "–"
    factor, digits, unit = (100, 1, "%") if key == "accuracy" else (1, 3, "")
    mean = f"{factor * statistics.fmean(found):.{digits}f}{unit}"
    ends = "–".join(f"{factor * end:.{digits}f}" for end in (min(found), max(found)))
    return mean if len(found) == 1 else f"{mean} ({ends})"


def command(script, options, **more):
    """Returns the command line of a script, without options that are `None`."""
    return f"python {script} {shlex.join(words_of({**options, **more}))}"


def options_of(command):
    """Returns the options of a `pixelcnnpp train` command, each with its value."""
    options = []
    for word in shlex.split(command)[2:]:
        options += [[word]] if word.startswith("--") else []
        options[-1] += [] if word.startswith("--") else [word]
    return [shlex.join(option) for option in options]


def common_options(commands):
    """Returns the options that all commands have in common."""
    first, *others = map(options_of, commands)
    return [one for one in first if all(one in other for other in others)]


def own_options(command, commands):
    """Returns the options of a command that not all `commands` have in common."""
    common = common_options(commands)
    return [one for one in options_of(command) if one not in common]


def speed_rows(table):
    """Groups the rows of a table by network, backend and precision."""
    found = {}
    for row in table["rows"]:
        found.setdefault((row["name"], row["backend"], row["precision"]), {})[row["job"]] = row
    return found


def number(value, digits=3):
    """Formats a number as `0.123`, and `None` as a dash."""
    return "–" if value is None else f"{value:.{digits}f}"


def interval(bounds):
    """Formats two fractions as `95.3–99.1`."""
    return "–" if bounds is None else f"{100 * bounds[0]:.1f}–{100 * bounds[1]:.1f}"


def accuracy(numbers):
    if not numbers:
        return "–"
    return f"{percent(numbers['accuracy'])} ({interval(numbers['accuracy_ci95'])})"


def plus_minus(standard_error, digits=3):
    """Formats a standard error as half of a 95% interval, `± 0.123`."""
    return f"± {1.96 * standard_error:.{digits}f}"


def p_value(value):
    """Formats a p-value as `0.047` or `1.2e-05`."""
    return "–" if value is None else f"{value:.2g}"


def points(difference):
    """Formats a difference of fractions with its interval, in percentage points."""
    value, low, high = (f"{100 * end:+.1f}" for end in (difference["value"], *difference["ci95"]))
    return f"{value} ({low} to {high})".replace("-", "−")


def errors(run, model):
    """Returns the number of images that a classifier of a run classifies wrongly."""
    report = run.json("reports/classification.json")
    return round(report["count"] * (1 - report["models"][model]["accuracy"]))


def speed_ratio(name, runs):
    """Returns how many times as many images per second the CNN of a run classifies."""
    models = runs[name].json("reports/classification.json")["models"]
    return models["baseline"]["images_per_second"] / models["pixelcnnpp"]["images_per_second"]


def minutes(value):
    """Formats minutes as `7.5` or `129`."""
    return number(value, 0 if value is None or value >= 10 else 1)


FILTERS = (accuracy, common_options, errors, interval, minutes, number, own_options, p_value)
FILTERS += (percent, plus_minus, points, speed_ratio)
FUNCTIONS = (command, heads_rows, over_seeds, speed_rows)


def markdown_template(name):
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(RESULTS.parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Markdown
    )
    environment.filters |= {function.__name__: function for function in FILTERS}
    environment.globals |= {function.__name__: function for function in FUNCTIONS}
    environment.globals |= {"bits": math.log2, "in_unit": figures.in_unit, "ways": WAYS}
    return environment.get_template(name)


def template_content():
    """Returns the variables of the templates: all results that were kept.

    The files `heads-digits.json` and `heads-photographs.json` are `heads.digits` and so on.
    """
    runs = {path.parent.name: Run(path.parent) for path in sorted(RESULTS.glob("*/config.json"))}
    tables = {path.stem: read_json(path) for path in sorted(RESULTS.glob("*.json"))}
    by_kind = {}
    for stem, table in tables.items():
        kind, _, name = stem.partition("-")
        by_kind.setdefault(kind, {})[name] = table
    found = [run.config["pixelcnnpp"]["versions"] for run in runs.values()]
    presets = {name: Preset(name) for name in preset_names()}
    published = (RESULTS.parent / "published.csv").read_text(encoding="utf-8").splitlines()
    return {
        **by_kind,
        "runs": runs,
        "tables": tables,
        "published": list(csv.DictReader(published)),
        "machines": sorted({versions["machine"] for versions in found}),
        "versions": sorted({f"{VERSIONS[name]} {of[name]}" for of in found for name in VERSIONS}),
        "presets": [name for name, preset in presets.items() if preset.has_weights],
        "class_names": {name: preset.arguments["class_names"] for name, preset in presets.items()},
        "epochs_of_recipes": {name: one.training.get("epochs") for name, one in presets.items()},
    }


def render():
    """Renders all pages; returns their texts by path."""
    content, readme = template_content(), ROOT / "README.md"
    before, _, after = readme.read_text(encoding="utf-8").partition("<!-- results -->\n")
    table = markdown_template("readme_results.md.j2").render(content)
    after = after[after.index("<!-- /results -->") :]
    pages = {readme: f"{before}<!-- results -->\n{table}{after}"}
    names = {"RESULTS.md.j2": ROOT, "commands.md.j2": RESULTS.parent}
    for path in RESULTS.parent.glob("pages/[!_]*.j2"):
        names[f"pages/{path.name}"] = ROOT / "docs" / "benchmarks"
    for name, folder in names.items():
        path = folder / Path(name).name.removesuffix(".j2")
        pages[path] = markdown_template(name).render(content).rstrip() + "\n"
    return pages


def draw(content):
    runs = content["runs"]
    ood = {name: runs[name].json("reports/ood.json") for name in content["presets"]}
    figures.part_of_image(content["parts"])
    figures.training_length(runs)
    figures.guidance(content["guidance"])
    figures.networks_and_heads(content["heads"])
    figures.conditioning(content["conditioning"])
    figures.out_of_distribution({name: report for name, report in ood.items() if report}, DETECTORS)
    figures.completion(content["completion"])
    core_hours = content["core_hours"].values()
    figures.core_hours(core_hours, content["published"], runs["fashion_mnist"])


def main(
    action: Annotated[Literal["write", "keep", "figures"], typer.Argument()] = "write",
    runs: Annotated[list[Path] | None, typer.Argument(help="Run folders, for keep.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of the results, for keep.")] = None,
):
    """Write the pages, keep the results of runs, or plot the figures."""
    if action == "keep":
        for run in runs or ():
            keep(run, split)
    elif action == "figures":
        draw(template_content())
    else:
        for path, text in render().items():
            path.write_text(text, encoding="utf-8")
            print(f"Wrote {path}")


if __name__ == "__main__":
    typer.run(main)
