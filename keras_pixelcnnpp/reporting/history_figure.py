"""The curves of trainings."""

from collections.abc import Sequence

from keras_pixelcnnpp.figures import figure_png, new_figure


def history_png(histories: dict[str, Sequence[dict]], quantity: str, label: str) -> bytes | None:
    """Draws a quantity over the epochs of one or several trainings.

    Args:
        histories: By the training's title, what `history.read_history` returns.
        quantity: A name in it, such as `"accuracy"`. With `val_` before it, it is that of the
            validation pictures; that line is solid, the other dashed.
        label: Of the vertical axis.

    Returns:
        The content of a PNG file; `None` if there is nothing to draw.
    """
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(5, 3.4)
    axes = figure.subplots()
    for index, (title, rows) in enumerate(histories.items()):
        for prefix, style, part in (("val_", "-", "validation"), ("", "--", "training")):
            name = prefix + quantity
            measured = [(row["epoch"], row[name]) for row in rows if row.get(name) is not None]
            if measured:
                # One epoch is a point, which no line shows.
                marker = "o" if len(measured) == 1 else None
                axes.plot(
                    *zip(*measured, strict=True),
                    linestyle=style,
                    marker=marker,
                    color=f"C{index}",
                    linewidth=1.8 if prefix else 1.2,
                    label=f"{title}, {part}",
                )
    if not axes.lines:
        return None
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure_png(figure, dpi=160)
