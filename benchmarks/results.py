"""RESULTS.md and the tables in docs/development, made from what runs and benchmarks left behind.

    python benchmarks/results.py keep runs/cpen455   # copies its numbers to results/cpen455
    python benchmarks/results.py figures             # curves and docs/images/partial_*.png
    python benchmarks/results.py                     # writes the pages from benchmarks/results

Every number on these pages comes from a file below `benchmarks/results`; a test compares the two.
"""

import argparse
import json
import math
import shlex
import shutil
import statistics
import subprocess
from pathlib import Path

import jinja2
from common import RESULTS, ROOT

from keras_pixelcnnpp.evaluate.classification_figures import partial_png
from keras_pixelcnnpp.evaluate.figures import history_png
from keras_pixelcnnpp.evaluate.report import training_words
from keras_pixelcnnpp.files import write_bytes
from keras_pixelcnnpp.presets import Preset, preset_names
from keras_pixelcnnpp.run import RunFolder

PAGES = (
    "trained_presets",
    "training",
    "conditioning",
    "networks_and_heads",
    "likelihood",
    "compression",
    "speed",
    "stress_test",
)
VERSIONS = {"python": "Python", "keras": "Keras", "numpy": "NumPy", "tensorflow": "TensorFlow"}
KEPT = ("config.json", "reports/*.json", "reports/samples.png", "logs/*/history.json")


