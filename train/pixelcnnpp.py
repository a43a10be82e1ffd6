"""Training a PixelCNN++ into a run folder."""

import math
from collections.abc import Callable, Sequence

import keras
import numpy as np
from sklearn.metrics import log_loss

from keras_pixelcnnpp.atomic import atomic_path
from keras_pixelcnnpp.callbacks import Checkpoints, HistoryFile, ValidationMonitor
from keras_pixelcnnpp.classification.pixelcnn_classifier import PixelCNNClassifier
from keras_pixelcnnpp.datasets.dataset import Dataset
from keras_pixelcnnpp.datasets.image_sequence import ImageSequence
from keras_pixelcnnpp.datasets.labelled_images import LabelledImages
from keras_pixelcnnpp.errors import UserError, argument_errors
from keras_pixelcnnpp.metrics import bits_per_dim
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
from keras_pixelcnnpp.optimizers.warm_up_then_decay import WarmUpThenDecay
from keras_pixelcnnpp.run_folder import RunFolder
from keras_pixelcnnpp.training import environment
from keras_pixelcnnpp.training.averaged_adam import averaged_adam
from keras_pixelcnnpp.training.configuration_text import WATCHING
from keras_pixelcnnpp.training.data_parallel import DataParallel
from keras_pixelcnnpp.training.fitting import Phase, fit
from keras_pixelcnnpp.training.frechet import frechet_monitor
from keras_pixelcnnpp.training.initial_weights import copy_initial_weights
from keras_pixelcnnpp.training.logs import tensorboard_callbacks
from keras_pixelcnnpp.training.offsets import refit_offsets
from keras_pixelcnnpp.training.splits import measured_pictures, some, training_pictures

TRAINING_DEFAULTS = {
    "epochs": 100,
    "batch_size": 16,
    "learning_rate": 2e-4,
    "learning_rate_schedule": "exponential",
    "learning_rate_decay": 1.0,
    "learning_rate_warmup": None,
    "ema_momentum": 0.0,
    "gradient_clip_norm": 0.0,
    "candidates": None,
    "warmup_epochs": 0,
    "horizontal_flip": False,
    "crop_margin": 0,
    "initial_weights": None,
    "precision": "float32",
    "jit_compile": None,
    "sample_every": None,
    "histogram_every": 0,
    "frechet_every": 0,
    "seed": 0,
    "limit": None,
}
# What is left of the learning rate at the end of a cosine.
COSINE_END = 0.01
GIVEN_BY_DATA = ("image_shape", "num_classes", "num_levels")
MONITORED_TRAINING_PICTURES = 128
INITIALIZATION_PICTURES = 64


