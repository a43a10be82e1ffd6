"""Training of a PixelCNN++, Gated PixelCNN or PixelCNN, with class biases refitted at the end."""

from typing import Any

import keras

from keras_pixelcnnpp import backend
from keras_pixelcnnpp.checks import require_choice
from keras_pixelcnnpp.classifiers import refit_class_bias
from keras_pixelcnnpp.data.batches import ImageBatches
from keras_pixelcnnpp.data.dataset import Dataset
from keras_pixelcnnpp.errors import UserError, one_line
from keras_pixelcnnpp.models.archive import NETWORKS, copy_initial_weights
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.models.pixelcnnpp import PixelCNNPlusPlus
from keras_pixelcnnpp.optimizers import make_optimizer
from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.train.loop import Start, start_run, train_into


def train_pixelcnnpp(
    dataset: Dataset,
    run: RunFolder,
    model_options: dict,
    training: dict,
    data_config: dict,
    start: Start,
    larger: Dataset | None = None,
) -> AutoregressiveModel:
    """Trains a model with the options from `resolve_options` and writes it to the run folder.

    `larger` is the same data at a larger size, for random crops.
    """
    keras.utils.set_random_seed(training["seed"])
    # Unconditional models use all images, labeled or not.
    num_classes = 0 if model_options.get("conditioning") == "none" else dataset.num_classes
    with_labels = num_classes > 0 and not model_options.get("unlabeled_weight")
    choice = {"max_examples": training["max_examples"], "seed": training["seed"]}
    images = dataset.images("train", with_labels=with_labels, **choice)
    batches = ImageBatches(
        images.images,
        images.labels,
        batch_size=training["batch_size"],
        seed=training["seed"],
        horizontal_flip=training["horizontal_flip"],
        larger_images=larger and larger.images("train", with_labels=with_labels, **choice).images,
    )
    validation = dataset.images("validation", with_labels=num_classes > 0)
    labeled = images.labeled() if num_classes else images
    with backend.precision(training["precision"]):
        model = _make_model(dataset, num_classes, **model_options)
        steps = len(batches)
        likelihood_epochs = training["likelihood_epochs"] if model.label_loss_weight else 0
        optimizer = make_optimizer(training, training["epochs"] * steps, likelihood_epochs * steps)
        model.compile(optimizer=optimizer, jit_compile=training["jit_compile"])
        sample = images.some(64, training["seed"])
        model.initialize(sample.images, sample.labels)
        if training["initial_weights"] and not (start.resume and run.has_checkpoint("pixelcnnpp")):
            copy_initial_weights(training["initial_weights"], model)
        options = {**model_options, **training}
        counts = len(images), len(dataset.split("train"))
        start_run(run, "pixelcnnpp", model._title, model, options, data_config, start, counts)

    def finish() -> None:
        learned = model.label_loss_weight and model.posterior.learn_class_bias
        if learned and len(labeled):
            given = labeled.images, labeled.labels
            refit_class_bias(model, *given, training["batch_size"], training["seed"])

    section = "pixelcnnpp"
    train_into(run, section, model, training, batches, validation, start, finish, likelihood_epochs)
    return model


def _make_model(dataset: Dataset, num_classes: int, **options: Any) -> AutoregressiveModel:
    require_choice("network", options["network"], NETWORKS)
    kind = NETWORKS[options.pop("network")]
    options["class_names"] = dataset.class_names if num_classes else None
    height, width, _ = dataset.image_shape
    step = 2 ** (options.get("num_resolutions", 3) - 1) if kind is PixelCNNPlusPlus else 1
    if height % step or width % step:
        raise UserError(
            f"Invalid value for --image-size. Expected a multiple of {step}, such as "
            f"{max(step, round(height / step) * step)}, or fewer --num-resolutions. Received "
            f"images of {height}×{width}"
        )
    try:
        return kind(image_shape=dataset.image_shape, num_classes=num_classes, **options)
    except ValueError as error:  # such as an error of a plugin
        raise UserError(one_line(error)) from error
