"""Checks of results of the fixture `pixelcnnpp`, and files that commands write."""

import csv

from keras_pixelcnnpp.utils.files import read_json

# Options of `train` for a model that is trained for a moment.
SMALL_OPTIONS = (
    *("--network", "pixelcnn", "--filters", 4, "--num-blocks", 1, "--num-mixtures", 1),
    *("--epochs", 1, "--batch-size", 12),
)


def done(result):
    """Checks that a command succeeded; returns its output."""
    status, out, err = result
    assert status == 0, err
    return out


def one_line(result, *fragments):
    """Checks that a command failed with a one-line error that contains `fragments`."""
    status, _, err = result
    assert status == 2
    assert err.startswith("pixelcnnpp: error: ")
    assert err.count("\n") == 1
    for fragment in fragments:
        assert fragment in err


def read_rows(path):
    """Returns the rows of a CSV file as dicts."""
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def report_of(run, name):
    """Returns the content of the file of a measurement."""
    return read_json(run.reports / f"{name}.json")
