"""`evaluate robustness`: both classifiers on spoilt pictures, and log p(x) as an alarm."""

from dataclasses import dataclass
from functools import reduce
from operator import getitem
from typing import Self

import numpy as np
from matplotlib.axes import Axes

from keras_pixelcnnpp.backend import progress
from keras_pixelcnnpp.classifiers import BaselineClassifier
from keras_pixelcnnpp.data.images import picture_grid, to_pixels
from keras_pixelcnnpp.distributions.logistic_mixture import bits_per_dim
from keras_pixelcnnpp.evaluate.classification import load_baseline, load_classifier
from keras_pixelcnnpp.evaluate.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from keras_pixelcnnpp.evaluate.detectors import DETECTORS
from keras_pixelcnnpp.evaluate.figures import figure_png, new_figure, print_table, show_pixels
from keras_pixelcnnpp.evaluate.metrics.classifiers import auroc_interval, classification_metrics
from keras_pixelcnnpp.files import write_bytes, write_json
from keras_pixelcnnpp.layers.posterior import log_marginal
from keras_pixelcnnpp.run import RunFolder, model_titles

# What raises the alarm, larger the more foreign: by their names in `DETECTORS`.
ALARM_TITLES = {
    "log_likelihood": "log p(x)",
    "pixelcnnpp_max_softmax": "Bayes' p(y|x)",
    "baseline_max_softmax": "CNN p(y|x)",
}


def stress(
    folder: RunFolder,
    *,
    data: str | None,
    split: str,
    limit: int,
    seed: int,
    batch_size: int,
    options: dict,
) -> None:
    """Judges labelled pictures of a split, whole and spoilt; draws, writes and prints it."""
    titles = model_titles(folder.read_config())
    folder.require_model("pixelcnnpp")
    dataset = folder.load_data(data)
    pictures = dataset.pictures(split, with_labels=True, limit=limit, seed=seed)
    judges = {"pixelcnnpp": load_classifier(folder, batch_size, verbose=0)}
    if (cnn := load_baseline(folder)) is not None:
        judges["baseline"] = BaselineClassifier(cnn)
    print(f"Both models judge {len(pictures)} pictures of the split {split}")
    clean = Judged.of(pictures.images, judges)
    rows, examples = {}, {}
    tick = progress(len(CORRUPTIONS) * len(SEVERITIES))
    for name in CORRUPTIONS:
        spoilt = [
            corrupt(pictures.images, dataset.num_levels, name, severity, seed)
            for severity in SEVERITIES
        ]
        rows[name] = []
        for images in spoilt:
            rows[name].append(Judged.of(images, judges).report(pictures.labels, clean))
            tick()
        shown = np.stack([images[0] for images in (pictures.images, *spoilt)])
        examples[name] = to_pixels(shown, dataset.num_levels)
    report = {
        "options": options,
        "split": split,
        "count": len(pictures),
        "seed": seed,
        "severities": list(SEVERITIES),
        "strengths": {name: [way.unit, *way.strengths] for name, way in CORRUPTIONS.items()},
        "alarms": {name: DETECTORS[name].meaning for name in clean.alarms},
        "clean": clean.report(pictures.labels),
        "corruptions": rows,
    }
    write_json(folder.reports / "robustness.json", report)
    write_bytes(folder.reports / "robustness.png", robustness_png(report, examples, titles))
    _print_report(report)
    print(f"Wrote robustness.json and robustness.png to {folder.reports}")


@dataclass(frozen=True, eq=False)
class Judged:
    """What the models say about pictures: float `[count, num_classes]` of each, and alarms.

    `alarms` are float `[count]` by the names of `ALARM_TITLES`.
    """

    probabilities: dict[str, np.ndarray]
    alarms: dict[str, np.ndarray]

    @classmethod
    def of(cls, images: np.ndarray, judges: dict) -> Self:
        """Asks a `PixelCNNClassifier`, and a `BaselineClassifier` if there is one."""
        pixelcnnpp = judges["pixelcnnpp"]
        scores, probabilities = pixelcnnpp.class_scores(images)
        log_prob = log_marginal(scores)
        judged = {"pixelcnnpp": probabilities}
        alarms = {"log_likelihood": bits_per_dim(log_prob, pixelcnnpp.image_shape)}
        if "baseline" in judges:
            judged["baseline"] = judges["baseline"].predict_proba(images)
        for name, of_model in judged.items():
            alarms[f"{name}_max_softmax"] = -of_model.max(axis=1)
        return cls(judged, alarms)

    def report(self, labels: np.ndarray, clean: Self | None = None) -> dict:
        """Numbers for JSON; beside clean pictures also how well each alarm tells these from them.

        An AUROC of 0.5 is guessing; below it, the spoilt ones look the more familiar.
        """
        report = {
            "bits_per_dim": float(self.alarms["log_likelihood"].mean()),
            "models": {
                name: classification_metrics(labels, given)
                for name, given in self.probabilities.items()
            },
        }
        if clean is None:
            return report
        areas = {
            name: auroc_interval(clean.alarms[name], given) for name, given in self.alarms.items()
        }
        return {
            **report,
            "auroc": {name: area for name, (area, _) in areas.items()},
            "auroc_ci95": {name: list(interval) for name, (_, interval) in areas.items()},
        }


