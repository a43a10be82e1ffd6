"""Labelled pictures: where they come from, and how they reach `fit`."""

import importlib

_HOMES = {
    "Dataset": "dataset",
    "ImageSequence": "batches",
    "LabelledImages": "dataset",
    "load_dataset": "load",
    "read_image": "images",
    "to_levels": "images",
    "to_pixels": "images",
}

__all__ = list(_HOMES)


def __getattr__(name):
    # On demand: batches need Keras, which takes seconds to import; a run's report doesn't.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
