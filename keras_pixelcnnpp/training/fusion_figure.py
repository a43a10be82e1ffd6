"""The plot of `train fusion`."""

from collections.abc import Sequence

import numpy as np

from keras_pixelcnnpp.figures import figure_png, new_figure


def fusion_png(rows: Sequence[dict]) -> bytes:
    """Draws what `train fusion` found: accuracy and bits/dim of each strategy and objective.

    Args:
        rows: From `keras_pixelcnnpp.training.fusion.summarize`.

    Returns:
        The content of a PNG file.
    """
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
