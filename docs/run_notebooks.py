"""Runs the tutorials, and keeps them with what they print and draw, for the site.

    python docs/run_notebooks.py [--quick] [docs/tutorials/digits.ipynb …]

Two at a time. A cell that fails ends it. The notebooks themselves stay as they are, without
outputs. With --quick every training has one epoch, to see that they run, and nothing is kept.
"""

import argparse
import re
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import nbformat
from nbclient import NotebookClient

DOCS = Path(__file__).resolve().parent


def run(path, quick):
    """Runs a notebook in its folder; returns the seconds that it took."""
    notebook = nbformat.read(path, as_version=4)
    if quick:
        for cell in notebook.cells:
            cell.source = re.sub(r"(epochs[ =])\d+", r"\g<1>1", cell.source)
    started = time.perf_counter()
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=900, coalesce_streams=True, resources=resources).execute()
    seconds = time.perf_counter() - started
    if quick:
        return seconds
    kept = DOCS / "_build" / "notebooks" / path.name
    kept.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, kept)
    return seconds


def main():
    """Runs those that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("notebooks", nargs="*", type=Path)
    options = parser.parse_args()
    paths = options.notebooks or sorted((DOCS / "tutorials").glob("*.ipynb"), reverse=True)
    started = time.perf_counter()
    # Most of the time is imports and tracing, on one core.
    with ThreadPoolExecutor(2) as pool:
        for path, seconds in zip(paths, pool.map(run, paths, repeat(options.quick)), strict=True):
            print(f"{path.name}: {seconds:.0f} s", flush=True)
    print(f"Together: {(time.perf_counter() - started) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
