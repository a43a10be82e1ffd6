"""Writes `first_edition/`: what the version of commit 52b0097, before the restructuring, leaves.

Written once, under TensorFlow on a CPU, and not to be written again: the files stand for those
that users have. The imports below are those of that version, so run it in a clone of it:

    git clone . ../first && cd ../first && git checkout 52b0097 && make .venv/installed
    .venv/bin/python PATH/OF/THIS/write.py

All have a few steps of training behind them. `pixelcnnpp.keras` and `preset/`, the same model, have
every strategy of conditioning at once; that of `savedmodel/` is smaller, for its graph's sake.
`run/` is what a Ctrl-C in the second of three epochs left, but for TensorBoard's event files, which
carry the host's name. `numbers.npz` holds the inputs and what the models make of them, and under
`run/` what the same training gives that is not interrupted.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path
from unittest import mock

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf

import keras_pixelcnnpp as kp
from keras_pixelcnnpp import cli
from keras_pixelcnnpp.conditioning.registry import STRATEGIES
from keras_pixelcnnpp.savedmodel.exported_pixelcnn import export_saved_model
from keras_pixelcnnpp.training import pixelcnnpp as training

FOLDER = Path(__file__).parent / "first_edition"
CLASS_NAMES = ("dark", "grey", "bright")
NUM_LEVELS = 8
# tests/compatibility/test_first_edition.py resumes the run with the same.
TRAIN = (
    *("train", "pixelcnnpp", "--data", "digits", "--preset", "digits", "--limit", "60"),
    *("--epochs", "3", "--warmup-epochs", "1", "--batch-size", "20", "--candidates", "2"),
    *("--filters", "6", "--num-resolutions", "1", "--num-mixtures", "2", "--conditioning", "bias"),
    *("--label-dropout-rate", "0.1", "--learning-rate-warmup", "2", "--gradient-clip-norm", "10"),
    *("--sample-every", "0", "--seed", "1"),
)


class Interrupt(keras.callbacks.Callback):
    """Ctrl-C within the second step of the second epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == (1, 1):
            signal.raise_signal(signal.SIGINT)


def pictures(count, seed):
    """Noise whose brightness depends on the class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype="int32") % len(CLASS_NAMES)
    images = rng.integers(0, 4, (count, 4, 4, 3)) + 2 * labels[:, None, None, None]
    return images.astype("uint8"), labels


def move_all(model):
    """Nothing stays at its initial value: not what a few steps don't reach either."""
    rng = np.random.default_rng(2)
    for variable in model.trainable_variables:
        variable.assign_add(0.05 * rng.standard_normal(variable.shape))


def pixelcnnpp(filters, conditioning):
    model = kp.PixelCNNPlusPlus(
        (4, 4, 3),
        len(CLASS_NAMES),
        NUM_LEVELS,
        filters=filters,
        num_resolutions=len(filters),
        num_mixtures=2,
        conditioning=conditioning,
        dropout_rate=0.2,
        label_dropout_rate=0.1,
        label_loss_weight=0.5,
        initial_temperature=0.2,
    )
    images, labels = pictures(24, 0)
    model.initialize(images, labels)
    schedule = kp.WarmUpThenDecay(3e-3, decay_rate=0.99, warmup_steps=2)
    model.compile(kp.FusedAdam(schedule, use_ema=True, ema_momentum=0.9), jit_compile=False)
    candidates = (labels[:, None] + np.arange(len(CLASS_NAMES))) % len(CLASS_NAMES)
    model.fit({"image": images, "label": candidates}, batch_size=8, epochs=3, verbose=2)
    move_all(model)
    return model


def baseline():
    model = kp.BaselineCNN(
        (4, 4, 3), len(CLASS_NAMES), NUM_LEVELS, filters=(4, 6), num_blocks=1, horizontal_flip=True
    )
    images, labels = pictures(24, 0)
    model.compile(kp.FusedAdam(3e-3, weight_decay=0.01), jit_compile=False)
    model.fit({"image": images, "label": labels}, batch_size=8, epochs=3, verbose=2)
    move_all(model)
    return model


