"""`pixelcnnpp savedmodel classify`."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def classify(
    savedmodel: Annotated[Path, typer.Argument(help="runs/NAME/savedmodel, or one version in it.")],
    images: Annotated[list[Path], typer.Argument(help="PNG or JPEG files of any size.")],
    csv: Annotated[Path | None, typer.Option(help="Write the predictions here too.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures per step.")] = 64,
) -> None:
    """Classify pictures with an exported model."""
    import numpy as np

    from keras_pixelcnnpp.classification import SavedModelClassifier, write_predictions
    from keras_pixelcnnpp.datasets.images import to_levels
    from keras_pixelcnnpp.errors import UserError

    classifier = SavedModelClassifier(savedmodel, batch_size=batch_size)
    pictures, names, num_bad = _read(images, classifier.image_shape)
    if not pictures:
        raise UserError("None of the files can be classified.")
    levels = to_levels(np.stack(pictures), classifier.num_levels)
    result = classifier.classify(levels)
    _print_table(names, result, classifier.class_names)
    if csv is not None:
        write_predictions(csv, names, [-1] * len(names), result["probabilities"])
        print(f"Wrote {csv}")
    if num_bad:
        raise typer.Exit(2)


def _read(paths: list[Path], image_shape: tuple[int, int, int]) -> tuple[list, list[str], int]:
    """Reads what can be read; says in one line each what cannot, and counts it."""
    from keras_pixelcnnpp.datasets.images import read_image
    from keras_pixelcnnpp.errors import UserError

    pictures, names = [], []
    for path in paths:
        try:
            pictures.append(read_image(path, image_shape))
            names.append(str(path))
        except UserError as error:
            print(f"pixelcnnpp: error: {error}", file=sys.stderr)
    return pictures, names, len(paths) - len(pictures)


def _print_table(names: list[str], result: dict, class_names: tuple[str, ...]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    table.add_column("picture", overflow="fold")
    table.add_column("class")
    table.add_column("probability", justify="right")
    table.add_column("bits/dim", justify="right")
    rows = zip(
        names, result["class_id"], result["probabilities"], result["bits_per_dim"], strict=True
    )
    for name, class_id, probabilities, bits in rows:
        chosen = class_names[class_id]
        table.add_row(name, chosen, f"{probabilities[class_id]:.1%}", f"{bits:.3f}")
    Console().print(table)
