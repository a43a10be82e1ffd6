"""The commands `pixelcnnpp evaluate`: measures, keeps the results, and writes the page."""

import tempfile
from dataclasses import fields
from pathlib import Path

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.evaluate.measurements import DataOptions, Measurement, measurements
from keras_pixelcnnpp.evaluate.report import write_pages
from keras_pixelcnnpp.evaluate.subject import Subject
from keras_pixelcnnpp.files import write_bytes, write_json


def measure(measurement: Measurement, options: DataOptions, subject: Subject | None = None) -> None:
    """Measures, replaces the results of an earlier measurement on the same images, and the page."""
    subject = subject or Subject(options)
    if reason := measurement.reason_against(subject):
        raise UserError(reason)
    if subject.run is not None:
        subject.run.require_model("pixelcnnpp")
    with tempfile.TemporaryDirectory() as temporary:
        report = measurement.measure(subject, options, Path(temporary))
        if report is not None:
            given = options.chosen | ({"data": subject.data} if subject.data else {})
            facts = {"data": subject.data, "weights": subject.weights(measurement)}
            path = Path(temporary, f"{measurement.name}.json")
            write_json(path, {"options": given, **facts, **report})
        written = _replace(measurement, Path(temporary), subject.folder)
    write_pages(subject)
    print(f"Wrote {', '.join(written)} and index.html to {subject.folder}")


def _replace(measurement: Measurement, new: Path, folder: Path) -> list[str]:
    """Moves the files in `new` to `folder` in place of earlier ones; returns their names."""
    for pattern in (f"{measurement.name}.json", *measurement.writes):
        for earlier in folder.glob(pattern):
            earlier.unlink()
    files = sorted(new.iterdir())
    for file in files:
        write_bytes(folder / file.name, file.read_bytes())
    return [file.name for file in files]


def measure_all(options: DataOptions) -> None:
    """Runs all measurements that apply, and prints why the others do not."""
    subject = Subject(options)
    for measurement in measurements():
        if reason := measurement.reason_against(subject):
            print(f"Left out: {measurement.name}. {reason}")
            continue
        names = {one.name for one in fields(measurement.options)}
        shared = {name: value for name, value in vars(options).items() if name in names}
        measure(measurement, measurement.options(**shared), subject)
    report(options, subject)


def report(options: DataOptions, subject: Subject | None = None) -> None:
    """Writes the page, and prints the commands for missing and outdated results."""
    subject = subject or Subject(options)
    for line in write_pages(subject):
        print(line)
    print(f"Wrote {subject.folder / 'index.html'}")
