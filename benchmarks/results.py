"""RESULTS.md, made from the files that runs and benchmarks left behind.

    python benchmarks/results.py keep runs/cpen455   # copies its numbers to results/cpen455
    python benchmarks/results.py                     # writes RESULTS.md from benchmarks/results

Every number in RESULTS.md comes from a file below `benchmarks/results`; a test holds the two
together. A part whose file is missing is left out.
"""

import argparse
import json
import math
import shlex
import shutil
import statistics
from pathlib import Path

import jinja2

from keras_pixelcnnpp.evaluate.figures import history_png
from keras_pixelcnnpp.evaluate.report.origin import training_words
from keras_pixelcnnpp.files import write_bytes
from keras_pixelcnnpp.presets import PresetFolder, preset_names
from keras_pixelcnnpp.run import RunFolder

HERE = Path(__file__).parent
RESULTS = HERE / "results"
KEPT = (
    "config.json",
    "reports/*.json",
    "reports/samples.png",
    "logs/*/history.json",
)


def keep(run, folder=RESULTS):
    """Copies the JSON files of a run and its samples, and draws its curve; no weights."""
    target = folder / Path(run).name
    shutil.rmtree(target, ignore_errors=True)
    for pattern in KEPT:
        for file in Path(run).glob(pattern):
            copy = target / file.relative_to(run)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    curve = history_png({"PixelCNN++": _history(target)}, "bits_per_dim", "bits/dim")
    if curve is not None:
        write_bytes(target / "reports" / "bits_per_dim.png", curve)
    config = Run(target).config
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return target


def _history(run):
    return RunFolder(run).history("pixelcnnpp")


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
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None

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


def heads_command(name, comparison):
    """The command that makes the comparison of networks and heads again."""
    options = ("data", "image_size", "preset", "epochs", "batch_size")
    options += ("limit", "test_limit", "seeds")
    given = [(name, comparison[name]) for name in options if comparison.get(name) is not None]
    words = [word for option, value in given for word in ("--" + option.replace("_", "-"), value)]
    words = ["python", "examples/compare_heads.py", "--all", *words, "--output", f"runs/{name}"]
    return shlex.join(map(str, words))


def heads_rows(comparison):
    """A row for each network and head, best first: means over seeds, and the spread of bits/dim."""
    names = dict.fromkeys(row["name"] for row in comparison["heads"])
    rows = []
    for name in names:
        own = [row for row in comparison["heads"] if row["name"] == name]
        bits = [row["bits_per_dim"] for row in own]
        means = {
            key: statistics.fmean(row[key] for row in own)
            for key in (
                "train_bits_per_dim",
                "accuracy",
                "gradient_norm",
                "trained_per_second",
                "drawn_per_second",
            )
        }
        rows.append(
            {
                **own[0],
                **means,
                "bits_per_dim": statistics.fmean(bits),
                "spread": max(bits) - min(bits),
            }
        )
    return sorted(rows, key=lambda row: row["bits_per_dim"])


WAYS = {
    "pixelcnnpp": "PixelCNN++, labelled pictures",
    "pixelcnnpp_all": "PixelCNN++, all pictures",
    "cnn": "CNN, labelled pictures",
    "cnn_pseudo_labels": "CNN, pseudo-labels",
}


def few_labels_title(few):
    """What `benchmarks/few_labels.py` measured on."""
    options, seeds = few["options"], {row["seed"] for row in few["rows"]}
    size = f" of {options['image_size']}×{options['image_size']}" if options["image_size"] else ""
    limit = f", {options['limit']} to train on" if options["limit"] else ""
    return (
        f"{options['data']}: {few['count']} pictures{size} of `{options['split']}`"
        f"{limit}, {len(seeds)} seeds:"
    )


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
    words = ["python", "benchmarks/few_labels.py"]
    options = dict(few["options"])
    for option, key in (("labels_per_class", "labels_per_class"), ("seeds", "seed")):
        options[option] = ",".join(map(str, sorted({row[key] for row in few["rows"]})))
    for option, value in options.items():
        if value is not None:
            words += ["--" + option.replace("_", "-"), str(value)]
    return shlex.join([*words, "--output", f"benchmarks/results/{name}.json"])


def recipe_trials(rows):
    """The names of the trials: those tried longest first, of these the best."""
    best = {}
    for row in rows:
        best[row["trial"]] = min(
            best.get(row["trial"], (0, math.inf)), (-row["minutes"], row["bits_per_dim"])
        )
    return sorted(best, key=best.get)


def markdown_template(name):
    """A Jinja template from this folder."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Markdown
    )
    environment.filters.update(percent=percent, interval=interval, number=number, minutes=minutes)
    environment.globals.update(
        heads_command=heads_command,
        heads_rows=heads_rows,
        few_labels_title=few_labels_title,
        over_seeds=over_seeds,
        few_labels_command=few_labels_command,
        recipe_trials=recipe_trials,
        ways=WAYS,
    )
    return environment.get_template(name)


def render(folder=RESULTS):
    """The text of RESULTS.md."""
    runs = {path.parent.name: Run(path.parent) for path in sorted(folder.glob("*/config.json"))}
    tables = {
        path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")
    }
    fusions = {
        path.parent.parent.name: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*/reports/fusion.json"))
    }
    heads = {name: tables.pop(name) for name in sorted(tables) if name.startswith("heads-")}
    few_labels = {n: tables[n] for n in sorted(tables) if n.startswith("few_labels-")}
    recipes = {n: tables[n] for n in sorted(tables) if n.startswith("recipe-")}
    compressions = [tables[name] for name in sorted(tables) if name.startswith("compression-")]
    found = (run.config["pixelcnnpp"]["versions"].get("machine") for run in runs.values())
    return markdown_template("RESULTS.md.j2").render(
        runs=runs,
        tables=tables,
        fusions=fusions,
        heads=heads,
        few_labels=few_labels,
        recipes=recipes,
        compressions=compressions,
        machines=sorted(set(found) - {None}),
        presets=[name for name in preset_names() if PresetFolder.find(name).has_weights],
        bits=math.log2,
    )


def percent(value):
    return "–" if value is None else f"{100 * value:.1f} %"


def interval(bounds):
    return "–" if bounds is None else f"{100 * bounds[0]:.1f}–{100 * bounds[1]:.1f}"


def number(value, digits=3):
    return "–" if value is None else f"{value:.{digits}f}"


def minutes(value):
    return number(value, 0 if value is None or value >= 10 else 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", nargs="?", choices=("write", "keep"), default="write")
    parser.add_argument("runs", nargs="*", type=Path, help="run folders to keep the numbers of")
    options = parser.parse_args()
    if options.action == "keep":
        for run in options.runs:
            print(f"Kept {keep(run)}")
    else:
        path = HERE.parent / "RESULTS.md"
        path.write_text(render(), encoding="utf-8")
        print(f"Wrote {path}")


if __name__ == "__main__":
    main()
