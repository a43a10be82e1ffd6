"""Training the baseline CNN into a run folder."""

from collections.abc import Sequence
from functools import partial

import keras

from keras_pixelcnnpp import backend
from keras_pixelcnnpp.data.batches import ImageSequence
from keras_pixelcnnpp.data.dataset import Dataset
from keras_pixelcnnpp.errors import argument_errors
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.optimizers import averaged_adam
from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.train.command_line import may_change, training_defaults
from keras_pixelcnnpp.train.devices import OneDevice
from keras_pixelcnnpp.train.loop import Phase, claim, train_into
from keras_pixelcnnpp.train.monitors import ValidationMonitor, measure, validation_limit
from keras_pixelcnnpp.train.options import BaselineOptions


def train_baseline(
    dataset: Dataset,
    run: RunFolder,
    training: dict,
    data_config: dict,
    *,
    horizontal_flip: bool,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    log: Sequence[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    verbose: int | str = "auto",
) -> BaselineCNN:
    """Trains the CNN into the run folder; options that are `None` or missing have their default."""
    given = {name: value for name, value in training.items() if value is not None}
    training = {**training_defaults(BaselineOptions), **given, "horizontal_flip": horizontal_flip}
    training["jit_compile"] = backend.jit_compile(training["jit_compile"])
    parallel = OneDevice()
    keras.utils.set_random_seed(training["seed"])
    choice = {"limit": training["limit"], "seed": training["seed"]}
    pictures = dataset.pictures("train", with_labels=True, **choice)
    validation = dataset.pictures("validation", with_labels=True)
    batches = ImageSequence(
        pictures.images,
        pictures.labels,
        batch_size=training["batch_size"],
        num_classes=dataset.num_classes,
        seed=training["seed"],
        cut_rate=training["cut_rate"] or 0.0,
    )
    with backend.precision(training["precision"]):
        with argument_errors():
            model = BaselineCNN(
                image_shape=dataset.image_shape,
                num_classes=dataset.num_classes,
                num_levels=dataset.num_levels,
                horizontal_flip=horizontal_flip,
            )
            optimizer = make_optimizer(training, steps=training["epochs"] * len(batches))
            model.compile(optimizer=optimizer, jit_compile=training["jit_compile"])
        claim(
            run,
            "baseline",
            "Baseline CNN",
            model,
            training,
            data_config,
            parallel=parallel,
            resume=resume,
            overwrite=overwrite,
            may_change=may_change(BaselineOptions),
        )
        model({"image": pictures.images[:1], "label": pictures.labels[:1]})
    train_into(
        run,
        "baseline",
        model,
        [Phase(batches, training["epochs"])],
        ValidationMonitor(
            partial(measure, model, verbose=int(verbose == 1)),
            validation,
            limit=validation_limit(training["validation_limit"], len(pictures), 1),
        ),
        callbacks,
        dataset=dataset,
        pictures=pictures,
        figures_every=training["figures_every"],
        log=log,
        parallel=parallel,
        resume=resume,
        verbose=verbose,
    )
    return model


def make_optimizer(training: dict, steps: int) -> keras.optimizers.Optimizer:
    """AdamW whose learning rate rises for a twentieth of the steps, then falls as a cosine."""
    peak = training["learning_rate"]
    warmup = max(1, steps // 20)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.1 * peak, max(1, steps - warmup), warmup_target=peak, warmup_steps=warmup
    )
    return averaged_adam(schedule, training, weight_decay=training["weight_decay"])
