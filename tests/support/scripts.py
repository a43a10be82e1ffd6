"""The programs beside the package, as modules."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def script(path):
    """The module of a file such as `"benchmarks/preset.py"`."""
    specification = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
