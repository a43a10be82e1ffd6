"""Changes operators and numbers of the library, one at a time, and runs the tests of these lines.

Prints each change that no test notices. `make mutants` runs it in a copy of the last commit.
"""

import argparse
import itertools
import random
import shlex
import subprocess
import sys
import warnings
from pathlib import Path
from xml.etree import ElementTree as ET

PACKAGES = ("distributions", "layers", "models", "sampling", "codec", "data")
# Comparisons, arithmetic, numbers and Boolean values. `|` occurs in types, which are not evaluated.
OPERATORS = ("core/Replace", "core/Number", "core/Add", "core/Delete")
# Sum of the times of the tests of a change, in seconds, and the limit after which it is noticed.
SECONDS, LIMIT = 60, 300
PYTEST = (sys.executable, "-m", "pytest", "-q")
TIMES, SESSION = Path("build/times.xml"), Path("build/session.sqlite")
CONFIGURATION = """
[cosmic-ray]
module-path = {modules}
test-command = "true"
timeout = 1
excluded-modules = []
distributor.name = "local"
"""


def all_changes():
    """Returns all changes of the packages, in an order that depends only on the code."""
    from cosmic_ray.work_db import use_db  # only in the environment of `make mutants`

    def place(change):
        return f"{change.module_path}", change.start_pos, change.operator_name, change.occurrence

    config = SESSION.with_suffix(".toml")
    modules = [f"keras_pixelcnnpp/{package}" for package in PACKAGES]
    config.write_text(CONFIGURATION.format(modules=modules))
    program = Path(sys.executable).with_name("cosmic-ray")
    subprocess.run([program, "init", config, SESSION], check=True)
    with use_db(SESSION) as database:
        return sorted((item.mutations[0] for item in database.work_items), key=place)


def is_wanted(change):
    """Returns whether a change has a wanted operator, and the changed file is a program."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    name = change.operator_name
    if not name.startswith(OPERATORS) or "BinaryOperator_BitOr" in name:
        return False
    operator = get_operator(name)(**change.operator_args)
    code = mutate_code(change.module_path.read_text(), operator, change.occurrence)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # such as that of `name is "digits"`
            compile(code, str(change.module_path), "exec")
    except SyntaxError:  # `**options` is taken for an operator
        return False
    return True


def record():
    """Runs the tests once, and records their times and the lines that each of them executes."""
    options = ["--cov=keras_pixelcnnpp", "--cov-context=test", "--cov-report=", "--junitxml", TIMES]
    folders = [f"tests/{package}" for package in PACKAGES]
    subprocess.run([*PYTEST, *options, *folders], check=True)


def recorded_times():
    """Returns the seconds of each test."""
    cases = ET.parse(TIMES).iter("testcase")  # noqa: S314
    return {
        f"{case.get('classname').replace('.', '/')}.py::{case.get('name')}": float(case.get("time"))
        for case in cases
    }


def tests_of(change, lines, times):
    """Returns the tests that execute a change, shortest first, up to `SECONDS`.

    `lines` are the contexts of each line of the file: a test and its phase, or "" for the import.
    The tests of the whole file are returned for lines that only its import executes.
    """
    changed = range(change.start_pos[0], change.end_pos[0] + 1)
    contexts = {context for line in changed for context in lines.get(line, ())}
    if not contexts - {""}:
        contexts = {context for others in lines.values() for context in others}
    names = {context.rpartition("|")[0] for context in contexts} & times.keys()
    chosen, total = [], 0
    for name in sorted(names, key=times.get):
        total += times[name]
        if chosen and total > SECONDS:
            break
        chosen.append(name)
    return chosen


def main(count, seed):
    from cosmic_ray.mutating import mutate_and_test
    from coverage import CoverageData

    SESSION.parent.mkdir(exist_ok=True)
    record()
    data, times = CoverageData(), recorded_times()
    data.read()
    changes = all_changes()
    random.Random(seed).shuffle(changes)  # noqa: S311
    noticed = 0
    for number, change in enumerate(itertools.islice(filter(is_wanted, changes), count), start=1):
        lines = data.contexts_by_lineno(str(change.module_path.resolve()))
        tests = tests_of(change, lines, times)
        command = shlex.join([*PYTEST, "-x", *tests]) if tests else "true"
        result = mutate_and_test([change], command, LIMIT)
        is_noticed = result.test_outcome == "killed"
        noticed += is_noticed
        place = f"{change.module_path}:{change.start_pos[0]}"
        print(f"{noticed} of {number} noticed, after {place}", flush=True)
        if not is_noticed:
            print(f"{result.diff}\nnot noticed by {len(tests)} tests", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="number of changes")
    parser.add_argument("--seed", type=int, default=0)
    main(**vars(parser.parse_args()))
