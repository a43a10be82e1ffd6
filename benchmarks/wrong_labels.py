"""Does a run find the wrong labels among those that it was trained with?

    pixelcnnpp train baseline   --data digits --flip-labels 0.1 --run runs/wrong
    pixelcnnpp train pixelcnnpp --data digits --flip-labels 0.1 --run runs/wrong
    python benchmarks/wrong_labels.py runs/wrong

Each model gives every training picture the probability of the label that it was given, the smaller
the more suspicious. Prints, and writes to reports/wrong_labels.json, the AUROC with which that
tells wrong labels from right ones, its 95 % interval, and how many of the most suspicious pictures,
as many as there are wrong labels, have one.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from keras_pixelcnnpp.classifiers import BaselineClassifier
from keras_pixelcnnpp.evaluate.classification import load_baseline, load_classifier
from keras_pixelcnnpp.evaluate.figures import print_table
from keras_pixelcnnpp.evaluate.metrics.classifiers import auroc_interval
from keras_pixelcnnpp.files import write_json
from keras_pixelcnnpp.run import TITLES, RunFolder
from keras_pixelcnnpp.train.data import training_labels


def found(given, wrong, probabilities):
    """How well the probability of the `given` labels finds those that are `wrong`: for JSON."""
    suspicion = -probabilities[np.arange(len(given)), given]
    area, interval = auroc_interval(suspicion[~wrong], suspicion[wrong])
    most = np.argsort(-suspicion, kind="stable")[: wrong.sum()]
    return {"auroc": area, "auroc_ci95": list(interval), "precision": float(wrong[most].mean())}


def measure(folder, batch_size=64):
    """The numbers of `wrong_labels.json`."""
    data = folder.read_config()["data"]
    if not data.get("flip_labels"):
        raise SystemExit(f"{folder.path} was trained without --flip-labels")
    train = folder.load_data().split("train")
    labels = training_labels(train, data)
    train, labels, true = train.take(labels >= 0), labels[labels >= 0], train.labels[labels >= 0]
    judges = {"pixelcnnpp": load_classifier(folder, batch_size, verbose=0)}
    if (cnn := load_baseline(folder)) is not None:
        judges["baseline"] = BaselineClassifier(cnn)
    wrong = labels != true
    return {
        "count": len(labels),
        "wrong": int(wrong.sum()),
        "models": {
            name: found(labels, wrong, judge.predict_proba(train.images))
            for name, judge in judges.items()
        },
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    folder = RunFolder(parser.parse_args().run)
    report = measure(folder)
    write_json(folder.reports / "wrong_labels.json", report)
    rows = [
        (
            TITLES[name],
            f"{numbers['auroc']:.3f}",
            "–".join(f"{end:.3f}" for end in numbers["auroc_ci95"]),
            f"{numbers['precision']:.1%}",
        )
        for name, numbers in report["models"].items()
    ]
    print_table(
        ("", "AUROC", "95 % interval", "wrong among the most suspicious"),
        rows,
        title=f"{report['wrong']} wrong labels of {report['count']}",
    )


if __name__ == "__main__":
    main()
