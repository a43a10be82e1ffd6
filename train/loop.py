"""`model.fit` with checkpoints, in phases, resumable."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import keras

from keras_pixelcnnpp.data.batches import ImageSequence, SetEpoch, feed
from keras_pixelcnnpp.optimizers import FusedAdam, use_averages
from keras_pixelcnnpp.train.checkpoints import Checkpoints, Progress
from keras_pixelcnnpp.train.devices import DataParallel
from keras_pixelcnnpp.train.stopping import EpochCheckpoint, StopOnNonFinite, StopOnSignal


@dataclass(frozen=True)
class Phase:
    """A part of the training that uses the same kind of batches.

    Args:
        batches: What the model is trained on.
        last_epoch: The phase lasts until this many epochs are done, counted from the very start.
    """

    batches: ImageSequence
    last_epoch: int


def fit(
    model: keras.Model,
    phases: Sequence[Phase],
    checkpoints: Checkpoints,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    *,
    parallel: DataParallel | None = None,
    resume: bool = False,
    verbose: int | str = "auto",
) -> int:
    """Trains through all phases; in the end the model has its averaged weights.

    A run that was killed and resumed ends with the same weights as one that ran through: every
    call of `model.fit` starts from a checkpoint, the first of a resumed run and any later one.

    Args:
        model: A built and compiled model.
        phases: What to train on, in order.
        checkpoints: Where the state is kept after every epoch.
        callbacks: Called before the checkpoint is written.
        parallel: The devices that share the work; `None`: the model trains where it is. With
            several workers, all must see the folder of the checkpoints; the chief writes them.
        resume: Start from the newest checkpoint. Otherwise old checkpoints are removed.
        verbose: Keras's: `"auto"`, 0 (silent), 1 (progress bar) or 2 (one line per epoch).

    Returns:
        The number of epochs that were done before, 0 unless the run was resumed.

    Raises:
        TrainingStopped: if a signal asked for it. The checkpoint of the last step is there. (Of
            several workers, a signal ends the job at once: no step can be finished without all.)
        UserError: if the loss, the gradient or the weights are no longer finite, or the disk is
            full. The last good checkpoint is there.
    """
    parallel = parallel or OneDevice()
    checkpoints = parallel.checkpoints(checkpoints)
    if not resume:
        checkpoints.clear()
    parallel.wait()
    trained = parallel.copy(model)
    start = checkpoints.restore(trained)
    with StopOnSignal(parallel.signals) as stop:
        for number, (phase, first_epoch) in enumerate(_still_to_do(phases, start)):
            if number:
                # The end of `fit` put the averaged weights into the model; training goes on from
                # the raw ones.
                parallel.wait()
                checkpoints.restore(trained)
            with warnings.catch_warnings():
                # A phase with one candidate label has no use for the temperature and the offsets
                # of the posterior.
                warnings.filterwarnings("ignore", message="Gradients do not exist")
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
                        *parallel.callbacks(callbacks, model, trained),
                        EpochCheckpoint(checkpoints, phase.batches, stop),
                    ],
                )
    parallel.hand_back(trained, model)
    use_averages(model)
    return start.epoch


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


class OneDevice:
    """What `DataParallel` is, for a model that trains where it is."""

    is_chief = True
    signals = StopOnSignal.SIGNALS

    def checkpoints(self, checkpoints):
        return checkpoints

    def copy(self, model):
        return model

    def callbacks(self, callbacks, model, copy):
        return list(callbacks)

    def fit(self, copy, batches, **arguments):
        copy.fit(feed(batches), **arguments)

    def hand_back(self, copy, model):
        pass

    def wait(self):
        pass


def averaged_adam(schedule, training: dict, **kwargs) -> FusedAdam:
    """Adam with averaged weights and clipped gradients, as the training options ask for.

    Args:
        schedule: The learning rate.
        training: The training options; `ema_momentum` and `gradient_clip_norm` are read, of which
            0 means none.
        **kwargs: More arguments of `FusedAdam`.
    """
    momentum = training["ema_momentum"]
    return FusedAdam(
        schedule,
        use_ema=momentum > 0,
        ema_momentum=momentum,
        ema_warmup=True,
        global_clipnorm=training["gradient_clip_norm"] or None,
        **kwargs,
    )
