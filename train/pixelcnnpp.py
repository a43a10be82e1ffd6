"""Training a PixelCNN++ into a run folder: its phases, learning rate, and offsets at the end."""

from collections.abc import Sequence
from functools import partial

import keras
import numpy as np
from keras import ops
from scipy.optimize import minimize
from scipy.special import log_softmax

from keras_pixelcnnpp import backend
from keras_pixelcnnpp.data.batches import ImageSequence
from keras_pixelcnnpp.data.dataset import Dataset, LabelledImages
from keras_pixelcnnpp.errors import argument_errors
from keras_pixelcnnpp.models.archive import copy_initial_weights
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
from keras_pixelcnnpp.optimizers import WarmUpThenDecay
from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.train.command_line import may_change
from keras_pixelcnnpp.train.devices import Devices, OneDevice
from keras_pixelcnnpp.train.loop import Phase, averaged_adam, claim, train_into
from keras_pixelcnnpp.train.monitors import ValidationMonitor, frechet_monitor, measure
from keras_pixelcnnpp.train.options import PixelCNNOptions
from keras_pixelcnnpp.train.tensorboard import sample_every

# What is left of the learning rate at the end of a cosine.
COSINE_END = 0.01
OFFSET_PICTURES = 5000  # for one number a class; scoring them under every class takes its time
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
    parallel: Devices | None = None,
    resume: bool = False,
    overwrite: bool = False,
    verbose: int | str = "auto",
) -> PixelCNNPlusPlus:
    """Trains a model into the run folder; model and training options are from `resolve_options`.

    `larger` is the split `train` read at a larger size, to be cropped at random. Of several workers
    only the chief writes, and refits the offsets of the model that is returned.
    """
    parallel = parallel or OneDevice()
    parallel.check_batch_size(training["batch_size"])
    keras.utils.set_random_seed(training["seed"])
    training = {
        **training,
        "jit_compile": backend.jit_compile(training["jit_compile"]),
        "sample_every": sample_every(training["sample_every"]),
    }
    # Unconditional models use all pictures, labelled or not.
    num_classes = 0 if model_options.get("conditioning") == "none" else dataset.num_classes
    with_labels = num_classes > 0 and not model_options.get("unlabelled_weight")
    choice = {"limit": training["limit"], "seed": training["seed"]}
    pictures = dataset.pictures("train", with_labels=with_labels, **choice)
    if larger is not None:
        larger = larger.labelled() if with_labels else larger
        larger = larger.some(training["limit"], training["seed"])
    # What is measured, and learned with one candidate.
    labelled = pictures.labelled() if num_classes else pictures
    with argument_errors():
        phases = _phases(pictures, larger, training, num_classes, dataset.num_levels)
    validation = dataset.pictures("validation", with_labels=num_classes > 0)
    with backend.dtype_policy(training["precision"]):
        with argument_errors():
            model = PixelCNNPlusPlus(
                image_shape=dataset.image_shape,
                num_classes=num_classes,
                num_levels=dataset.num_levels,
                **model_options,
            )
            optimizer = make_optimizer(training, total_steps(phases))
            model.compile(optimizer=optimizer, jit_compile=training["jit_compile"])
        if training["frechet_every"]:
            run.require_model("baseline")
        sample = labelled.some(INITIALIZATION_PICTURES, training["seed"])
        model.initialize(sample.images, sample.labels)
        if training["initial_weights"] and not (resume and run.has_checkpoint("pixelcnnpp")):
            copy_initial_weights(training["initial_weights"], model)
        claim(
            run,
            "pixelcnnpp",
            "PixelCNN++",
            model,
            {**model_options, **training},
            data_config,
            parallel=parallel,
            resume=resume,
            overwrite=overwrite,
            may_change=may_change(PixelCNNOptions),
        )

    if training["frechet_every"]:
        callbacks = [frechet_monitor(run, dataset, training["frechet_every"]), *callbacks]
    monitor = ValidationMonitor(
        partial(measure, model, batch_size=training["batch_size"]),
        validation,
        training=labelled.some(MONITORED_TRAINING_PICTURES, training["seed"]),
    )

    def finish() -> None:
        if model.posterior.learn_offsets:
            chosen = labelled.some(OFFSET_PICTURES, training["seed"])
            refit_offsets(model, chosen, training["batch_size"])

    train_into(
        run,
        "pixelcnnpp",
        model,
        phases,
        monitor,
        callbacks,
        dataset=dataset,
        pictures=pictures,
        sample_every=training["sample_every"],
        histogram_every=training["histogram_every"],
        finish=finish,
        parallel=parallel,
        resume=resume,
        verbose=verbose,
    )
    return model


