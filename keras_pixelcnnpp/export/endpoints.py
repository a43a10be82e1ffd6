"""The SavedModel: a trained model that needs TensorFlow and nothing else."""

import json
import math
import tempfile
from pathlib import Path

import keras
import tensorflow as tf

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.export.decoding import decode_pictures
from keras_pixelcnnpp.files import atomic_path


class ExportedPixelCNN(tf.Module):
    """Wraps a trained `PixelCNNPlusPlus` for `tf.saved_model.save`.

    `classify`, which is `serving_default` too:
        `images` uint8 `[B, H, W, C]` -> `class_id` int32 `[B]`, `probabilities` `[B, n]`,
        `log_likelihood` `[B, n]` (nats), `bits_per_dim` `[B]`.
    `classify_bytes`:
        `image_bytes` string `[B]`, the content of PNG or JPEG files, up to 50 million pixels each
        -> the same. A file that can't be decoded doesn't spoil the batch: its `class_id` is -1, its
        other outputs are NaN. A file is bad if it is no PNG or JPEG, is damaged so that a decoder
        sees it (cut off, a wrong checksum of a PNG), is larger, or is a JPEG of so many scans that
        decoding would take minutes. Not seen: flipped bits within the data of a JPEG, which has no
        checksum and decodes to another picture.
    `log_prob`:
        `images`, `labels` int32 `[B]` -> `log_likelihood` `[B]` (nats).
    `sample`:
        `labels` int32 `[B]`, `seed` int32 `[]`, `temperature` float32 `[]` -> `images` uint8
        `[B, H, W, C]`. Seed and position determine a picture, whatever the batch size.

    Images are levels in `[0, num_levels)`, others are refused; `classify_bytes` makes them from
    pixels itself. Labels are from 0 to the number of classes, which means "no label".

    Args:
        model: A trained model with labels, under the TensorFlow backend.
        assets: Files to travel along, in the SavedModel's folder `assets`.
    """

    def __init__(self, model: keras.Model, assets: list[Path]):
        super().__init__()
        self.assets = [tf.saved_model.Asset(str(path)) for path in assets]
        # The variables and not the model: TensorFlow would track its layers, its optimizer and its
        # metrics as well, and write them all.
        self.model_variables = [variable.value for variable in model.variables]
        self.endpoints = _endpoints(model)


def export_saved_model(
    model: keras.Model, path: str | Path, class_names: tuple[str, ...], config: dict
) -> None:
    """Writes a SavedModel whose endpoints work where this package is not installed.

    Args:
        model: A trained `PixelCNNPlusPlus` with labels, under the TensorFlow backend.
        path: The version's folder, such as `runs/NAME/savedmodel/1`. Replaced as a whole.
        class_names: The name of each class: the asset `class_names.txt`, one a line.
        config: How the model was trained: the asset `config.json`, with `class_names`,
            `image_shape` and `num_levels` added.

    Raises:
        UserError: if the model has no labels, or its pictures are neither grey nor coloured.

    Example:

    ```python
    export_saved_model(model, "runs/digits/savedmodel/1", class_names, run.read_config())
    tf.saved_model.load("runs/digits/savedmodel/1").signatures["classify"](images=images)
    ```
    """
    _check(model)
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder, "class_names.txt")
        names.write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8")
        description = Path(folder, "config.json")
        facts = {
            "class_names": list(class_names),
            "image_shape": list(model.image_shape),
            "num_levels": model.num_levels,
        }
        description.write_text(json.dumps({**config, **facts}, indent=2), encoding="utf-8")
        module = ExportedPixelCNN(model, [names, description])
        signatures = {**module.endpoints, "serving_default": module.endpoints["classify"]}
        with atomic_path(path) as temporary:
            tf.saved_model.save(module, str(temporary), signatures=signatures)


def _check(model: keras.Model) -> None:
    if not model.num_classes:
        raise UserError("A model without labels cannot be exported: it has nothing to classify.")
    channels = model.image_shape[-1]
    if channels not in (1, 3):
        raise UserError(
            "Only models of pictures with 1 or 3 channels, which files can hold, can be exported. "
            f"This one has {channels}."
        )


