"""Trains a model by a recipe, with checkpoints, and fits its class biases at the end."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from keras_pixelcnnpp.conditions.classes import class_of
from keras_pixelcnnpp.data.batches import ImageBatches, RandomCrops, SetEpoch
from keras_pixelcnnpp.data.dataset import LabeledImages
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.recipes.recipe import PixelCNNRecipe, Recipe
from keras_pixelcnnpp.training.checkpoints import (
    Checkpoints,
    EpochCheckpoint,
    Progress,
    recorded_signals,
)
from keras_pixelcnnpp.training.optimizers import LikelihoodFirst, make_optimizer, use_averages
from keras_pixelcnnpp.utils import backend
from keras_pixelcnnpp.utils.checks import require_values
from keras_pixelcnnpp.utils.distribution import num_devices
from keras_pixelcnnpp.utils.errors import invalid_argument

# Number of images for fitting class biases, since scoring images under every class is slow.
BIAS_IMAGES = 5000
BIAS_DEVIATION = 3.0  # standard deviation of their Gaussian prior, nats


def train(
    model: keras.Model,
    images: LabeledImages,
    recipe: Recipe,
    folder: str | Path | None = None,
    *,
    sample_weight: np.ndarray | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int | str = "auto",
    **compiled: Any,
) -> None:
    """Compiles and trains a model. It ends with averaged weights and newly fitted class biases.

    Args:
        model: An `AutoregressiveModel`, or a `BaselineCNN`, which has no class biases.
        images: The training images, `LabeledImages`. Their attribute `larger` is the argument
            `larger_images` of `ImageBatches`, or with `random_crops` of the recipe, the frames of
            `RandomCrops`.
        recipe: A `Recipe` with all values of the training; see `Recipe.with_defaults`.
        folder: Folder of the checkpoints. The training continues from the newest one, and a signal
            stops it after the current step. By default, no checkpoints are written.
        sample_weight: Float array `(N,)`, weights of the images in the loss.
        callbacks: Keras callbacks, which are called before the checkpoint of an epoch is written.
        verbose: Like the argument of `keras.Model.fit`.
        **compiled: Further arguments of `model.compile`.

    Raises:
        TrainingStopped: After a signal, once the last step has been saved in `folder`.
        UserError: If the loss is no longer finite, and there is a `folder`.
    """
    if sample_weight is not None and recipe.random_crops:
        expected = "None with random crops"
        raise invalid_argument("sample_weight", np.shape(sample_weight), expected)
    batches = training_batches(model, images, recipe, sample_weight)
    hybrid = getattr(model, "label_loss_weight", 0) > 0
    first = recipe.likelihood_epochs if hybrid and isinstance(recipe, PixelCNNRecipe) else 0
    per_epoch, steps = len(batches), recipe.epochs * len(batches)
    options = recipe.of_optimizer(steps)
    jit_compile = "auto" if recipe.jit_compile is None else recipe.jit_compile
    if num_devices() > 1:
        # JAX divides a batch in the compiled step. XLA cannot compile a step of TensorFlow's
        # replicas.
        jit_compile = keras.backend.backend() == "jax"
    decay = options.get("weight_decay")
    optimizer = make_optimizer(options, steps, first * per_epoch, weight_decay=decay)
    model.compile(optimizer, jit_compile=jit_compile, **compiled)
    with backend.tensor_float32(recipe.precision == "tf32"):
        callbacks = [LikelihoodFirst(first), *callbacks] if first else callbacks
        how: Any = {"paths": images.paths, "verbose": verbose}
        fit_epochs(model, batches, recipe.epochs, folder, callbacks, **how)
    if hybrid and model.posterior.learn_class_bias and np.any(images.labels >= 0):
        condition = model.conditions.from_data(images)
        given = images.images, condition, recipe.batch_size, recipe.seed
        refit_class_bias(model, *given, sample_weight)


def training_batches(
    model: keras.Model,
    images: LabeledImages,
    recipe: Recipe,
    sample_weight: np.ndarray | None = None,
) -> ImageBatches:
    """Returns the batches of a training; see `train`."""
    labels = images.labels
    if isinstance(model, AutoregressiveModel):
        labels = model.targets_of(images)
    if recipe.horizontal_flip and not getattr(model, "ordered_levels", True):
        expected = "False for codes (ordered_levels=False), whose mirror image has other codes"
        raise invalid_argument("horizontal_flip", recipe.horizontal_flip, expected)
    # The baseline CNN flips images itself.
    flip = bool(recipe.horizontal_flip) and not getattr(model, "horizontal_flip", False)
    how: Any = {"batch_size": recipe.batch_size, "seed": recipe.seed, "horizontal_flip": flip}
    if not recipe.random_crops:
        if not model.allow_dark_images:
            require_values(images.images, model.num_levels, True, model.ordered_levels)
        how |= {"larger_images": images.larger, "sample_weight": sample_weight}
        return ImageBatches(images.images, labels, **how)
    if images.larger is None:
        expected = "the images at their own size, for the random crops of the recipe"
        raise invalid_argument("images.larger", images.larger, expected)
    return RandomCrops(images.larger, model.image_shape[:2], labels, **how)


def fit_epochs(
    model: keras.Model,
    batches: ImageBatches,
    epochs: int,
    folder: str | Path | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    *,
    paths: Sequence[str] = (),
    verbose: int | str = "auto",
) -> None:
    """Fits a compiled model for a number of epochs; see `train` for the arguments.

    `paths` are the names of the images in messages, or by default their positions.
    """

    def fit(part: ImageBatches, first: int, *more: keras.callbacks.Callback) -> None:
        # ImageBatches shuffles, by seed and epoch.
        how = {"initial_epoch": first, "epochs": epochs, "shuffle": False, "verbose": verbose}
        seeds = [SetEpoch(part)]
        if keras.backend.backend() == "torch" and not isinstance(model, AutoregressiveModel):
            seeds.append(_seed_torch(part))
        # The last one, as by default, so that it also prints what the others add to the logs.
        bar = [_ProgressBar()] if verbose else []
        model.fit(part, callbacks=[*seeds, *callbacks, *more, *bar], **how)

    if folder is None:
        fit(batches, 0)
        return
    # Every call of `model.fit` starts from a checkpoint, so that a resumed run ends with the same
    # weights as an uninterrupted one.
    checkpoints = Checkpoints(folder)
    progress = checkpoints.restore(model)
    if verbose and progress > Progress():
        print(f"Continuing after {progress}, up to epoch {epochs}.")
    with recorded_signals() as signals:
        while progress.epoch < epochs:
            epoch, step = progress
            # The rest of an interrupted epoch comes first.
            part = batches.from_step(step) if step else batches
            checkpoint = EpochCheckpoint(checkpoints, part, signals, paths)
            fit(part, epoch, checkpoint)
            if not checkpoint.goes_on:
                # `fit` has put the averaged weights into the model; a callback may have replaced
                # them by the weights of the best epoch.
                return
            progress = checkpoints.restore(model)  # training continues from the raw weights
    use_averages(model)


class _ProgressBar(keras.callbacks.ProgbarLogger):
    """Keras's progress bar without metrics that are NaN because they are not computed.

    These are accuracy and cross-entropy in epochs of `LikelihoodFirst`.
    """

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        # Otherwise, nothing is printed, and a step need not be waited for.
        super().on_train_batch_end(batch, _computed(logs) if self.verbose == 1 else None)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        super().on_epoch_end(epoch, _computed(logs))


def _computed(logs: dict | None) -> dict:
    kept = (logs or {}).items()
    return {name: value for name, value in kept if name == "loss" or not math.isnan(value)}


def _seed_torch(batches: ImageBatches) -> keras.callbacks.Callback:
    """Returns a callback that sets torch's global seed in each step, for a resumed training."""
    # Keras's dropout uses torch's global generator, which checkpoints don't contain.
    import torch

    def seed(step: int, logs: dict | None = None) -> None:
        words = [batches.seed, batches.epoch, batches.first_step + step]
        torch.manual_seed(int(np.random.SeedSequence(words).generate_state(1)[0]))

    return keras.callbacks.LambdaCallback(on_train_batch_begin=seed)


