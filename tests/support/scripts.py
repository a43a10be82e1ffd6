"""The programs beside the package, as modules."""

import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def script(path):
    """The module of a file such as `"benchmarks/preset.py"`."""
    folder = str((ROOT / path).parent)
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(Path(path).stem)
