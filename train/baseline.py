"""Training of the baseline CNN."""

import keras

from keras_pixelcnnpp import backend
from keras_pixelcnnpp.data.batches import ImageBatches
from keras_pixelcnnpp.data.dataset import Dataset
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.optimizers import make_optimizer
from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.train.loop import Start, start_run, train_into


def train_baseline(
    dataset: Dataset,
    run: RunFolder,
    training: dict,
    data_config: dict,
    start: Start,
    larger: Dataset | None = None,
) -> BaselineCNN:
    """Trains the baseline CNN and writes it to the run folder.

    The learning rate of Muon rises for a twentieth of the steps, then decays as a cosine. `larger`
    has the same images at a larger size, to be cropped at random.
    """
    if dataset.num_classes < 2:
        raise UserError(f"The CNN needs at least two classes. Received: {dataset.num_classes}")
    keras.utils.set_random_seed(training["seed"])
    choice = {"max_examples": training["max_examples"], "seed": training["seed"]}
    images = dataset.images("train", with_labels=True, **choice)
    validation = dataset.images("validation", with_labels=True)
    batches = ImageBatches(
        images.images,
        images.labels,
        batch_size=training["batch_size"],
        seed=training["seed"],
        larger_images=larger and larger.images("train", with_labels=True, **choice).images,
    )
    steps = training["epochs"] * len(batches)
    recipe = {"optimizer": "muon", "learning_rate_schedule": "cosine"}
    recipe["learning_rate_warmup"] = steps // 20
    with backend.precision(training["precision"]):
        model = BaselineCNN(
            image_shape=dataset.image_shape,
            num_classes=dataset.num_classes,
            horizontal_flip=training["horizontal_flip"],
        )
        optimizer = make_optimizer(
            {**training, **recipe}, steps, weight_decay=training["weight_decay"]
        )
        model.compile(optimizer=optimizer, jit_compile=training["jit_compile"])
        counts = len(images), len(dataset.split("train"))
        start_run(run, "baseline", "Baseline CNN", model, training, data_config, start, counts)
    train_into(run, "baseline", model, training, batches, validation, start)
    return model
