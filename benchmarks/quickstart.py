"""Trains the model of the README's Python code, and measures it.

    taskset -c 0 python benchmarks/quickstart.py

Runs the code up to the evaluation. Minutes are of the processor, with compiling. Writes
`benchmarks/results/quickstart.json`.
"""

import re
import time

import typer
from common import RESULTS, ROOT, facts, save


def main():
    """Measure the quickstart."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)model\.evaluate\(", readme, re.DOTALL)[1]
    start, names = time.process_time(), {}
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102 - our own page
    minutes = (time.process_time() - start) / 60
    test = names["test"]
    metrics = names["model"].evaluate(test.images, test.labels, return_dict=True)
    save(facts() | {"minutes": minutes, **metrics}, RESULTS / "quickstart.json")


if __name__ == "__main__":
    typer.run(main)
