"""The commands `pixelcnnpp evaluate`: measures, keeps the results, and writes the page."""

from dataclasses import fields

from keras_pixelcnnpp.commands.helpers import command_line
from keras_pixelcnnpp.evaluate.measurements import MEASUREMENTS, DataOptions, Measurement
from keras_pixelcnnpp.evaluate.report import write_page
from keras_pixelcnnpp.evaluate.subject import Subject
from keras_pixelcnnpp.training.run import locked_around
from keras_pixelcnnpp.utils.errors import UserError, say
from keras_pixelcnnpp.utils.files import atomic_files, write_json


def measure(measurement: Measurement, options: DataOptions, subject: Subject | None = None) -> None:
    """Measures, replaces the results of an earlier measurement on the same images, and the page."""
    subject = subject or Subject(options)
    if reason := measurement.reason(subject):
        raise UserError(reason)
    run, file = subject.run, f"{measurement.name}.json"
    with locked_around(subject.folder) if run is None else run.locked():
        # Files of an earlier measurement, which would not match this one, are removed.
        subject.asks_cnn = False
        with atomic_files(subject.folder, (file, *measurement.writes)) as folder:
            report = measurement.measure(subject, options, folder)
            if report is not None:
                facts = {"data": subject.data, "weights": subject.used()}
                facts |= {"command": command_line(), "notes": subject.notes}
                write_json(folder / file, {**facts, **report})
            written = sorted(path.name for path in folder.iterdir())
        write_page(subject)
    say(f"Wrote {', '.join(written)} and index.html to {subject.folder}")


def measure_all(options: DataOptions) -> None:
    """Runs all measurements that apply, and prints why the others do not."""
    subject = Subject(options)
    for measurement in MEASUREMENTS:
        if reason := measurement.reason(subject):
            say(f"Left out: {measurement.name}. {reason}")
            continue
        names = {one.name for one in fields(measurement.options)}
        shared = {name: value for name, value in vars(options).items() if name in names}
        measure(measurement, measurement.options(**shared), subject)
    report(options, subject)


def report(options: DataOptions, subject: Subject | None = None) -> None:
    """Writes the page."""
    subject = subject or Subject(options)
    with locked_around(subject.folder):
        write_page(subject)
    say(f"Wrote {subject.folder / 'index.html'}")
