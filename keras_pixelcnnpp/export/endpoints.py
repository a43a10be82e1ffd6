"""Making a SavedModel: its four endpoints, traced from a trained model, and their writing."""

import json
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.export.decoding import decode_pictures
from keras_pixelcnnpp.files import atomic_path
from keras_pixelcnnpp.run import resize_of


class ExportedPixelCNN(tf.Module):
    """Wraps a trained `AutoregressiveModel` for `tf.saved_model.save`.

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

    Shapes and values that don't fit are refused with a sentence. Large batches are worked through
    in parts, so that memory doesn't grow with them.

    Images are levels in `[0, num_levels)`; `classify_bytes` makes them from pixels itself. Labels
    are classes; of a model trained with label dropout, the number of classes means "no label".

    Args:
        model: A trained model with labels, under the TensorFlow backend.
        assets: Files to travel along, in the SavedModel's folder `assets`.
        resize: `"crop"` or `"squeeze"`: how `classify_bytes` reads another aspect ratio.
    """

    def __init__(self, model: keras.Model, assets: list[Path], resize: str):
        super().__init__()
        self.assets = [tf.saved_model.Asset(str(path)) for path in assets]
        # The variables and not the model: TensorFlow would track its layers, its optimizer and its
        # metrics as well, and write them all.
        self.model_variables = [variable.value for variable in model.variables]
        self.endpoints = _endpoints(model, resize)


def export_saved_model(
    model: keras.Model,
    path: str | Path,
    class_names: Sequence[str] | None = None,
    config: dict | None = None,
) -> None:
    """Writes a SavedModel whose endpoints work where this package is not installed.

    Args:
        model: A trained `AutoregressiveModel` with labels, under the TensorFlow backend.
        path: The version's folder, such as `runs/NAME/savedmodel/1`. Replaced as a whole.
        class_names: The name of each class: the asset `class_names.txt`, one a line. By default
            `Class0`, `Class1` and so on.
        config: How the model was trained: the asset `config.json`, with `class_names`,
            `image_shape`, `num_levels` and `resize` added.

    Raises:
        UserError: if the model has no labels, or not as many as there are names; or its pictures
            are neither grey nor coloured.

    Example:

    ```python
    export_saved_model(model, "runs/digits/savedmodel/1", class_names, run.read_config())
    tf.saved_model.load("runs/digits/savedmodel/1").signatures["classify"](images=images)
    ```
    """
    if class_names is None:
        class_names = [f"Class{label}" for label in range(model.num_classes)]
    _check(model, class_names)
    resize = "crop" if config is None else resize_of(config.get("data", {}))
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder, "class_names.txt")
        names.write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8")
        description = Path(folder, "config.json")
        facts = {
            "class_names": list(class_names),
            "image_shape": list(model.image_shape),
            "num_levels": model.num_levels,
            "resize": resize,
        }
        description.write_text(json.dumps({**(config or {}), **facts}, indent=2), encoding="utf-8")
        module = ExportedPixelCNN(model, [names, description], resize)
        signatures = {**module.endpoints, "serving_default": module.endpoints["classify"]}
        with atomic_path(path) as temporary:
            tf.saved_model.save(module, str(temporary), signatures=signatures)


def _check(model: keras.Model, class_names: Sequence[str]) -> None:
    if not model.num_classes:
        raise UserError("A model without labels cannot be exported: it has nothing to classify.")
    if len(class_names) != model.num_classes:
        raise UserError(
            f"Invalid value for argument `class_names`. Expected {model.num_classes} names. "
            f"Received: class_names={list(class_names)}"
        )
    channels = model.image_shape[-1]
    if channels not in (1, 3):
        raise UserError(
            "Only models of pictures with 1 or 3 channels, which files can hold, can be exported. "
            f"This one has {channels}."
        )


def _endpoints(
    model: keras.Model, resize: str
) -> dict[str, tf.types.experimental.ConcreteFunction]:
    def classify(images):
        of_classes = (model.num_classes,)
        shapes = {"log_likelihood": of_classes, "probabilities": of_classes, "bits_per_dim": ()}
        result = _in_parts(model, model.posterior_tensors, [images], model.num_classes, shapes)
        class_id = tf.argmax(result["probabilities"], axis=1, output_type=tf.int32)
        return {"class_id": class_id, **result}

    def classify_bytes(image_bytes):
        images, good = decode_pictures(image_bytes, model.image_shape, model.num_levels, resize)
        return _without_bad(classify(images), good)

    def log_prob(images, labels):
        same = tf.debugging.assert_equal(
            tf.shape(images)[0], tf.shape(labels)[0], "Expected one label for each picture."
        )
        with tf.control_dependencies([same]):
            labels = _checked_labels(model, labels)

        def score(images, labels):
            return {"log_likelihood": model.log_prob_tensors(images, labels)}

        images = _checked_levels(model, images)
        return _in_parts(model, score, [images, labels], 1, {"log_likelihood": ()})

    # Not with XLA: it would compile for half a minute in the process of whoever calls this.
    def sample(labels, seed, temperature):
        return {"images": _draw(model, _checked_labels(model, labels), seed, temperature)}

    images = tf.TensorSpec((None, *model.image_shape), tf.uint8, "images")
    labels = tf.TensorSpec((None,), tf.int32, "labels")
    image_bytes = tf.TensorSpec((None,), tf.string, "image_bytes")
    seed = tf.TensorSpec((), tf.int32, "seed")
    temperature = tf.TensorSpec((), tf.float32, "temperature")
    return {
        "classify": _endpoint(lambda images: classify(_checked_levels(model, images)), images),
        "classify_bytes": _endpoint(classify_bytes, image_bytes),
        "log_prob": _endpoint(log_prob, images, labels),
        "sample": _endpoint(sample, labels, seed, temperature),
    }


