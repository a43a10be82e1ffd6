"""The label strategies compared: trials of the same data, budget and seeds; their means, drawn."""

import json
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import keras
import numpy as np

from keras_pixelcnnpp.classifiers import PixelCNNClassifier
from keras_pixelcnnpp.conditioning import STRATEGIES, parse_conditioning
from keras_pixelcnnpp.data.dataset import Dataset, LabelledImages
from keras_pixelcnnpp.errors import UserError, argument_errors
from keras_pixelcnnpp.evaluate.classification import Judgement, compare
from keras_pixelcnnpp.evaluate.figures import figure_png, new_figure, print_table
from keras_pixelcnnpp.evaluate.metrics.classifiers import accuracy_interval
from keras_pixelcnnpp.files import read_json, write_bytes, write_json
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.train.command_line import overrides
from keras_pixelcnnpp.train.data import is_folder, load_data, load_larger, load_preset
from keras_pixelcnnpp.train.monitors import EpochTimer, in_words
from keras_pixelcnnpp.train.options import FusionOptions, resolve_options
from keras_pixelcnnpp.train.pixelcnnpp import as_begun, train_pixelcnnpp

# Bits/dim alone; or with the cross-entropy over the candidate labels, after as large a share of
# epochs by likelihood as the preset's.
OBJECTIVES = ("likelihood", "hybrid")
LABEL_LOSS_WEIGHT = 0.05


@dataclass(frozen=True)
class Trial:
    """One training of the comparison."""

    strategy: str
    objective: str
    seed: int

    @property
    def name(self) -> str:
        """The trial's folder within the run."""
        return f"{self.strategy}-{self.objective}-{self.seed}"


def plan(strategies: Iterable[str], objectives: Iterable[str], seeds: int) -> list[Trial]:
    """All trials; the first seed of every strategy before the second of any."""
    strategies, objectives = list(strategies), list(objectives)
    for strategy in strategies:
        with argument_errors():
            if not parse_conditioning(strategy):
                raise UserError("A model without labels cannot be compared: strategy 'none'.")
    unknown = set(objectives) - set(OBJECTIVES)
    if unknown:
        raise UserError(
            f"Unknown objective. Expected one of: {', '.join(OBJECTIVES)}. "
            f"Received: {', '.join(sorted(unknown))}"
        )
    return [
        Trial(strategy, objective, seed)
        for seed, strategy, objective in product(range(seeds), strategies, objectives)
    ]


def compare_strategies(options: FusionOptions, verbose: int | str = "auto") -> None:
    """Trains all trials; writes the report after each, in the end prints the table."""
    trials = plan(options.strategy or STRATEGIES, options.objective or OBJECTIVES, options.seeds)
    preset = load_preset(options.preset, options.data)
    dataset, data_config = load_data(options, seed=0, preset=preset)
    chosen = overrides(options)
    _, training = resolve_options(preset, chosen, dataset.num_classes, is_folder(options.data))
    folder = RunFolder(options.run)
    own = ("preset", "strategy", "objective", "seeds", "image_size", "num_levels")
    given = {**{name: getattr(options, name) for name in own}, **chosen}
    facts = {
        "data": options.data,
        "split": options.split,
        "options": {name: value for name, value in given.items() if value is not None},
    }
    results = []
    for result in train_trials(
        trials,
        dataset,
        options.run,
        preset,
        chosen,
        data_config,
        larger=load_larger(options, dataset, training["crop_margin"], seed=0),
        split=options.split,
        overwrite=options.overwrite,
        verbose=verbose,
    ):
        results.append(result)
        rows = summarize(results)
        write_report(folder, {**facts, "rows": rows, "trials": results})
    print_table(HEADINGS, map(_cells, rows))
    print(f"Wrote fusion.json and fusion.png to {folder.reports}")


def train_trials(
    trials: Sequence[Trial],
    dataset: Dataset,
    path: str | Path,
    preset: dict,
    chosen: dict,
    data_config: dict,
    *,
    larger: LabelledImages | None = None,
    split: str = "validation",
    overwrite: bool = False,
    verbose: int | str = "auto",
) -> Iterator[dict]:
    """Trains and measures one trial after the other, each in a run folder of its own.

    A trial that was finished before, with the same options, is not trained again; one that was
    interrupted goes on. Yields the trial, `parameters`, `seconds_per_epoch`, and the numbers of
    `classification.json`.
    """
    measured_on = dataset.pictures(split, with_labels=True)
    spent = []
    for number, trial in enumerate(trials):
        folder = RunFolder(Path(path) / "trials" / trial.name)
        of_trial = _of_trial(trial, preset, chosen)
        resume = not overwrite and folder.has_checkpoint("pixelcnnpp")
        if resume:
            of_trial = as_begun(of_trial, folder)
        options = resolve_options(preset, of_trial, dataset.num_classes, larger is not None)
        result_json = folder.reports / "trial.json"
        asked = json.loads(json.dumps({"split": split, "options": options, "data": data_config}))
        known = read_json(result_json) if result_json.exists() else {}
        if overwrite or known.get("asked") != asked:
            print(
                f"\n{number + 1} of {len(trials)}: {trial.strategy}, {trial.objective}, "
                f"seed {trial.seed}{_left(spent, len(trials) - number)}"
            )
            start = time.perf_counter()
            model, seconds = _train(
                dataset, folder, options, data_config, larger, resume, overwrite, verbose
            )
            result = {
                **asdict(trial),
                "parameters": sum(math.prod(weight.shape) for weight in model.trainable_weights),
                # None where all was trained before, and is only measured on another split.
                "seconds_per_epoch": seconds or known.get("result", {}).get("seconds_per_epoch"),
                **_measure(model, measured_on, int(verbose == 1)),
            }
            spent.append(time.perf_counter() - start)
            known = {"asked": asked, "result": result}
            write_json(result_json, known)
        yield known["result"]


