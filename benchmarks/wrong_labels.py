"""Does a run find the wrong labels among those that it was trained with?

    pixelcnnpp train baseline   --data digits --label-noise 0.1 --run runs/wrong
    pixelcnnpp train pixelcnnpp --data digits --label-noise 0.1 --run runs/wrong
    python benchmarks/wrong_labels.py runs/wrong

Each model gives every training image the probability of the label that it was given, the smaller
the more suspicious. Measured are the AUROC with which that tells wrong labels from right ones, its
95 % interval, and how many of the most suspicious images, as many as there are wrong labels, have
one.
"""

from pathlib import Path

import keras
import numpy as np
from common import argument_parser, save, show

from keras_pixelcnnpp.evaluate.metrics.classifiers import auroc_interval
from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.train.data import training_labels


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("run", type=Path)
    options = parser.parse_args()
    run = RunFolder(options.run)
    train = run.load_data().split("train")
    given = training_labels(train, run.read_config()["data"])
    train, given = train.take(given >= 0), given[given >= 0]
    wrong = given != train.labels
    models = {}
    for name, file in (("pixelcnnpp", run.model_keras), ("baseline", run.baseline_keras)):
        probabilities = keras.saving.load_model(file).class_probabilities(train.images)
        suspicion = -probabilities[np.arange(len(given)), given]
        area, interval = auroc_interval(suspicion[~wrong], suspicion[wrong])
        most = np.argsort(-suspicion, kind="stable")[: wrong.sum()]
        precision = float(wrong[most].mean())
        models[name] = {"auroc": area, "auroc_ci95": list(interval), "precision": precision}
    show([{"model": name} | numbers for name, numbers in models.items()])
    save({"count": len(given), "wrong": int(wrong.sum()), "models": models}, options.output)


if __name__ == "__main__":
    main()
