"""Training a PixelCNN++ into a run folder."""

import math
from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import ops
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.metrics import log_loss

from keras_pixelcnnpp import backend
from keras_pixelcnnpp.classifiers import PixelCNNClassifier
from keras_pixelcnnpp.data.batches import ImageSequence
from keras_pixelcnnpp.data.dataset import (
    Dataset,
    LabelledImages,
    measured_pictures,
    some,
    training_pictures,
)
from keras_pixelcnnpp.distributions.logistic_mixture import bits_per_dim
from keras_pixelcnnpp.errors import argument_errors
from keras_pixelcnnpp.files import atomic_path
from keras_pixelcnnpp.models.archive import copy_initial_weights
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
from keras_pixelcnnpp.optimizers import WarmUpThenDecay
from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.train.checkpoints import Checkpoints
from keras_pixelcnnpp.train.devices import DataParallel
from keras_pixelcnnpp.train.loop import Phase, averaged_adam, fit
from keras_pixelcnnpp.train.monitors import HistoryFile, ValidationMonitor, frechet_monitor
from keras_pixelcnnpp.train.tensorboard import WATCHING, sample_every, tensorboard_callbacks

# What is left of the learning rate at the end of a cosine.
COSINE_END = 0.01


MONITORED_TRAINING_PICTURES = 128


INITIALIZATION_PICTURES = 64


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
        "jit_compile": backend.jit_compile(training["jit_compile"]),
        "sample_every": sample_every(training["sample_every"]),
    }
    # Unconditional models use all pictures, labelled or not.
    num_classes = 0 if model_options.get("conditioning") == "none" else dataset.num_classes
    choice = {"with_labels": num_classes > 0, "limit": training["limit"], "seed": training["seed"]}
    pictures = training_pictures(dataset.split("train"), **choice)
    validation = measured_pictures(dataset, "validation", with_labels=num_classes > 0)
    with backend.dtype_policy(training["precision"]):
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
            "versions": backend.versions(),
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
        print(f"PixelCNN++, {model.count_params():,} weights: {backend.describe(model)}{devices}")

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
    history = HistoryFile(run.history_json("pixelcnnpp"))
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


def refit_offsets(model: PixelCNNPlusPlus, pictures: LabelledImages, batch_size: int) -> None:
    """Fits the offset of each class anew, with the weights as they are and dropout off.

    The offsets that training learned belong to a network with dropout, whose log-likelihoods are
    shifted by class, and to weights before they were averaged. The cross-entropy is convex in the
    offsets, so there is one answer, whatever they were.

    Args:
        model: A trained model that learned offsets; they are replaced.
        pictures: Labelled pictures, best those it was trained on.
        batch_size: Pictures at a time.
    """
    scores = model.class_log_likelihoods(pictures.images, batch_size=batch_size)
    temperature = np.exp(ops.convert_to_numpy(model.posterior.log_temperature))
    fitted = fit_offsets(temperature * scores.astype("float64"), pictures.labels)
    offsets = np.append(fitted, 0.0).astype("float32")  # "no label" has no prior of its own
    model.posterior.offsets.assign(offsets)


def fit_offsets(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The offsets, of mean 0, that minimize the cross-entropy of `logits + offsets`.

    Args:
        logits: Float `(count, num_classes)`.
        labels: Int `(count,)`.

    Returns:
        Float64 `(num_classes,)`.
    """
    num_classes = logits.shape[1]
    frequencies = np.bincount(labels, minlength=num_classes) / len(labels)

    def cross_entropy(offsets):
        log_probs = log_softmax(logits + offsets, axis=1)
        value = -np.mean(log_probs[np.arange(len(labels)), labels])
        return value, np.exp(log_probs).mean(axis=0) - frequencies

    fitted = minimize(cross_entropy, np.zeros(num_classes), jac=True, method="BFGS").x
    return fitted - fitted.mean()