def command(*arguments):
    with mock.patch.object(sys, "argv", ["pixelcnnpp", *map(str, arguments)]):
        try:
            cli.main()
        except SystemExit as end:
            if end.code:
                raise


def interrupted_run(path):
    interrupted = partial(training.train_pixelcnnpp, callbacks=[Interrupt()])
    with mock.patch.object(training, "train_pixelcnnpp", interrupted):
        command(*TRAIN, "--run", path)
    for events in path.rglob("events.out.tfevents.*"):
        events.unlink()
    folders = [folder for folder in path.rglob("*") if folder.is_dir()]
    for folder in sorted(folders, reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


def of_uninterrupted_run():
    with tempfile.TemporaryDirectory() as folder:
        command(*TRAIN, "--run", folder)
        model = keras.saving.load_model(Path(folder, "model.keras"))
        rows = json.loads(Path(folder, "logs", "pixelcnnpp", "history.json").read_text())
    numbers = {f"weight_{i:03d}": weight for i, weight in enumerate(model.get_weights())}
    for name in rows[-1]:
        if name not in ("epoch", "seconds"):
            numbers[f"history_{name}"] = np.array([row.get(name, np.nan) for row in rows])
    return {f"run/{name}": value for name, value in numbers.items()}


def of_model(model, images, labels):
    return {
        "log_prob": model.log_prob(images, labels),
        "log_prob_without_label": model.log_prob(images, np.full_like(labels, len(CLASS_NAMES))),
        "class_log_likelihoods": model.class_log_likelihoods(images),
        "class_probabilities": model.class_probabilities(images),
        "bits_per_dim": model.bits_per_dim(images),
        "evidence_map": model.evidence_map(images, labels, (labels + 1) % len(CLASS_NAMES)),
        "sample": model.sample(labels, seed=0),
        "sample_guided": model.sample(labels, seed=1, temperature=0.8, guidance=0.5),
        "complete": model.complete(images, 2, labels),
    }


def of_saved_model(path, images, labels):
    signatures = tf.saved_model.load(str(path)).signatures
    encoded = [tf.io.encode_png(pixels).numpy() for pixels in images * 32]
    results = {
        "classify": signatures["classify"](images=tf.constant(images)),
        "classify_bytes": signatures["classify_bytes"](image_bytes=tf.constant(encoded)),
        "log_prob": signatures["log_prob"](images=tf.constant(images), labels=tf.constant(labels)),
        "sample": signatures["sample"](
            labels=tf.constant(labels), seed=tf.constant(0), temperature=tf.constant(1.0)
        ),
    }
    return {
        f"savedmodel/{endpoint}/{name}": value.numpy()
        for endpoint, result in results.items()
        for name, value in result.items()
    }


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    keras.utils.set_random_seed(0)
    images, labels = pictures(7, 1)
    model, cnn = pixelcnnpp((4, 6), "+".join(STRATEGIES)), baseline()
    served = pixelcnnpp((4,), "bias+mixture_head")
    model.save(FOLDER / "pixelcnnpp.keras")
    cnn.save(FOLDER / "baseline.keras")
    model.save_to_preset(FOLDER / "preset", {"epochs": 3}, {"data": "noise"})
    config = {"pixelcnnpp": {"options": {"epochs": 3}}}
    export_saved_model(served, FOLDER / "savedmodel" / "1", CLASS_NAMES, config)
    interrupted_run(FOLDER / "run")
    numbers = {
        "images": images,
        "labels": labels,
        **of_model(model, images, labels),
        "baseline/class_probabilities": cnn.class_probabilities(images),
        **of_saved_model(FOLDER / "savedmodel" / "1", images, labels),
        **of_uninterrupted_run(),
    }
    np.savez_compressed(FOLDER / "numbers.npz", **numbers)


if __name__ == "__main__":
    main()
