"""Training a model of the family into a run folder: its phases, and the offsets at the end."""

import keras

from keras_pixelcnnpp import backend
from keras_pixelcnnpp.classifiers import refit_offsets
from keras_pixelcnnpp.data.batches import ImageSequence
from keras_pixelcnnpp.data.dataset import Dataset, LabelledImages
from keras_pixelcnnpp.errors import argument_errors
from keras_pixelcnnpp.models.archive import architecture, copy_initial_weights
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.optimizers import make_optimizer
from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.train.loop import Phase, Start, claim, train_into
from keras_pixelcnnpp.train.monitors import ValidationMonitor, validation_limit

INITIALIZATION_PICTURES = 64


def train_pixelcnnpp(
    dataset: Dataset,
    run: RunFolder,
    model_options: dict,
    training: dict,
    data_config: dict,
    *,
    larger: LabelledImages | None = None,
    **how,
) -> AutoregressiveModel:
    """Trains a model into the run folder; model and training options are from `resolve_options`.

    `larger` is the split `train` read at a larger size, to be cropped at random; `how` has the
    arguments of `loop.Start`. Of several workers only the chief writes, and refits the offsets of
    the model that is returned.
    """
    start = Start(**how)
    keras.utils.set_random_seed(training["seed"])
    training = {**training, "jit_compile": backend.jit_compile(training["jit_compile"])}
    # Unconditional models use all pictures, labelled or not.
    num_classes = 0 if model_options.get("conditioning") == "none" else dataset.num_classes
    with_labels = num_classes > 0 and not model_options.get("unlabelled_weight")
    choice = {"limit": training["limit"], "seed": training["seed"]}
    pictures = dataset.pictures("train", with_labels=with_labels, **choice)
    if larger is not None:
        larger = larger.labelled() if with_labels else larger
        larger = larger.some(training["limit"], training["seed"])
    with argument_errors(perturb_rate="perturb"):
        phases = _phases(pictures, larger, training, num_classes, dataset.num_levels)
    validation = dataset.pictures("validation", with_labels=num_classes > 0)
    labelled = pictures.labelled() if num_classes else pictures
    with backend.precision(training["precision"]):
        with argument_errors(image_shape="image_size"):
            arguments = dict(model_options)
            model = architecture(arguments.pop("architecture"))(
                image_shape=dataset.image_shape,
                num_classes=num_classes,
                num_levels=dataset.num_levels,
                **arguments,
            )
            optimizer = make_optimizer(training, total_steps(phases), total_steps(phases[:-1]))
            model.compile(optimizer=optimizer, jit_compile=training["jit_compile"])
        sample = labelled.some(INITIALIZATION_PICTURES, training["seed"])
        model.initialize(sample.images, sample.labels)
        if training["initial_weights"] and not (start.resume and run.has_checkpoint("pixelcnnpp")):
            copy_initial_weights(training["initial_weights"], model)
        options = {**model_options, **training}
        claim(run, "pixelcnnpp", model.title, model, options, data_config, start)

    limit = validation_limit(training["validation_limit"], len(pictures), num_classes)
    monitor = ValidationMonitor(validation, limit, training["batch_size"])

    def finish() -> None:
        if model.posterior.learn_offsets:
            refit_offsets(model, labelled, training["batch_size"], training["seed"])

    train_into(run, "pixelcnnpp", model, phases, monitor, dataset, start, finish)
    return model


def as_begun(chosen: dict, run: RunFolder) -> dict:
    """What the user gave for a run to be resumed, with its own epochs by likelihood alone.

    Another number of epochs would give another share, and training in its midst another loss.
    """
    if chosen["warmup_epochs"] is not None or not run.config_json.exists():
        return chosen
    begun = run.read_config().get("pixelcnnpp", {"options": {}})["options"]
    return {**chosen, "warmup_epochs": begun.get("warmup_epochs")}


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
            perturb_rate=training["perturb"],
            num_levels=num_levels,
            num_candidates=num_candidates,
            labelled_share=training["labelled_share"],
        )

    candidates, warmup, epochs = (
        training[name] for name in ("candidates", "warmup_epochs", "epochs")
    )
    generative = [Phase(batches(1), min(warmup, epochs))] if candidates > 1 else []
    return [*generative, Phase(batches(candidates), epochs)]


def total_steps(phases: list[Phase]) -> int:
    """How many steps there are in all phases."""
    starts = [0, *(phase.last_epoch for phase in phases)]
    return sum(
        len(phase.batches) * (phase.last_epoch - start)
        for phase, start in zip(phases, starts, strict=False)
    )
