"""What both trainings do: start the run, train with checkpoints, resume, save."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import keras

from keras_pixelcnnpp import backend
from keras_pixelcnnpp.data.batches import ImageBatches, SetEpoch
from keras_pixelcnnpp.data.dataset import LabeledImages
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.files import atomic_path
from keras_pixelcnnpp.optimizers import LikelihoodFirst, use_averages
from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.train.checkpoints import (
    Checkpoints,
    EpochCheckpoint,
    Progress,
    StopOnSignal,
)
from keras_pixelcnnpp.train.devices import Devices, DivisibleSequence
from keras_pixelcnnpp.train.monitors import (
    HistoryFile,
    TensorBoardLog,
    ValidationMonitor,
    max_validation_examples,
    with_averaged_weights,
)
from keras_pixelcnnpp.train.options import MAY_CHANGE, MONITORING


@dataclass(frozen=True)
class Start:
    """How a command starts a training: over or on, on which devices, with whose callbacks.

    `imported` names that code of others, by option.
    """

    callbacks: Sequence[keras.callbacks.Callback] = ()
    devices: Devices | None = None
    resume: bool = False
    overwrite: bool = False
    verbose: int | str = "auto"
    imported: dict[str, Sequence[str]] = field(default_factory=dict)


def start_run(
    run: RunFolder,
    section: str,
    title: str,
    model: keras.Model,
    options: dict,
    data_config: dict,
    start: Start,
    images: tuple[int, int],
) -> None:
    """Says what is going to be trained, on how many of all images; in `config.json` too."""
    saved = Checkpoints(run.checkpoints(section)).saved() if start.resume else []
    if saved and saved[-1] > Progress(options["epochs"]):
        raise UserError(
            f"{run.path} has trained {section} for {saved[-1]}. Expected at least "
            f"as many to resume it. Received: epochs={options['epochs']}"
        )
    config = {
        "title": title,
        "options": options,
        "model": model.get_config(),
        "parameters": model.count_params(),
        "versions": backend.versions(),
        "images": images,
        **start.imported,
    }
    run.start(
        section,
        config,
        data_config,
        resume=start.resume,
        overwrite=start.overwrite,
        may_change=MAY_CHANGE,
    )
    weights = f"{model.count_params():,} weights"
    devices = f", {start.devices.count} devices" if start.devices else ""
    print(f"{title}, {weights}: {backend.describe(model)}{devices}")
    if images[0] < images[1]:
        print(f"Trains on {images[0]:,} of the {images[1]:,} training images")


def train_into(
    run: RunFolder,
    section: str,
    model: keras.Model,
    training: dict,
    batches: ImageBatches,
    validation: LabeledImages,
    start: Start,
    finish: Callable[[], None] = lambda: None,
    likelihood_epochs: int = 0,
) -> None:
    """Trains with logs and checkpoints in the claimed run, calls `finish`, and saves the model."""
    scored = 1 if section == "baseline" else model.num_classes
    max_examples = max_validation_examples(
        training["max_validation_examples"], len(batches.images), scored
    )
    monitor = ValidationMonitor(validation, max_examples, training["batch_size"])
    if start.verbose:
        print(monitor)
    config = run.read_config()
    options = config[section]["options"]
    tensorboard = TensorBoardLog(
        run.logs(section),
        monitor,
        config["data"]["class_names"],
        {
            "model": section,
            "data": Path(config["data"]["source"]).name,
            "parameters": config[section]["parameters"],
            **{name: value for name, value in options.items() if name not in MONITORING},
        },
        training.get("sample_every", 0),
    )
    tensorboard.training_images(batches.images)
    history = HistoryFile(run.history_json(section))
    callbacks = with_averaged_weights([monitor, *start.callbacks, history, tensorboard])
    with backend.tensor_float32(training["precision"] == "tf32"):
        train_epochs(
            model,
            batches,
            training["epochs"],
            run.checkpoints(section),
            callbacks,
            likelihood_epochs=likelihood_epochs,
            devices=start.devices,
            verbose=start.verbose,
        )
    finish()
    with atomic_path(run.model(section)) as temporary:
        model.save(temporary)


def train_epochs(
    model: keras.Model,
    batches: ImageBatches,
    epochs: int,
    folder: str | Path,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    *,
    likelihood_epochs: int = 0,
    devices: Devices | None = None,
    verbose: int | str = "auto",
) -> None:
    """Trains a compiled model; in the end it has its averaged weights.

    It goes on from the newest checkpoint in `folder`. The first `likelihood_epochs` are by
    likelihood alone. The callbacks are called before the checkpoint of an epoch is written. Raises
    `TrainingStopped` after a signal, when the checkpoint of the last step is there.
    """
    # A run that was killed and resumed ends with the same weights as one that ran through: every
    # call of `model.fit` starts from a checkpoint, the first of a resumed run and any later one.
    checkpoints = Checkpoints(folder)
    epoch, step = progress = checkpoints.restore(model)
    if verbose and progress > Progress():
        print(f"Continues after {progress}; {epochs} epochs in all.")
    first_loss = [LikelihoodFirst(likelihood_epochs)] if likelihood_epochs else []
    # The rest of a broken epoch comes first.
    parts = [(batches.from_step(step), epoch, epoch + 1), (batches, epoch + 1, epochs)]
    parts, fitted = parts if step else [(batches, epoch, epochs)], False
    with StopOnSignal() as stop:
        for part, first_epoch, last_epoch in parts:
            if first_epoch >= epochs:
                break
            if fitted:
                # The end of `fit` put the averaged weights into the model; training goes on from
                # the raw ones.
                checkpoints.restore(model)
            model.fit(
                part if devices is None else DivisibleSequence(part, devices),
                initial_epoch=first_epoch,
                epochs=last_epoch,
                verbose=verbose,
                shuffle=False,  # ImageBatches shuffles, by seed and epoch
                callbacks=[
                    SetEpoch(part),
                    *first_loss,
                    *callbacks,
                    EpochCheckpoint(checkpoints, part, stop),
                ],
            )
            fitted = True
            if model.stop_training:
                break  # a callback such as keras.callbacks.EarlyStopping has seen enough
    # `fit` has averaged them; what a callback then put in their place, such as the weights of the
    # best epoch, stays.
    if not fitted:
        use_averages(model)