def keep(run, folder=RESULTS):
    """Copies the JSON files of a run and its samples, and makes its curve; no weights.

    What is kept names the commit of this repository.
    """
    target = folder / Path(run).name
    shutil.rmtree(target, ignore_errors=True)
    for pattern in KEPT:
        for file in Path(run).glob(pattern):
            copy = target / file.relative_to(run)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    write_curve(target)
    describe = ["git", "describe", "--always", "--exclude=*", "--dirty"]
    commit = subprocess.run(describe, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    config = {**Run(target).config, "commit": commit.strip()}
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return target


def write_curve(folder):
    """Writes a kept run's bits/dim over the epochs, if it has them."""
    history = RunFolder(folder).history("pixelcnnpp")
    curve = history_png({"PixelCNN++": history}, "bits_per_dim", "bits/dim")
    if curve is not None:
        write_bytes(folder / "reports" / "bits_per_dim.png", curve)


def write_figures(folder=RESULTS):
    """Writes the curves of all kept runs, and the accuracy of parts of images."""
    for path in folder.glob("*/reports/bits_per_dim.png"):
        write_curve(path.parents[1])
    name = "fashion_mnist"
    of_run, masked = (
        _read(folder / run / "reports" / "partial.json") for run in (name, f"{name}-cuts")
    )
    of_run["models"]["masked"] = masked["models"]["baseline"]
    titles = {
        "pixelcnnpp": "PixelCNN++",
        "baseline": "CNN, trained on whole images",
        "masked": "CNN, trained with masked rows",
    }
    write_bytes(ROOT / "docs" / "images" / f"partial_{name}.png", partial_png(of_run, titles))


def _forget_place(content):
    """Where the data lay is of no use to anyone else; its name is."""
    content["data"]["source"] = Path(content["data"]["source"]).name


class Run:
    """The numbers of a run, or what was kept of it."""

    def __init__(self, folder):
        self.folder = folder
        self.name = folder.name

    def json(self, path):
        """The content of a file, `None` if it was not kept."""
        file = self.folder / path
        return _read(file) if file.is_file() else None

    @property
    def config(self):
        config = self.json("config.json")
        _forget_place(config)
        return config

    def has(self, path):
        """Whether a file was kept."""
        return (self.folder / path).is_file()

    def command(self, model):
        """The command that trains `model` again."""
        words = ["pixelcnnpp", *training_words(self.config, model), "--run", f"runs/{self.name}"]
        return shlex.join(words)

    def minutes(self, model):
        """Of all epochs, measuring included; of one that was resumed in its midst, the rest."""
        history = self.json(f"logs/{model}/history.json")
        return sum(row["seconds"] for row in history) / 60 if history else None

    def epochs(self, model):
        history = self.json(f"logs/{model}/history.json")
        return history[-1]["epoch"] if history else None


def command(script, options, output):
    """The command line of a script; options that are `None` are left out."""
    words = ["python", *shlex.split(script)]
    for name, value in options.items():
        if value is not None:
            words += ["--" + name.replace("_", "-"), str(value)]
    return shlex.join([*words, "--output", output])


def heads_command(name, comparison):
    """The command that makes the comparison of networks and heads again."""
    names = ("data", "image_size", "epochs", "max_examples", "seeds")
    options = {name: comparison.get(name) for name in names}
    script = "examples/compare_heads.py --networks PixelCNN 'Gated PixelCNN' PixelCNN++"
    return command(script, options, f"{name}.png")


def heads_rows(comparison):
    """A row for each network and head, best first: means over seeds, and the spread of bits/dim."""
    rows = []
    for name in dict.fromkeys(row["name"] for row in comparison["heads"]):
        own = [row for row in comparison["heads"] if row["name"] == name]
        row = {key: _mean([seed[key] for seed in own]) for key in own[0]}
        bits = [seed["bits_per_dim"] for seed in own]
        rows.append({**row, "spread": max(bits) - min(bits)})
    return sorted(rows, key=lambda row: row["bits_per_dim"])


def _mean(values):
    return statistics.fmean(values) if isinstance(values[0], float) else values[0]


WAYS = {
    "pixelcnnpp": "PixelCNN++, labeled images",
    "pixelcnnpp_all": "PixelCNN++, all images",
    "cnn": "CNN, labeled images",
    "cnn_pseudo_labels": "CNN, pseudo-labels",
}


def over_seeds(rows, key="accuracy", **asked):
    """The mean of the rows asked for, and their range where there are several seeds."""
    found = [row[key] for row in rows if asked.items() <= row.items()]
    if not found:
        return "–"
    factor, digits, unit = (100, 1, " %") if key == "accuracy" else (1, 3, "")
    mean = f"{factor * statistics.fmean(found):.{digits}f}{unit}"
    ends = "–".join(f"{factor * end:.{digits}f}" for end in (min(found), max(found)))
    return mean if len(found) == 1 else f"{mean} ({ends})"


def few_labels_command(name, few):
    """The command that makes the experiment again."""
    options = dict(few["options"])
    for option, key in (("labels_per_class", "labels_per_class"), ("seeds", "seed")):
        options[option] = ",".join(map(str, sorted({row[key] for row in few["rows"]})))
    return command("benchmarks/few_labels.py", options, f"benchmarks/results/{name}.json")


def speed_rows(table):
    """The jobs of each network, backend and precision."""
    found = {}
    for row in table["rows"]:
        found.setdefault((row["name"], row["backend"], row["precision"]), {})[row["job"]] = row
    return found


def recipe_trials(rows):
    """The names of the trials: those tried longest first, of these the best."""
    rows = sorted(rows, key=lambda row: (-row["minutes"], row["bits_per_dim"]))
    return dict.fromkeys(row["trial"] for row in rows)


def markdown_template(name):
    """A Jinja template from this folder."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(RESULTS.parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Markdown
    )
    environment.filters.update(
        accuracy=accuracy,
        accuracy_at=accuracy_at,
        minutes=minutes,
        number=number,
        p_value=p_value,
        percent=percent,
        interval=interval,
    )
    environment.globals.update(
        heads_command=heads_command,
        heads_rows=heads_rows,
        over_seeds=over_seeds,
        few_labels_command=few_labels_command,
        recipe_trials=recipe_trials,
        speed_rows=speed_rows,
        ways=WAYS,
    )
    return environment.get_template(name)


def render(folder=RESULTS):
    """The text of each page, by its path."""
    runs = {path.parent.name: Run(path.parent) for path in sorted(folder.glob("*/config.json"))}
    tables = {path.stem: _read(path) for path in folder.glob("*.json")}

    def named(prefix):
        return {name: tables[name] for name in sorted(tables) if name.startswith(prefix)}

    found = [run.config["pixelcnnpp"]["versions"] for run in runs.values()]
    content = {
        "runs": runs,
        "tables": tables,
        "conditionings": named("conditioning-"),
        "heads": named("heads-"),
        "few_labels": named("few_labels-"),
        "recipes": named("recipe-"),
        "compressions": named("compression-").values(),
        "machines": sorted({versions["machine"] for versions in found}),
        "versions": sorted({f"{VERSIONS[name]} {of[name]}" for of in found for name in VERSIONS}),
        "commits": sorted({run.config.get("commit") for run in runs.values()} - {None}),
        "presets": [name for name in preset_names() if Preset(name).has_weights],
        "bits": math.log2,
    }
    pages = {ROOT / "RESULTS.md": "RESULTS.md.j2"}
    pages |= {
        ROOT / "docs" / "development" / f"{name}.md": f"development/{name}.md.j2" for name in PAGES
    }
    rendered = {
        path: markdown_template(template).render(content).rstrip() + "\n"
        for path, template in pages.items()
    }
    rendered[ROOT / "README.md"] = _with_table(
        (ROOT / "README.md").read_text(encoding="utf-8"),
        markdown_template("readme_results.md.j2").render(content),
    )
    return rendered


def _with_table(readme, table):
    """The README with this table between its two comments."""
    before, rest = readme.split("<!-- results -->\n")
    return f"{before}<!-- results -->\n{table}<!-- /results -->{rest.split('<!-- /results -->')[1]}"


def _read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def percent(value):
    return "–" if value is None else f"{100 * value:.1f} %"


def interval(bounds):
    return "–" if bounds is None else f"{100 * bounds[0]:.1f}–{100 * bounds[1]:.1f}"


def number(value, digits=3):
    return "–" if value is None else f"{value:.{digits}f}"


def accuracy(numbers):
    """An accuracy with its interval."""
    if not numbers:
        return "–"
    return f"{percent(numbers['accuracy'])} ({interval(numbers['accuracy_ci95'])})"


def accuracy_at(partial, model, share):
    """The accuracy of a model that sees this share of an image, with its interval."""
    if partial is None:
        return "–"
    place = partial["shares"].index(share)
    return accuracy(
        {key: partial["models"][model][key][place] for key in ("accuracy", "accuracy_ci95")}
    )


def p_value(value):
    return "–" if value is None else f"{value:.2g}"


def minutes(value):
    return number(value, 0 if value is None or value >= 10 else 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", nargs="?", choices=("write", "keep", "figures"), default="write")
    parser.add_argument("runs", nargs="*", type=Path, help="run folders to keep the numbers of")
    options = parser.parse_args()
    if options.action == "keep":
        for run in options.runs:
            print(f"Kept {keep(run)}")
    elif options.action == "figures":
        write_figures()
    else:
        for path, text in render().items():
            path.write_text(text, encoding="utf-8")
            print(f"Wrote {path}")


if __name__ == "__main__":
    main()
