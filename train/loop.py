"""What both trainings do: claim the run, train in phases with checkpoints, resume, save."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import keras

from keras_pixelcnnpp import backend
from keras_pixelcnnpp.data.batches import ImageSequence, SetEpoch
from keras_pixelcnnpp.data.dataset import Dataset, LabelledImages
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.files import atomic_path
from keras_pixelcnnpp.optimizers import inner_optimizer, keep_own_weights, use_averages
from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.train.checkpoints import Checkpoints, Progress
from keras_pixelcnnpp.train.devices import Devices, OneDevice
from keras_pixelcnnpp.train.monitors import HistoryFile, TimeEstimate, ValidationMonitor
from keras_pixelcnnpp.train.plugins import loggers
from keras_pixelcnnpp.train.stopping import EpochCheckpoint, StopOnNonFinite, StopOnSignal
from keras_pixelcnnpp.train.tensorboard import hyperparameters, tensorboard_callbacks


def claim(
    run: RunFolder,
    section: str,
    title: str,
    model: keras.Model,
    options: dict,
    data_config: dict,
    *,
    parallel: Devices,
    **how,
) -> None:
    """Says what is going to be trained, in `config.json` too; `how` is that of `RunFolder.start`.

    Workers wait for one another: they may have read what the chief now overwrites.
    """
    parallel.wait()
    if parallel.is_chief:
        saved = Checkpoints(run.checkpoints(section)).saved() if how.get("resume") else []
        if saved and saved[-1].epoch > options["epochs"]:
            raise UserError(
                f"{run.path} has trained {section} for {saved[-1].epoch} epochs. Expected at least "
                f"as many to resume it. Received: epochs={options['epochs']}"
            )
        config = {
            "title": title,
            "options": options,
            "model": model.get_config(),
            "parameters": model.count_params(),
            "versions": backend.versions(),
        }
        run.start(section, config, data_config, **how)
    weights = f"{model.count_params():,} weights"
    print(f"{title}, {weights}: {backend.describe(model)}{parallel.describe()}")


def train_into(
    run: RunFolder,
    section: str,
    model: keras.Model,
    phases: Sequence["Phase"],
    monitor: ValidationMonitor,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    *,
    dataset: Dataset,
    pictures: LabelledImages,
    sample_every: int = 0,
    histogram_every: int = 0,
    figures_every: int = 0,
    log: Sequence[str] | None = None,
    finish: Callable[[], None] = lambda: None,
    parallel: Devices,
    resume: bool,
    verbose: int | str,
) -> None:
    """Trains with logs and checkpoints in the claimed run, calls `finish`, and saves the model.

    What the callbacks log goes into the history, to TensorBoard and where `log` says.
    """
    logs, options, trackers = [], {}, ()  # of a worker that isn't the chief
    if parallel.is_chief:
        if verbose:
            averages = inner_optimizer(model.optimizer).use_ema
            print(monitor.describe(averages, model.num_classes > 0))
        logs = tensorboard_callbacks(
            *(run, section, dataset, pictures, monitor),
            *(sample_every, histogram_every, figures_every),
        )
        config = run.read_config()
        options, trackers = hyperparameters(section, config[section], config["data"]), log
    title = f"{run.path.name}-{section}"
    with loggers(trackers, run.logs(section), title, options) as more:
        train_phases(
            model,
            phases,
            Checkpoints(run.checkpoints(section)),
            [monitor, *callbacks, HistoryFile(run.history_json(section)), *logs, *more],
            parallel=parallel,
            resume=resume,
            verbose=verbose,
        )
    if parallel.is_chief:
        finish()
        with atomic_path(run.model(section)) as temporary:
            model.save(temporary)
    parallel.wait()  # a worker that leaves ends the others


@dataclass(frozen=True)
class Phase:
    """A part of the training with one kind of batches, up to the end of epoch `last_epoch`."""

    batches: ImageSequence
    last_epoch: int


def train_phases(
    model: keras.Model,
    phases: Sequence[Phase],
    checkpoints: Checkpoints,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    *,
    parallel: Devices | None = None,
    resume: bool = False,
    verbose: int | str = "auto",
) -> None:
    """Trains a compiled model through all phases; in the end it has its averaged weights.

    The callbacks are called before the checkpoint of an epoch is written. Raises `TrainingStopped`
    after a signal, when the checkpoint of the last step is there. (Of several workers, a signal
    ends the job at once: no step can be finished without all.)
    """
    # A run that was killed and resumed ends with the same weights as one that ran through: every
    # call of `model.fit` starts from a checkpoint, the first of a resumed run and any later one.
    parallel = parallel or OneDevice()
    checkpoints = parallel.checkpoints(checkpoints)
    if not resume:
        checkpoints.clear()
    parallel.wait()
    trained = parallel.copy(model)
    start, fitted = checkpoints.restore(trained), False
    with StopOnSignal(parallel.signals) as stop:
        for number, (phase, first_epoch) in enumerate(_still_to_do(phases, start)):
            if number:
                # The end of `fit` put the averaged weights into the model; training goes on from
                # the raw ones.
                parallel.wait()
                checkpoints.restore(trained)
            parallel.fit(
                trained,
                phase.batches,
                initial_epoch=first_epoch,
                epochs=phase.last_epoch,
                verbose=verbose if parallel.is_chief else 0,
                shuffle=False,  # ImageSequence shuffles, by seed and epoch
                callbacks=[
                    SetEpoch(phase.batches),
                    StopOnNonFinite(phase.batches, checkpoints),
                    TimeEstimate(),
                    *parallel.callbacks(callbacks, model, trained),
                    EpochCheckpoint(checkpoints, phase.batches, stop),
                ],
            )
            fitted = True
            if trained.stop_training:
                break  # a callback such as keras.callbacks.EarlyStopping has seen enough
    parallel.hand_back(trained, model)
    if fitted:
        # `fit` has averaged them; what a callback then put in their place, such as the weights of
        # the best epoch, stays.
        keep_own_weights(model)
    else:
        use_averages(model)


def _still_to_do(phases: Sequence[Phase], start: Progress) -> Iterator[tuple[Phase, int]]:
    """Each phase that isn't over, and its first epoch; the rest of a broken epoch comes first."""
    epoch, step = start
    for phase in phases:
        if step and epoch < phase.last_epoch:
            yield Phase(phase.batches.from_step(step), epoch + 1), epoch
            epoch, step = epoch + 1, 0
        if epoch < phase.last_epoch:
            yield phase, epoch
            epoch = phase.last_epoch
