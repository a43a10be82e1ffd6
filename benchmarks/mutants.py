"""Changes operators and numbers of the library, one at a time, and runs the tests of its package.

Prints each change that no test notices. `make mutants` runs it in a copy of the last commit.
"""

import argparse
import random
import shlex
import subprocess
import sys
from pathlib import Path

PACKAGES = ("distributions", "layers", "models", "sampling", "codec", "data")
# Comparisons, arithmetic, numbers and Boolean values. `|` occurs in types, which are not evaluated.
OPERATORS = ("core/Replace", "core/Number", "core/Add", "core/Delete")
CONFIGURATION = """
[cosmic-ray]
module-path = "keras_pixelcnnpp/{package}"
test-command = "{tests}"
timeout = 900
excluded-modules = []
distributor.name = "local"
"""


def sampled(items, count, seed):
    """Returns `count` of the changes, which depend only on the seed and the code."""

    def place(item):
        (change,) = item.mutations
        return f"{change.module_path}", change.start_pos, change.operator_name, change.occurrence

    def is_wanted(item):
        name = item.mutations[0].operator_name
        return name.startswith(OPERATORS) and "BinaryOperator_BitOr" not in name

    wanted = sorted(filter(is_wanted, items), key=place)
    return random.Random(seed).sample(wanted, min(count, len(wanted)))  # noqa: S311


def run(program, *arguments):
    """Runs a program of this environment."""
    subprocess.run([str(Path(sys.executable).with_name(program)), *arguments], check=True)


def main(count, seed, python):
    from cosmic_ray.work_db import use_db  # only in the environment of `make mutants`

    folder = Path("build")
    folder.mkdir(exist_ok=True)
    for package in PACKAGES:
        config, session = folder / f"{package}.toml", folder / f"{package}.sqlite"
        session.unlink(missing_ok=True)
        tests = shlex.join([python, "-m", "pytest", "-q", "-x", f"tests/{package}"])
        config.write_text(CONFIGURATION.format(package=package, tests=tests))
        given = [str(config), str(session)]
        run("cosmic-ray", "init", *given)
        with use_db(str(session)) as database:
            chosen = sampled(database.work_items, count // len(PACKAGES), seed)
            database.clear()
            database.add_work_items(chosen)
        run("cosmic-ray", "exec", *given)
        run("cr-report", "--surviving-only", "--show-diff", str(session))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="number of changes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--python", default=sys.executable, help="the Python that runs the tests")
    main(**vars(parser.parse_args()))