def resolve_options(preset: dict, overrides: dict, num_classes: int) -> tuple[dict, dict]:
    """A preset's values, overridden by what the user gave.

    Args:
        preset: `{"model": {...}, "training": {...}}`, as `load_preset_config` returns it.
        overrides: Options by name; `None` means "as the preset has it".
        num_classes: The number of classes of the data.

    Returns:
        The arguments of `PixelCNNPlusPlus` (without those that the data gives) and the training
        options.

    Raises:
        UserError: if options contradict each other.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    training = {**TRAINING_DEFAULTS, **preset["training"]}
    training = {name: given.pop(name, value) for name, value in training.items()}
    model = {**preset["model"], **given}
    model = {name: value for name, value in model.items() if name not in GIVEN_BY_DATA}
    if model.get("conditioning") == "none":
        num_classes = 0
    if training["candidates"] is None:
        training["candidates"] = num_classes if model.get("label_loss_weight") else 1
    _check(model, training, num_classes)
    return model, training


def train_pixelcnnpp(
    dataset: Dataset,
    run: RunFolder,
    model_options: dict,
    training: dict,
    data_config: dict,
    *,
    larger: LabelledImages | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    parallel: DataParallel | None = None,
    resume: bool = False,
    overwrite: bool = False,
    verbose: int | str = "auto",
) -> PixelCNNPlusPlus:
    """Trains a model and writes `config.json`, checkpoints, logs and `model.keras`.

    Args:
        dataset: The data; its split `train` is trained on, `validation` is measured on.
        run: The run folder.
        model_options: The model's arguments, from `resolve_options`.
        training: The training options, from `resolve_options`.
        data_config: The section `data` of `config.json`.
        larger: The split `train` read at a larger size (`crop_margin`), to be cropped at random.
        callbacks: More Keras callbacks; they are called before the measurement on `validation`.
        parallel: The devices that share the work. Of several workers only the chief writes.
        resume: As in `RunFolder.start`.
        overwrite: As in `RunFolder.start`.
        verbose: Keras's.

    Returns:
        The trained model, with averaged weights where `ema_momentum` is above 0. (On a worker
        that isn't the chief, its offsets are not refitted.)

    Raises:
        UserError: if an option or the run folder is wrong, or no picture has a label.
        TrainingStopped: if a signal asked for it.
    """
    is_chief = parallel is None or parallel.is_chief
    if parallel is not None:
        parallel.check_batch_size(training["batch_size"])
    keras.utils.set_random_seed(training["seed"])
    training = {
        **training,
        "jit_compile": environment.jit_compile(training["jit_compile"]),
        "sample_every": environment.sample_every(training["sample_every"]),
    }
    # Unconditional models use all pictures, labelled or not.
    num_classes = 0 if model_options.get("conditioning") == "none" else dataset.num_classes
    choice = {"with_labels": num_classes > 0, "limit": training["limit"], "seed": training["seed"]}
    pictures = training_pictures(dataset.split("train"), **choice)
    validation = measured_pictures(dataset, "validation", with_labels=num_classes > 0)
    with environment.dtype_policy(training["precision"]):
        with argument_errors():
            model = PixelCNNPlusPlus(
                image_shape=dataset.image_shape,
                num_classes=num_classes,
                num_levels=dataset.num_levels,
                **model_options,
            )
            steps = training["epochs"] * math.ceil(len(pictures) / training["batch_size"])
            optimizer = make_optimizer(training, steps)
            model.compile(optimizer=optimizer, jit_compile=training["jit_compile"])
        config = {
            "options": {**model_options, **training},
            "model": model.get_config(),
            "parameters": model.count_params(),
            "versions": environment.versions(),
        }
        if training["frechet_every"]:
            run.require_model("baseline")
        # Chosen at random: pictures often lie sorted by class.
        rows = np.random.default_rng(training["seed"]).permutation(len(pictures))
        sample = pictures.take(rows[:INITIALIZATION_PICTURES])
        model.initialize(sample.images, sample.labels)
        if training["initial_weights"] and not (resume and run.has_checkpoint("pixelcnnpp")):
            copy_initial_weights(training["initial_weights"], model)
        # Not before: the weights to start from may be those of the run to be overwritten.
        if is_chief:
            run.start(
                "pixelcnnpp",
                config,
                data_config,
                resume=resume,
                overwrite=overwrite,
                may_change=("epochs", "gradient_clip_norm", "jit_compile", *WATCHING),
            )
        devices = "" if parallel is None else f", {parallel.describe()}"
        print(
            f"PixelCNN++, {model.count_params():,} weights: {environment.describe(model)}{devices}"
        )

    monitor = ValidationMonitor(
        measurement(model, training["batch_size"]),
        validation,
        training=some(pictures, MONITORED_TRAINING_PICTURES, training["seed"]),
    )
    monitors = [monitor]
    if training["frechet_every"]:
        monitors.append(frechet_monitor(run, dataset, training["frechet_every"]))
    logs = []
    if is_chief:
        logs = tensorboard_callbacks(
            run,
            "pixelcnnpp",
            dataset,
            pictures,
            monitor,
            training["sample_every"],
            training["histogram_every"],
        )
    history = HistoryFile(run.history("pixelcnnpp"))
    checkpoints = Checkpoints(run.checkpoints("pixelcnnpp"))
    if larger is not None:
        larger = training_pictures(larger, **choice)
    phases = _phases(pictures, larger, training, num_classes)
    callbacks = [*callbacks, *monitors, history, *logs]
    fit(model, phases, checkpoints, callbacks, parallel=parallel, resume=resume, verbose=verbose)
    if is_chief:
        if model.posterior.learn_offsets:
            refit_offsets(model, pictures, training["batch_size"])
        with atomic_path(run.model_keras) as temporary:
            model.save(temporary)
    if parallel is not None:
        parallel.wait()  # a worker that leaves ends the others
    return model


def make_optimizer(training: dict, steps: int) -> keras.optimizers.Optimizer:
    """Adam with a learning rate that changes each step, and averaged weights.

    Args:
        training: The training options.
        steps: Steps of the whole training, at whose end a cosine is at its lowest.
    """
    peak = training["learning_rate"]
    warmup = training["learning_rate_warmup"] or 0
    if training["learning_rate_schedule"] == "cosine":
        schedule = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else peak,
            max(1, steps - warmup),
            alpha=COSINE_END,
            warmup_target=peak if warmup else None,
            warmup_steps=warmup,
        )
    else:
        schedule = WarmUpThenDecay(
            peak, decay_rate=training["learning_rate_decay"], warmup_steps=warmup
        )
    return averaged_adam(schedule, training)


def measurement(model: PixelCNNPlusPlus, batch_size: int) -> Callable:
    """A function of a `LabelledImages` for `ValidationMonitor`."""

    def measure(split: LabelledImages) -> tuple[dict[str, float], np.ndarray | None]:
        if not model.num_classes:
            bits = model.bits_per_dim(split.images, batch_size=batch_size, verbose=0)
            return {"bits_per_dim": float(np.mean(bits))}, None
        scores, probabilities = PixelCNNClassifier(model, batch_size).class_scores(split.images)
        predicted = probabilities.argmax(axis=1)
        of_label = np.take_along_axis(scores, split.labels[:, None].astype(int), axis=1)
        measured = {
            "bits_per_dim": float(np.mean(bits_per_dim(of_label, model.image_shape))),
            "accuracy": float(np.mean(predicted == split.labels)),
            "cross_entropy": float(
                log_loss(split.labels, probabilities, labels=np.arange(model.num_classes))
            ),
        }
        return measured, predicted

    return measure


def _phases(
    pictures: LabelledImages, larger: LabelledImages | None, training: dict, num_classes: int
) -> list[Phase]:
    def batches(num_candidates: int) -> ImageSequence:
        return ImageSequence(
            pictures.images,
            pictures.labels,
            batch_size=training["batch_size"],
            num_classes=num_classes,
            seed=training["seed"],
            horizontal_flip=training["horizontal_flip"],
            larger_images=None if larger is None else larger.images,
            num_candidates=num_candidates,
        )

    candidates, warmup, epochs = (
        training[name] for name in ("candidates", "warmup_epochs", "epochs")
    )
    generative = [Phase(batches(1), min(warmup, epochs))] if candidates > 1 else []
    return [*generative, Phase(batches(candidates), epochs)]


def _check(model: dict, training: dict, num_classes: int) -> None:
    candidates = training["candidates"]
    if model.get("label_loss_weight") and num_classes < 2:
        raise UserError(
            "Invalid value for option `label_loss_weight`. Without labels (conditioning none) it "
            f"must be 0. Received: label_loss_weight={model['label_loss_weight']}"
        )
    if not 1 <= candidates <= max(num_classes, 1):
        raise UserError(
            "Invalid value for option `candidates`. Expected an integer from 1 to the number of "
            f"classes, {num_classes}. Received: candidates={candidates}"
        )
    if model.get("label_loss_weight") and candidates < 2:
        raise UserError(
            "Invalid value for option `candidates`. A label_loss_weight above 0 needs at least 2. "
            f"Received: candidates={candidates}"
        )
