"""Training a model of the family into a run folder: its phases, and the class biases at the end."""

import keras

from keras_pixelcnnpp import backend
from keras_pixelcnnpp.classifiers import refit_class_bias
from keras_pixelcnnpp.data.batches import ImageSequence
from keras_pixelcnnpp.data.dataset import Dataset, LabeledImages
from keras_pixelcnnpp.errors import argument_errors
from keras_pixelcnnpp.models.archive import architecture, copy_initial_weights
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.optimizers import make_optimizer
from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.train.loop import Phase, Start, claim, train_into
from keras_pixelcnnpp.train.monitors import ValidationMonitor, max_validation_examples

INITIALIZATION_IMAGES = 64


def train_pixelcnnpp(
    dataset: Dataset,
    run: RunFolder,
    model_options: dict,
    training: dict,
    data_config: dict,
    *,
    larger: LabeledImages | None = None,
    **how,
) -> AutoregressiveModel:
    """Trains a model into the run folder; model and training options are from `resolve_options`.

    `larger` is the split `train` read at a larger size, to be cropped at random; `how` has the
    arguments of `loop.Start`. Of several workers only the chief writes, and refits the biases of
    the model that is returned.
    """
    start = Start(**how)
    keras.utils.set_random_seed(training["seed"])
    training = {**training, "jit_compile": backend.jit_compile(training["jit_compile"])}
    # Unconditional models use all images, labeled or not.
    num_classes = 0 if model_options.get("conditioning") == "none" else dataset.num_classes
    with_labels = num_classes > 0 and not model_options.get("unlabeled_weight")
    choice = {"max_examples": training["max_examples"], "seed": training["seed"]}
    images = dataset.images("train", with_labels=with_labels, **choice)
    if larger is not None:
        larger = larger.labeled() if with_labels else larger
        larger = larger.some(training["max_examples"], training["seed"])
    with argument_errors(mutation_rate="perturb"):
        phases = _phases(images, larger, training, num_classes, dataset.num_levels)
    validation = dataset.images("validation", with_labels=num_classes > 0)
    labeled = images.labeled() if num_classes else images
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
        sample = labeled.some(INITIALIZATION_IMAGES, training["seed"])
        model.initialize(sample.images, sample.labels)
        if training["initial_weights"] and not (start.resume and run.has_checkpoint("pixelcnnpp")):
            copy_initial_weights(training["initial_weights"], model)
        options = {**model_options, **training}
        claim(run, "pixelcnnpp", model.title, model, options, data_config, start)

    max_examples = max_validation_examples(
        training["max_validation_examples"], len(images), num_classes
    )
    monitor = ValidationMonitor(validation, max_examples, training["batch_size"])

    def finish() -> None:
        if model.posterior.learn_class_bias:
            refit_class_bias(model, labeled, training["batch_size"], training["seed"])

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
    images: LabeledImages,
    larger: LabeledImages | None,
    training: dict,
    num_classes: int,
    num_levels: int,
) -> list[Phase]:
    def batches(num_candidates: int) -> ImageSequence:
        chosen, larger_ones = images, larger
        if num_candidates < num_classes:
            # Which of some candidates is the true one: an image without a label can't tell.
            chosen = images.labeled()
            larger_ones = None if larger is None else larger.labeled()
        return ImageSequence(
            chosen.images,
            chosen.labels,
            batch_size=training["batch_size"],
            num_classes=num_classes,
            seed=training["seed"],
            horizontal_flip=training["horizontal_flip"],
            larger_images=None if larger_ones is None else larger_ones.images,
            mutation_rate=training["perturb"],
            num_levels=num_levels,
            num_candidates=num_candidates,
            labeled_fraction=training["labeled_fraction"],
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
