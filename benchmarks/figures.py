"""Plots the figures of the pages in docs/benchmarks from the results: results.py figures."""

import statistics
from operator import itemgetter

import numpy as np
from common import RESULTS, ROOT
from matplotlib.ticker import NullLocator

from keras_pixelcnnpp.evaluate.figures import figure_png, new_figure
from keras_pixelcnnpp.utils.files import read_json, write_bytes

MNIST_PIXELS = 28 * 28
HOURS = (0.1, 0.2, 0.5, 1, 2, 5)
TITLES = {
    "fashion_mnist": "Fashion-MNIST, 256 levels",
    "mnist": "MNIST, 256 levels",
    "binarized_mnist": "binarized MNIST",
}


def panels(count, height=3, rows=1):
    """Creates a figure with panels side by side; returns it and its axes."""
    figure = new_figure(7, height)
    grid = list(figure.subplots(rows, count // rows, squeeze=False).flat)
    for axes in grid:
        axes.grid(alpha=0.3)
    return figure, grid


def save(figure, name):
    write_bytes(ROOT / "docs" / "images" / f"{name}.png", figure_png(figure, dpi=160))


def with_errors(axes, x, rows, **look):
    """Plots accuracies with their intervals in percent."""
    values = 100 * np.array([[row["accuracy"], *row["accuracy_ci95"]] for row in rows])
    errors = np.abs(values[:, 1:] - values[:, :1]).T
    axes.errorbar(x, values[:, 0], errors, capsize=2.5, markersize=3, **look)


def part_of_image(parts):
    titles = {"pixelcnnpp": "PixelCNN++", "cnn": "CNN", "masked_cnn": "masked CNN"}
    figure, grid = panels(4, 5, rows=2)
    for axes, name in zip(grid, ("digits", "mnist", "fashion_mnist", "photographs"), strict=True):
        shares = 100 * np.array(parts[name]["rows"]) / parts[name]["rows"][-1]
        for model, rows in parts[name]["first_rows"].items():
            with_errors(axes, shares, rows, fmt="o-", label=titles[model])
        axes.set(title=name, ylim=(0, 102), xlabel="rows seen (%)", ylabel="accuracy (%)")
    axes.legend(fontsize=9)
    save(figure, "part_of_image")


def training_length(runs):
    """Plots results of training runs of several lengths on `photographs`, the CNN and JPEG XL."""
    preset = runs["photographs"]
    adam = [run for name, run in runs.items() if name.removeprefix("photographs-")[0].isdigit()]
    adam = [run for run in adam if run.name.endswith("-epochs")]
    muon = [preset, *(run for name, run in runs.items() if name.startswith("photographs-muon"))]
    series = {
        "Adam, no clipping": _points(adam, runs["photographs-44-epochs"]),
        "default recipe (Muon)": _points(muon, preset),
    }
    figure, (left, right) = panels(2)
    for (label, points), style in zip(series.items(), ("o-", "s-"), strict=True):
        minutes, models = zip(*points, strict=True)
        left.plot(minutes, [model["bits_per_dim"] for model in models], style, label=label)
        with_errors(right, minutes, models, fmt=style, label=label)
    jpeg_xl = read_json(RESULTS / "compression-photographs.json")["bits_per_dim"]["jxl"]
    cnn = preset.json("reports/classification.json")["models"]["baseline"]["accuracy"]
    left.axhline(jpeg_xl, color="gray", linestyle="--", label="JPEG XL")
    left.set_ylabel("bits/dim of 16 levels")
    right.axhline(100 * cnn, color="gray", linestyle="--", label="CNN")
    right.set_ylabel("accuracy (%), with 95% intervals")
    minutes = (3, 10, 30, 100, 300)
    for axes in (left, right):
        axes.set(xscale="log", xlabel="minutes of training on one core")
        axes.set_xticks(minutes, map(str, minutes), minor=False)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.legend(fontsize=9)
    save(figure, "training_length")


def _points(runs, timed):
    # Minutes and results, shortest first. The minutes are computed from the epochs of `timed`,
    # which had a core of its own.
    history = timed.history("pixelcnnpp")
    seconds = {
        joint: statistics.median(
            row["seconds"] for row in history if (row.get("cross_entropy") is not None) == joint
        )
        for joint in (False, True)
    }
    points = []
    for run in runs:
        options = run.config["pixelcnnpp"]["options"]
        first = options["likelihood_epochs"]
        work = first * seconds[False] + (options["epochs"] - first) * seconds[True]
        model = run.json("reports/classification.json")["models"]["pixelcnnpp"]
        points.append((work / 60, model))
    return sorted(points, key=itemgetter(0))


def guidance(tables):
    """Plots how guidance changes the class consistency and the diversity of samples."""
    figure, (left, right) = panels(2)
    for table in tables.values():
        weights = [row["weight"] for row in table["rows"]]
        with_errors(left, weights, table["rows"], fmt="o-", label=table["preset"])
        recalls = [row["recall"] for row in table["rows"]]
        right.plot(weights, recalls, "o-", label=table["preset"])
    left.set_ylabel("class consistency (%)")
    right.set_ylabel("recall")
    for axes in (left, right):
        axes.set(xlabel="guidance w", xticks=(0, 1, 3, 5))
        axes.legend(fontsize=9)
    save(figure, "guidance")


def networks_and_heads(comparisons):
    """Plots bits/dim of each network with each head, one point for each seed."""
    figure, grid = panels(3)
    networks = {"pixelcnn": "PixelCNN", "gated": "Gated", "pixelcnnpp": "PixelCNN++"}
    heads = {"mixture": "C0", "softmax": "C1", "single logistic": "C2"}
    for axes, comparison in zip(grid, comparisons.values(), strict=True):
        for row in comparison["heads"]:
            network, head = row["name"].split(", ")
            place = list(networks.values()).index(network.removesuffix(" PixelCNN"))
            shift = 0.2 * (list(heads).index(head) - 1)
            axes.plot(place + shift, row["bits_per_dim"], "o", color=heads[head], markersize=4)
        axes.set_xticks(range(3), networks.values(), fontsize=8)
        axes.set_title(f"{comparison['data']}, {'×'.join(map(str, comparison['image_shape']))}")
        axes.title.set_fontsize(9)
        axes.grid(False, axis="x")
    for head, color in heads.items():
        axes.plot([], [], "o", color=color, label=head)
    axes.legend(fontsize=8)
    figure.supylabel("bits/dim", fontsize=10)
    save(figure, "networks_and_heads")


def conditioning(comparisons):
    """Plots accuracy against bits/dim of each strategy with both objectives."""
    figure, grid = panels(2, 3.4)
    for axes, comparison in zip(grid, comparisons.values(), strict=True):
        strategies = dict.fromkeys(row["strategy"] for row in comparison["rows"])
        for row in comparison["rows"]:
            color = f"C{list(strategies).index(row['strategy'])}"
            face = color if row["objective"] == "hybrid" else "none"
            look = {"color": color, "markerfacecolor": face, "linestyle": "none"}
            label = row["strategy"] if row["objective"] == "hybrid" else None
            axes.plot(row["bits_per_dim"], 100 * row["accuracy"], "o", label=label, **look)
        axes.set(title=comparison["data"], xlabel="bits/dim", ylabel="accuracy (%)")
    axes.legend(fontsize=7, loc="lower right")
    save(figure, "conditioning")


def out_of_distribution(reports, detectors):
    """Plots the AUROC of each detector for each kind of images."""
    figure, grid = panels(3, 4.2)
    for axes, (name, report) in zip(grid, reports.items(), strict=True):
        titles = {key: title for key, title in detectors.items() if key in report["detectors"]}
        kinds = report["inputs"]
        values = [[kinds[kind]["auroc"][key] for key in titles] for kind in kinds]
        axes.grid(False)
        axes.imshow(values, "RdYlGn", vmin=0, vmax=1, aspect="auto")
        for (row, column), value in np.ndenumerate(np.array(values)):
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=6)
        axes.set_xticks(range(len(titles)), titles.values(), fontsize=7, rotation=90)
        axes.set_yticks(range(len(kinds)), kinds, fontsize=7)
        axes.set_title(name, fontsize=9)
    save(figure, "out_of_distribution")


def completion(tables):
    """Plots the log-probability of completed images relative to the true ones."""
    tables = {name: table for name, table in tables.items() if len(table["completion"]) > 1}
    figure, grid = panels(len(tables), 3.6)
    for axes, table in zip(grid, tables.values(), strict=True):
        for region, rows in table["completion"].items():
            particles = [row["particles"] for row in rows]
            values = [row["log_prob_above_true"] for row in rows]
            errors = [1.96 * row["standard_error"] for row in rows]
            axes.errorbar(particles, values, errors, fmt="o-", label=region, capsize=2.5)
        axes.set_xscale("log", base=4)
        axes.set_xticks([1, 16, 64, 256], ["1", "16", "64", "256"])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.axhline(0, color="gray", linestyle="--")
        axes.set(title=table["preset"], xlabel="particles", ylabel="nats above the true image")
    handles = grid[0].get_legend_handles_labels()
    figure.legend(*handles, fontsize=8, loc="outside lower center", ncols=3)
    save(figure, "completion")


def core_hours(tables, published, preset):
    """Plots bits/dim of p(x) against processor time, with published values as lines.

    `preset` is the kept run of the preset `fashion_mnist`.
    """
    names = [name for name in TITLES if any(table["data"] == name for table in tables)]
    figure = new_figure(3.4 * len(names), 3.4)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False).flat, names, strict=True):
        rows = [row for row in published if row["dataset"] == f"{TITLES[name]}, test"]
        rows = [row for row in rows if row["at the source"] == "yes"]
        unit, shown = "nats" if name == "binarized_mnist" else "bits/dim", []
        for table in (table for table in tables if table["data"] == name):
            hours = [point["core_hours"] for point in table["points"]]
            values = [in_unit(point["bits_per_dim"], unit) for point in table["points"]]
            label = f"{table['title']}, {table['parameters'] / 1e6:.1f} M weights"
            axes.plot(hours, values, "o-", markersize=4, label=label)
            shown += [value for at, value in zip(hours, values, strict=True) if at > HOURS[0]]
        if name == preset.name:
            bits = preset.json("reports/classification.json")["models"]["pixelcnnpp"]
            hours = preset.minutes("pixelcnnpp") / 60
            axes.plot(hours, bits["bits_per_dim"], "s", markersize=5, label="preset (hybrid)")
        for row in rows:
            value, place = float(row["value"]), axes.get_yaxis_transform()
            axes.axhline(value, color="gray", linestyle="--", linewidth=1)
            text = f"{row['model']}, {row['value']}"
            axes.text(0.98, value, text, transform=place, va="bottom", ha="right", fontsize=7)
        axes.set(xscale="log", xlabel="hours on one core", ylabel=f"{unit} of p(x)")
        axes.set_ylim(top=1.03 * max(shown))
        axes.set_title(TITLES[name], fontsize=10)
        axes.set_xticks(HOURS, [f"{hours:g}" for hours in HOURS])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    save(figure, "core_hours")


def in_unit(bits_per_dim, unit):
    """Converts bits/dim of an image of MNIST to nats, if that is the unit."""
    return bits_per_dim * MNIST_PIXELS * np.log(2) if unit == "nats" else bits_per_dim
