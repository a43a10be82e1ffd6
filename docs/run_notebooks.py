"""Runs the tutorials with one epoch of each training, to see that they run: two at a time."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def run(path):
    """Runs a notebook in its folder; a cell that fails ends it."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.source = re.sub(r"(epochs[ =])\d+", r"\g<1>1", cell.source)
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=900, resources=resources).execute()
    print(f"{path.name} runs", flush=True)


if __name__ == "__main__":
    notebooks = (Path(__file__).parent / "tutorials").glob("*.ipynb")
    # Most of the time is imports and tracing, on one core.
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, sorted(notebooks, reverse=True)))
