"""The training loop of both models: start or resume a run, train with checkpoints, save."""

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
    """How a training starts; `imported` has the values of `--plugin` and `--callback`."""

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
    """Claims the run folder, writes `config.json`, and prints a summary of the training.

    `images` has the number of images to train on and the number of all training images.
    """
    saved = Checkpoints(run.checkpoints(section)).saved() if start.resume else []
    if saved and saved[-1] > Progress(options["epochs"]):
        raise UserError(
            f"{run.path} has already trained {section} for {saved[-1]}. Expected at least "
            f"that number of epochs. Received: epochs={options['epochs']}"
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
        print(f"Training on {images[0]:,} of the {images[1]:,} training images")


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
    """Trains a model with logs and checkpoints, calls `finish`, and saves it to the run folder."""
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
    """Trains a compiled model from the newest checkpoint in `folder`, if there is one.

    The model ends with its averaged weights. The first `likelihood_epochs` minimize only the
    negative log-likelihood. The callbacks are called before the checkpoint of an epoch is written.
    Raises `TrainingStopped` after a signal, once the last step has been saved.
    """
    # Every call of `model.fit` starts from a checkpoint, so that a resumed run ends with the same
    # weights as an uninterrupted one.
    checkpoints = Checkpoints(folder)
    progress = checkpoints.restore(model)
    if verbose and progress > Progress():
        print(f"Continuing after {progress}, up to epoch {epochs}.")
    first_loss = [LikelihoodFirst(likelihood_epochs)] if likelihood_epochs else []
    with StopOnSignal() as stop:
        while progress.epoch < epochs:
            epoch, step = progress
            # The rest of an interrupted epoch comes first.
            part, last_epoch = (batches.from_step(step), epoch + 1) if step else (batches, epochs)
            model.fit(
                part if devices is None else DivisibleSequence(part, devices),
                initial_epoch=epoch,
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
            # A callback such as keras.callbacks.EarlyStopping may request the end.
            if last_epoch == epochs or model.stop_training:
                # `fit` has put the averaged weights into the model; a callback may have replaced
                # them by the weights of the best epoch.
                return
            progress = checkpoints.restore(model)  # training continues from the raw weights
    use_averages(model)