def summarize(results: Iterable[dict]) -> list[dict]:
    """Means over the seeds: one row for each strategy and objective, in order of appearance.

    The interval is that of the mean accuracy on as many pictures as were measured: seeds share the
    pictures and don't narrow it.
    """
    groups = {}
    for result in results:
        groups.setdefault((result["strategy"], result["objective"]), []).append(result)
    return [_row(*key, group) for key, group in groups.items()]


def _of_trial(trial: Trial, preset: dict, chosen: dict) -> dict:
    chosen = {**chosen, "conditioning": trial.strategy, "seed": trial.seed, "sample_every": 0}
    if trial.objective == "likelihood":
        return {**chosen, "label_loss_weight": 0.0, "candidates": 1, "warmup_epochs": 0}
    if not (chosen.get("label_loss_weight") or preset["model"].get("label_loss_weight")):
        chosen["label_loss_weight"] = LABEL_LOSS_WEIGHT
    return chosen


def _train(dataset, folder, options, data_config, larger, resume, overwrite, verbose):
    """Returns the trained model and the seconds that an epoch took."""
    keras.utils.clear_session()
    model_options, training = options
    timer = EpochTimer()
    model = train_pixelcnnpp(
        dataset,
        folder,
        model_options,
        training,
        data_config,
        callbacks=[timer],
        larger=larger,
        resume=resume,
        overwrite=overwrite,
        verbose=verbose,
    )
    return model, _seconds_per_epoch(timer.seconds, training["warmup_epochs"])


def _seconds_per_epoch(seconds: list[float], warmup_epochs: int) -> float | None:
    # The first epoch of a phase has the compilation in it.
    steady = seconds[warmup_epochs + 1 :] or seconds[-1:]
    return float(np.median(steady)) if steady else None


def _left(spent: list[float], trials: int) -> str:
    if not spent:
        return ""
    return f"; about {in_words(np.mean(spent) * trials)} to go"


def _measure(model: AutoregressiveModel, pictures: LabelledImages, verbose: int) -> dict:
    scores, probabilities = PixelCNNClassifier(model, verbose=verbose).class_scores(pictures.images)
    judgements = {"pixelcnnpp": Judgement(probabilities, scores)}
    report = compare(pictures.labels, judgements, model.image_shape)
    return {"count": report["count"], **report["models"]["pixelcnnpp"]}


def _row(strategy: str, objective: str, group: list[dict]) -> dict:
    count = group[0]["count"]
    accuracies = [result["accuracy"] for result in group]
    means = {
        name: float(np.mean([result[name] for result in group if result[name] is not None]))
        for name in ("bits_per_dim", "accuracy", "log_loss", "seconds_per_epoch")
        if any(result[name] is not None for result in group)
    }
    return {
        "strategy": strategy,
        "objective": objective,
        "seeds": len(group),
        "parameters": group[0]["parameters"],
        "seconds_per_epoch": None,
        **means,
        "accuracy_ci95": list(accuracy_interval(means["accuracy"] * count, count)),
        "accuracies": accuracies,
    }


def fusion_png(rows: Sequence[dict]) -> bytes:
    """Accuracy and bits/dim of each row of `summarize`, as a PNG file."""
    strategies = list(dict.fromkeys(row["strategy"] for row in rows))
    objectives = list(dict.fromkeys(row["objective"] for row in rows))
    figure = new_figure(9, 1.6 + 0.45 * len(strategies))
    accuracy, bits = figure.subplots(1, 2, sharey=True)
    for index, objective in enumerate(objectives):
        chosen = [row for row in rows if row["objective"] == objective]
        # Side by side, or the intervals would cover one another.
        shift = 0.24 * (index - (len(objectives) - 1) / 2)
        places = [strategies.index(row["strategy"]) + shift for row in chosen]
        means = np.array([100 * row["accuracy"] for row in chosen])
        low, high = 100 * np.array([row["accuracy_ci95"] for row in chosen]).T
        accuracy.errorbar(
            means, places, xerr=(means - low, high - means), fmt="o", capsize=3, label=objective
        )
        bits.plot([row["bits_per_dim"] for row in chosen], places, "o", label=objective)
    accuracy.set_yticks(range(len(strategies)), strategies)
    accuracy.invert_yaxis()
    accuracy.set_xlabel("accuracy (%), 95 % interval")
    bits.set_xlabel("bits/dim of p(x)")
    bits.legend(title="objective", loc="center left", bbox_to_anchor=(1, 0.5))
    for axes in (accuracy, bits):
        axes.grid(axis="x", alpha=0.3)
    return figure_png(figure)


def write_report(folder: RunFolder, report: dict) -> None:
    """Writes fusion.json and fusion.png."""
    write_json(folder.reports / "fusion.json", report)
    write_bytes(folder.reports / "fusion.png", fusion_png(report["rows"]))


HEADINGS = ("", "parameters", "bits/dim", "accuracy", "95 % interval (%)", "s/epoch")


def _cells(row: dict) -> tuple[str, ...]:
    low, high = row["accuracy_ci95"]
    seconds = row["seconds_per_epoch"]
    return (
        f"{row['strategy']}, {row['objective']}",
        f"{row['parameters']:,}",
        f"{row['bits_per_dim']:.4f}",
        f"{row['accuracy']:.2%}",
        f"{100 * low:.1f}–{100 * high:.1f}",
        "–" if seconds is None else f"{seconds:.1f}",
    )
