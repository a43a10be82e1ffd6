"""`model.fit` with checkpoints, in phases, resumable."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import keras

from keras_pixelcnnpp.callbacks import (
    Checkpoints,
    EpochCheckpoint,
    Progress,
    SetEpoch,
    StopOnNonFinite,
    StopOnSignal,
)
from keras_pixelcnnpp.callbacks.averaged_weights import use_averages
from keras_pixelcnnpp.datasets.image_sequence import ImageSequence
from keras_pixelcnnpp.training.data_parallel import DataParallel
from keras_pixelcnnpp.training.one_device import OneDevice


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