def refit_class_bias(
    model: AutoregressiveModel,
    images: np.ndarray,
    condition: Any,
    batch_size: int,
    seed: int,
    sample_weight: np.ndarray | None = None,
) -> None:
    """Fits the class biases of a trained model again, for fixed weights.

    About `BIAS_IMAGES` of the training images, uint8 `(N, height, width, channels)`, are chosen by
    `seed`, the same fraction of each class, and scored `batch_size` at a time. `condition` has the
    label of each image, -1 for images to leave out; in a dict with the other parts of the
    conditions. `sample_weight` is as in `fit_class_bias`.
    """
    # Training learns biases for a network with dropout, whose log-likelihoods are shifted by class,
    # and for weights that are not averaged. The cross-entropy is convex in the biases, so the
    # result does not depend on their initial values.
    labels = class_of(model.condition_values(condition, len(images)))
    labeled = np.flatnonzero(labels >= 0)
    rows = labeled[stratified_rows(labels[labeled], BIAS_IMAGES, seed)]
    of_rows = keras.tree.map_structure(lambda part: np.asarray(part)[rows], condition)
    scores = model.class_log_likelihoods(images[rows], batch_size, condition=of_rows)
    weights = None if sample_weight is None else sample_weight[rows]
    fitted = fit_class_bias(model.logit_scale * scores.astype("float64"), labels[rows], weights)
    model.posterior.class_bias.assign(fitted.astype("float32"))