def make_optimizer(training: dict, steps: int) -> keras.optimizers.Optimizer:
    """Adam with a learning rate that changes each step; a cosine is at its lowest after `steps`."""
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


def _phases(
    pictures: LabelledImages,
    larger: LabelledImages | None,
    training: dict,
    num_classes: int,
    num_levels: int,
) -> list[Phase]:
    def batches(num_candidates: int) -> ImageSequence:
        chosen, larger_ones = pictures, larger
        if num_candidates < num_classes:
            # Which of some candidates is the true one: a picture without a label can't tell.
            chosen = pictures.labelled()
            larger_ones = None if larger is None else larger.labelled()
        return ImageSequence(
            chosen.images,
            chosen.labels,
            batch_size=training["batch_size"],
            num_classes=num_classes,
            seed=training["seed"],
            horizontal_flip=training["horizontal_flip"],
            larger_images=None if larger_ones is None else larger_ones.images,
            perturb_rate=training["perturb"] or 0.0,
            num_levels=num_levels,
            num_candidates=num_candidates,
        )

    candidates, warmup, epochs = (
        training[name] for name in ("candidates", "warmup_epochs", "epochs")
    )
    generative = [Phase(batches(1), min(warmup, epochs))] if candidates > 1 else []
    return [*generative, Phase(batches(candidates), epochs)]


def total_steps(phases: Sequence[Phase]) -> int:
    """How many steps there are in all phases."""
    starts = [0, *(phase.last_epoch for phase in phases)]
    return sum(
        len(phase.batches) * (phase.last_epoch - start)
        for phase, start in zip(phases, starts, strict=False)
    )


def refit_offsets(model: PixelCNNPlusPlus, pictures: LabelledImages, batch_size: int) -> None:
    """Fits the offset of each class anew, on labelled pictures, with the weights as they are."""
    # The offsets that training learned belong to a network with dropout, whose log-likelihoods are
    # shifted by class, and to weights before they were averaged. The cross-entropy is convex in the
    # offsets, so there is one answer, whatever they were.
    scores = model.class_log_likelihoods(pictures.images, batch_size=batch_size)
    temperature = np.exp(ops.convert_to_numpy(model.posterior.log_temperature))
    fitted = fit_offsets(temperature * scores.astype("float64"), pictures.labels)
    offsets = np.append(fitted, 0.0).astype("float32")  # "no label" has no prior of its own
    model.posterior.offsets.assign(offsets)


def fit_offsets(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The offsets, of mean 0, that minimize the cross-entropy of `logits + offsets`.

    Logits are float `(count, num_classes)`; the offsets are float64 `(num_classes,)`.
    """
    num_classes = logits.shape[1]
    frequencies = np.bincount(labels, minlength=num_classes) / len(labels)

    def cross_entropy(offsets):
        log_probs = log_softmax(logits + offsets, axis=1)
        value = -np.mean(log_probs[np.arange(len(labels)), labels])
        return value, np.exp(log_probs).mean(axis=0) - frequencies

    fitted = minimize(cross_entropy, np.zeros(num_classes), jac=True, method="BFGS").x
    return fitted - fitted.mean()