def _endpoints(model: keras.Model) -> dict[str, tf.types.experimental.ConcreteFunction]:
    # Explicit signatures: inferred ones would give the labels the dtype of the images.
    image_batch = tf.TensorSpec((None, *model.image_shape), tf.uint8, "images")
    label_batch = tf.TensorSpec((None,), tf.int32, "labels")
    byte_batch = tf.TensorSpec((None,), tf.string, "image_bytes")

    @tf.function(autograph=False)
    def classify(images):
        return _posterior(model, _checked_levels(model, images))

    @tf.function(autograph=False)
    def classify_bytes(image_bytes):
        images, good = decode_pictures(image_bytes, model.image_shape, model.num_levels)
        return _without_bad(classify(images), good)

    @tf.function(autograph=False)
    def log_prob(images, labels):
        images, labels = _checked_levels(model, images), _checked_labels(model, labels)
        same = tf.debugging.assert_equal(
            tf.shape(images)[0], tf.shape(labels)[0], "Expected one label for each picture."
        )
        with tf.control_dependencies([same]):
            labels = tf.identity(labels)
        return {"log_likelihood": model.log_prob_tensors(images, labels)}

    # Not with XLA: it would compile for half a minute in the process of whoever calls this.
    @tf.function(autograph=False)
    def sample(labels, seed, temperature):
        return {"images": _draw(model, labels, seed, temperature)}

    return {
        "classify": classify.get_concrete_function(image_batch),
        "classify_bytes": classify_bytes.get_concrete_function(byte_batch),
        "log_prob": log_prob.get_concrete_function(image_batch, label_batch),
        "sample": sample.get_concrete_function(
            label_batch,
            tf.TensorSpec((), tf.int32, "seed"),
            tf.TensorSpec((), tf.float32, "temperature"),
        ),
    }


def _checked_levels(model: keras.Model, images: tf.Tensor) -> tf.Tensor:
    """The pictures; the graph refuses values that the model knows nothing of."""
    highest = model.num_levels - 1
    message = f"images must be levels from 0 to {highest}."
    check = tf.debugging.assert_less_equal(images, tf.constant(highest, tf.uint8), message)
    with tf.control_dependencies([check]):
        return tf.identity(images)


def _checked_labels(model: keras.Model, labels: tf.Tensor) -> tf.Tensor:
    """The labels; the graph refuses others than classes and "no label"."""
    highest = model.num_classes  # which means "no label"
    message = f"labels must be from 0 to {highest}."
    checks = [
        tf.debugging.assert_non_negative(labels, message),
        tf.debugging.assert_less_equal(labels, highest, message),
    ]
    with tf.control_dependencies(checks):
        return tf.identity(labels)


def _posterior(model: keras.Model, images: tf.Tensor) -> dict[str, tf.Tensor]:
    """Bayes' rule over all classes, and the density of the picture, classes equally likely."""
    result = model.posterior_tensors(images)
    return {"class_id": tf.argmax(result["probabilities"], axis=1, output_type=tf.int32), **result}


def _without_bad(result: dict[str, tf.Tensor], good: tf.Tensor) -> dict[str, tf.Tensor]:
    """Class -1, and NaN for every other output, where a picture could not be decoded."""

    def mask(output):
        nothing = tf.constant(-1 if output.dtype.is_integer else math.nan, output.dtype)
        return tf.where(tf.reshape(good, [-1] + [1] * (output.shape.rank - 1)), output, nothing)

    return {name: mask(output) for name, output in result.items()}


def _draw(
    model: keras.Model, labels: tf.Tensor, seed: tf.Tensor, temperature: tf.Tensor
) -> tf.Tensor:
    """Pictures of the given classes: levels, uint8 `[B, H, W, C]`."""
    labels = _checked_labels(model, labels)
    positive = tf.debugging.assert_positive(temperature, "temperature must be positive.")
    with tf.control_dependencies([positive]):
        labels = tf.identity(labels)
    height, width, channels = model.image_shape
    shape = (height, width, model.num_mixtures + channels)

    def noise_of(position):
        # One algorithm on every device. Its numbers are multiples of 2^-23 in [0, 1); half a step
        # more, and they are symmetric in (0, 1), where the sampler's logarithms are finite.
        seeds = tf.stack([seed, position])
        return tf.random.stateless_uniform(shape, seeds, alg="philox") + 2.0**-24

    count = tf.shape(labels)[0]
    signature = tf.TensorSpec(shape, tf.float32)
    noise = tf.map_fn(noise_of, tf.range(count), fn_output_signature=signature)
    return model.sample_tensors(labels, noise, tf.fill((count,), temperature))