def _endpoint(function: Callable, *specs: tf.TensorSpec):
    """Traces a function of tensors; the graph refuses other shapes than those of `specs`."""

    def checked(tensor, spec):
        # TensorFlow lets any shape in, and leaves out checks of what the signature says already.
        tensor = tf.raw_ops.PlaceholderWithDefault(input=tensor, shape=None, name=spec.name)
        return tf.ensure_shape(tensor, spec.shape)

    @tf.function(autograph=False)
    def endpoint(*tensors):
        return function(*map(checked, tensors, specs))

    # Explicit signatures: inferred ones would give the labels the dtype of the images.
    return endpoint.get_concrete_function(*specs)


# Of the candidates that are scored at once, which bounds the memory whatever the size of a batch.
# Measured on a CPU, default network: 0.19 s a picture of 10 classes, with twice as many 0.28 s.
_PIXELS_AT_ONCE = 2**16


def _in_parts(
    model: keras.Model,
    score: Callable[..., dict[str, tf.Tensor]],
    inputs: list[tf.Tensor],
    num_candidates: int,
    shapes: dict[str, tuple[int, ...]],
) -> dict[str, tf.Tensor]:
    """`score(*inputs)` for so many rows at a time that memory is bounded.

    Args:
        model: The model.
        score: From tensors with a row for each picture to float32 tensors with one, by name.
        inputs: What it is called with.
        num_candidates: How many labels it scores each picture under.
        shapes: The shape of a row of each of its outputs.
    """
    height, width, _ = model.image_shape
    size = max(1, _PIXELS_AT_ONCE // (height * width * num_candidates))
    # Of no pictures, one part too: it gives the outputs their shapes.
    count = tf.maximum(tf.shape(inputs[0])[0], 1)

    def score_part(start, parts):
        outputs = score(*(tensor[start : start + size] for tensor in inputs))
        return start + size, {
            name: part.write(start // size, outputs[name]) for name, part in parts.items()
        }

    parts = {
        name: tf.TensorArray(tf.float32, 1, True, infer_shape=False, element_shape=(None, *shape))
        for name, shape in shapes.items()
    }
    _, parts = tf.while_loop(
        lambda start, _: start < count, score_part, (0, parts), parallel_iterations=1
    )
    return {name: part.concat() for name, part in parts.items()}


def _checked_levels(model: keras.Model, images: tf.Tensor) -> tf.Tensor:
    """The pictures; the graph refuses values that the model knows nothing of."""
    highest = model.num_levels - 1
    message = f"images must be levels from 0 to {highest}."
    check = tf.debugging.assert_less_equal(images, tf.constant(highest, tf.uint8), message)
    with tf.control_dependencies([check]):
        return tf.identity(images)


def _checked_labels(model: keras.Model, labels: tf.Tensor) -> tf.Tensor:
    """The labels; the graph refuses those that the model doesn't know."""
    highest = model.num_labels - 1
    message = f"labels must be from 0 to {highest}."
    checks = [
        tf.debugging.assert_non_negative(labels, message),
        tf.debugging.assert_less_equal(labels, highest, message),
    ]
    with tf.control_dependencies(checks):
        return tf.identity(labels)


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
    positive = tf.debugging.assert_positive(temperature, "temperature must be positive.")
    with tf.control_dependencies([positive]):
        labels = tf.identity(labels)
    shape = (*model.image_shape[:2], model.distribution.noise_size)

    def noise_of(position):
        # One algorithm on every device. Its numbers are multiples of 2^-23 in [0, 1); half a step
        # more, and they are symmetric in (0, 1), where the sampler's logarithms are finite.
        seeds = tf.stack([seed, position])
        return tf.random.stateless_uniform(shape, seeds, alg="philox") + 2.0**-24

    count = tf.shape(labels)[0]
    signature = tf.TensorSpec(shape, tf.float32)
    noise = tf.map_fn(noise_of, tf.range(count), fn_output_signature=signature)
    return model.sample_tensors(labels, noise, tf.fill((count,), temperature))
