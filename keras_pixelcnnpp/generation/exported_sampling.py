"""Drawing pictures with an exported model."""

import numpy as np

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.exported_model import ExportedModel
from keras_pixelcnnpp.generation.class_samples import ClassSamples


def sample_exported(
    exported: ExportedModel,
    labels: np.ndarray,
    seed: int = 0,
    temperature: float = 1.0,
    batch_size: int = 100,
) -> ClassSamples:
    """Draws pictures with the endpoint `sample`.

    Args:
        exported: The exported model.
        labels: int `[count]`, the class of each picture.
        seed: From 0 to 2^31 − 1. Pictures depend on it, on their position and on `batch_size`.
        temperature: Above 0; below 1, safer and smoother pictures.
        batch_size: How many pictures are drawn at once, which bounds the memory.
    """
    labels = np.asarray(labels, "int32")
    batches = [
        sample_batch(exported, labels, start, seed, temperature, batch_size).levels
        for start in range(0, len(labels), batch_size)
    ]
    levels = np.concatenate(batches)
    return ClassSamples(levels, labels, exported.class_names, exported.num_levels)


def sample_batch(
    exported: ExportedModel,
    labels: np.ndarray,
    start: int,
    seed: int,
    temperature: float,
    batch_size: int,
) -> ClassSamples:
    """Draws one batch of what `sample_exported` draws: that of the picture `start` and the next.

    Args:
        exported: The exported model.
        labels: int32 `[count]`, the class of each picture of all batches.
        start: A multiple of `batch_size`.
        seed: As for `sample_exported`, and so are the next two.
        temperature: Above 0.
        batch_size: How many pictures are drawn at once.
    """
    labels = labels[start : start + batch_size]
    levels = exported.run(
        "sample",
        labels=labels,
        seed=_batch_seed(seed, start),
        temperature=float(temperature),
    )["images"]
    return ClassSamples(levels, labels, exported.class_names, exported.num_levels)


def class_label(exported: ExportedModel, name: str) -> int:
    """The label of a class, given its name or, as a text, its number.

    Raises:
        UserError: if there is no such class; the message names those that exist.
    """
    names = exported.class_names
    if name in names:
        return names.index(name)
    if name.isdecimal() and int(name) < len(names):
        return int(name)
    raise UserError(
        f"No class {name!r} in {exported.path}. It has: {', '.join(names)} "
        f"(or 0 to {len(names) - 1})"
    )


def _batch_seed(seed: int, start: int) -> int:
    # The endpoint counts positions from 0 in every batch; `seed + 1` would repeat in the second
    # batch what another seed draws in the first.
    return seed if start == 0 else int(np.random.default_rng([seed, start]).integers(2**31))
