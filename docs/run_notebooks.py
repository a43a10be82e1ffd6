"""Runs the tutorials, and keeps them with what they print and draw, for the site.

    python docs/run_notebooks.py [docs/tutorials/digits.ipynb …]

A cell that fails ends it. The notebooks themselves stay as they are, without outputs.
"""

import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

DOCS = Path(__file__).resolve().parent


def run(path):
    """Runs a notebook in its folder; returns the seconds that it took."""
    notebook = nbformat.read(path, as_version=4)
    started = time.perf_counter()
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=900, coalesce_streams=True, resources=resources).execute()
    seconds = time.perf_counter() - started
    kept = DOCS / "_build" / "notebooks" / path.name
    kept.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, kept)
    return seconds


def main():
    """Runs those that are named, or all."""
    named = [Path(name) for name in sys.argv[1:]]
    total = 0.0
    for path in named or sorted((DOCS / "tutorials").glob("*.ipynb")):
        seconds = run(path)
        total += seconds
        print(f"{path.name}: {seconds:.0f} s", flush=True)
    print(f"Together: {total / 60:.1f} minutes")


if __name__ == "__main__":
    main()