def stratified_rows(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Returns about `count` random positions, the same fraction of each class (rounded up)."""
    order = np.random.default_rng(seed).permutation(len(labels))
    share = min(1.0, count / len(labels))
    of_classes = (order[labels[order] == label] for label in np.unique(labels))
    return np.sort(np.concatenate([rows[: math.ceil(share * len(rows))] for rows in of_classes]))


def fit_class_bias(
    logits: np.ndarray, labels: np.ndarray, sample_weight: np.ndarray | None = None
) -> np.ndarray:
    """Returns the class biases that minimize the cross-entropy of `logits + class_bias`.

    A Gaussian prior with standard deviation `BIAS_DEVIATION` (nats) keeps the biases of rare
    classes finite. With a few hundred images of each class, its influence is small. The biases of
    classes with images have mean 0, and classes without images have bias 0.

    Args:
        logits: Float array `(N, num_classes)`.
        labels: Int array `(N,)`.
        sample_weight: Float array `(N,)`, or `None` for weights of 1. A weight of 2 counts as two
            images.

    Returns:
        Float64 array `(num_classes,)`.
    """
    fitted = np.zeros(logits.shape[1])
    present, labels = np.unique(labels, return_inverse=True)
    weights = np.ones(len(labels)) if sample_weight is None else sample_weight
    logits, counts = logits[:, present], np.bincount(labels, weights)

    def penalized(class_bias: np.ndarray) -> tuple[float, np.ndarray]:
        log_probs = log_softmax(logits + class_bias, axis=1)
        of_labels = log_probs[np.arange(len(labels)), labels]
        prior = class_bias / BIAS_DEVIATION**2
        gradient = weights @ np.exp(log_probs) - counts + prior
        return (class_bias @ prior / 2 - weights @ of_labels) / len(labels), gradient / len(labels)

    fitted[present] = minimize(penalized, np.zeros(len(present)), jac=True, method="BFGS").x
    return fitted