def robustness_png(report: dict, examples: dict[str, np.ndarray], titles: dict[str, str]) -> bytes:
    """Draws a row for each corruption: a picture, accuracy, calibration error, alarms.

    `examples` are pixels `[1 + severities, height, width, channels]`, the clean picture first;
    `titles` what `model_titles` gives. The content of a PNG file.
    """
    figure = new_figure(12, 1.3 * len(examples) + 0.9)
    grid = figure.subplots(len(examples), 4, width_ratios=(3.2, 2, 2, 2), squeeze=False)
    for row, (name, pixels) in zip(grid, examples.items(), strict=True):
        show_pixels(row[0], picture_grid(pixels, columns=len(pixels)))
        row[0].set(xticks=[], yticks=[])
        row[0].set_frame_on(False)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
        measured = report["corruptions"][name]
        clean = report["clean"]["models"]
        for index, model in enumerate(clean):
            for axes, key in ((row[1], "accuracy"), (row[2], "ece")):
                values = [clean[model][key], *(at["models"][model][key] for at in measured)]
                _draw(axes, [0, *report["severities"]], values, f"C{index}", titles[model])
        for index, (alarm, title) in enumerate(ALARM_TITLES.items()):
            if alarm in report["alarms"]:
                values = [at["auroc"][alarm] for at in measured]
                _draw(row[3], report["severities"], values, ("k", "C0", "C1")[index], title)
        row[3].axhline(0.5, color="grey", linestyle=":")
    columns = ("accuracy", "calibration error", "AUROC against clean pictures")
    for place, title in enumerate(columns, 1):
        grid[0, place].set_title(title, fontsize=10)
        grid[-1, place].set_xlabel("severity")
        grid[0, place].legend(fontsize=6)
    for axes in grid[:-1, 1:].flat:
        axes.tick_params(labelbottom=False)
    highest = max(axes.get_ylim()[1] for axes in grid[:, 2])
    for axes, top in ((grid[:, 1], 1.03), (grid[:, 2], highest), (grid[:, 3], 1.03)):
        for one in axes:
            one.set_ylim(-0.03 * top, top)
    return figure_png(figure)


def _draw(axes: Axes, severities: list, values: list, colour: str, title: str) -> None:
    axes.plot(severities, values, ".-", color=colour, label=title, linewidth=1.2)
    axes.set_xticks([0, *SEVERITIES])
    axes.grid(alpha=0.3)


def _print_report(report: dict) -> None:
    models = list(report["clean"]["models"])
    # The CNN's own alarm beside log p(x); the file has the third as well.
    alarms = [
        name for name in ("log_likelihood", "baseline_max_softmax") if name in report["alarms"]
    ]

    def mean(measured: list[dict], *keys: str) -> float:
        return float(np.mean([reduce(getitem, keys, at) for at in measured]))

    rows = []
    for name, measured in (("clean", [report["clean"]]), *report["corruptions"].items()):
        accuracies = [f"{mean(measured, 'models', model, 'accuracy'):.1%}" for model in models]
        errors = [f"{mean(measured, 'models', model, 'ece'):.3f}" for model in models]
        areas = [f"{mean(measured, 'auroc', a):.2f}" if name != "clean" else "–" for a in alarms]
        rows.append((name, *accuracies, *errors, *areas))
    both = ["", "CNN "][: len(models)]
    print_table(
        (
            "",
            *(f"{model}accuracy" for model in both),
            *(f"{model}ECE" for model in both),
            *(f"AUROC {ALARM_TITLES[alarm]}" for alarm in alarms),
        ),
        rows,
        title=f"{report['count']} pictures of {report['split']}, spoilt; mean over severities",
        caption="AUROC against the clean pictures; 0.5 is guessing, below it they look familiar",
    )
