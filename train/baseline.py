"""Training the baseline CNN into a run folder."""

from collections.abc import Callable

import keras
import numpy as np
from sklearn.metrics import log_loss

from keras_pixelcnnpp import backend
from keras_pixelcnnpp.classifiers import BaselineClassifier
from keras_pixelcnnpp.data.batches import ImageSequence
from keras_pixelcnnpp.data.dataset import (
    Dataset,
    LabelledImages,
    measured_pictures,
    training_pictures,
)
from keras_pixelcnnpp.errors import argument_errors
from keras_pixelcnnpp.files import atomic_path
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.train.checkpoints import Checkpoints
from keras_pixelcnnpp.train.loop import Phase, averaged_adam, fit
from keras_pixelcnnpp.train.monitors import HistoryFile, ValidationMonitor
from keras_pixelcnnpp.train.tensorboard import tensorboard_callbacks

TRAINING_DEFAULTS = {
    "epochs": 25,
    "batch_size": 64,
    "learning_rate": 2e-3,
    "weight_decay": 0.02,
    "ema_momentum": 0.99,
    "gradient_clip_norm": 0.0,
    "precision": "float32",
    "jit_compile": None,
    "seed": 0,
    "limit": None,
}


def train_baseline(
    dataset: Dataset,
    run: RunFolder,
    training: dict,
    data_config: dict,
    *,
    horizontal_flip: bool,
    resume: bool = False,
    overwrite: bool = False,
    verbose: int | str = "auto",
) -> BaselineCNN:
    """Trains the CNN and writes `config.json`, checkpoints, logs and `baseline.keras`.

    Args:
        dataset: The data; its split `train` is trained on, `validation` is measured on.
        run: The run folder.
        training: Options by name; `None` and what is missing come from `TRAINING_DEFAULTS`.
        data_config: The section `data` of `config.json`.
        horizontal_flip: Whether a mirrored picture is as good as the picture.
        resume: As in `RunFolder.start`.
        overwrite: As in `RunFolder.start`.
        verbose: Keras's.

    Returns:
        The trained model.

    Raises:
        UserError: if an option or the run folder is wrong.
        TrainingStopped: if a signal asked for it.
    """
    given = {name: value for name, value in training.items() if value is not None}
    training = {**TRAINING_DEFAULTS, **given}
    training["jit_compile"] = backend.jit_compile(training["jit_compile"])
    keras.utils.set_random_seed(training["seed"])
    choice = {"limit": training["limit"], "seed": training["seed"]}
    pictures = training_pictures(dataset.split("train"), with_labels=True, **choice)
    validation = measured_pictures(dataset, "validation", with_labels=True)
    batches = ImageSequence(
        pictures.images,
        pictures.labels,
        batch_size=training["batch_size"],
        num_classes=dataset.num_classes,
        seed=training["seed"],
    )
    with backend.dtype_policy(training["precision"]):
        with argument_errors():
            model = BaselineCNN(
                image_shape=dataset.image_shape,
                num_classes=dataset.num_classes,
                num_levels=dataset.num_levels,
                horizontal_flip=horizontal_flip,
            )
            optimizer = make_optimizer(training, steps=training["epochs"] * len(batches))
            model.compile(optimizer=optimizer, jit_compile=training["jit_compile"])
        config = {
            "options": {**training, "horizontal_flip": horizontal_flip},
            "model": model.get_config(),
            "parameters": model.count_params(),
            "versions": backend.versions(),
        }
        run.start(
            "baseline",
            config,
            data_config,
            resume=resume,
            overwrite=overwrite,
            may_change=("gradient_clip_norm", "jit_compile"),
        )
        model({"image": pictures.images[:1], "label": pictures.labels[:1]})
        print(f"Baseline CNN, {model.count_params():,} weights: {backend.describe(model)}")

    monitor = ValidationMonitor(measurement(model), validation)
    logs = tensorboard_callbacks(run, "baseline", dataset, pictures, monitor)
    history = HistoryFile(run.history_json("baseline"))
    checkpoints = Checkpoints(run.checkpoints("baseline"))
    phases = [Phase(batches, training["epochs"])]
    fit(model, phases, checkpoints, [monitor, history, *logs], resume=resume, verbose=verbose)
    with atomic_path(run.baseline_keras) as temporary:
        model.save(temporary)
    return model


def make_optimizer(training: dict, steps: int) -> keras.optimizers.Optimizer:
    """AdamW whose learning rate rises for a twentieth of the steps, then falls as a cosine."""
    peak = training["learning_rate"]
    warmup = max(1, steps // 20)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.1 * peak, max(1, steps - warmup), warmup_target=peak, warmup_steps=warmup
    )
    return averaged_adam(schedule, training, weight_decay=training["weight_decay"])


def measurement(model: BaselineCNN) -> Callable:
    """A function of a `LabelledImages` for `ValidationMonitor`."""

    def measure(split: LabelledImages) -> tuple[dict[str, float], np.ndarray]:
        probabilities = BaselineClassifier(model).predict_proba(split.images)
        predicted = probabilities.argmax(axis=1)
        measured = {
            "accuracy": float(np.mean(predicted == split.labels)),
            "cross_entropy": float(
                log_loss(split.labels, probabilities, labels=np.arange(model.num_classes))
            ),
        }
        return measured, predicted

    return measure
