"""Runs the tutorials, in their folder.

    python docs/run_notebooks.py                    # with one epoch of each model
    python docs/run_notebooks.py --store [digits]   # all epochs; stores the outputs

The first says whether they run.
"""

import argparse
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

TUTORIALS = Path(__file__).parent / "tutorials"


def run(notebook):
    """Fills in the outputs of a notebook; a cell that fails ends it."""
    resources = {"metadata": {"path": str(TUTORIALS)}}
    NotebookClient(notebook, timeout=1800, resources=resources, record_timing=False).execute()


def check(path):
    """Runs a notebook with one epoch of each model, and stores nothing."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.source = re.sub(r"(epochs[ =])\d+", r"\g<1>1", cell.source)
    try:
        run(notebook)
    except CellExecutionError as error:
        if "cannot be downloaded" not in str(error):
            raise
        print(f"{path.name} is skipped: its data cannot be downloaded", flush=True)
    else:
        print(f"{path.name} runs", flush=True)


def store(path):
    """Runs a notebook as it is, and stores it with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    metadata = notebook.metadata.copy()
    run(notebook)
    notebook.metadata = metadata  # without the version of Python
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = printed(cell.outputs)
    nbformat.write(notebook, path)
    print(f"{path.name} is stored", flush=True)


def printed(outputs):
    """The outputs, each stream in one piece; without stderr, where TensorFlow logs."""
    kept = []
    for output in outputs:
        if output.get("name") == "stderr":
            continue
        if kept and output.get("name") == "stdout" == kept[-1].get("name"):
            kept[-1].text += output.text
        else:
            kept.append(output)
    return kept


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", action="store_true", help="run all epochs and store the outputs")
    parser.add_argument("names", nargs="*", help="of notebooks; all by default")
    options = parser.parse_args()
    paths = sorted(TUTORIALS.glob("*.ipynb"), reverse=True)
    if options.names:
        paths = [path for path in paths if path.stem in options.names]
    # Most of the time is imports and tracing, on one core.
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(store if options.store else check, paths))
