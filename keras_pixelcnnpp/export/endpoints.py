"""Making a SavedModel: its four endpoints, traced from a trained model, and their writing."""

import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from keras_pixelcnnpp.data.images import check_channels
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.export.decoding import decode_images
from keras_pixelcnnpp.files import atomic_path
from keras_pixelcnnpp.sampling.sampler import PixelSampler


def export_saved_model(model: keras.Model, path: str | Path, config: dict | None = None) -> None:
    """Writes a SavedModel whose endpoints work where this package is not installed.

    `classify`, which is `serving_default` too:
        `images` uint8 `(B, H, W, C)` -> `class_id` int32 `(B,)`, `probabilities` `(B, n)`,
        `log_likelihood` `(B, n)` (nats), `bits_per_dim` `(B,)`.
    `classify_bytes`:
        `image_bytes` string `(B,)`, the content of PNG or JPEG files, up to 50 million pixels each
        -> the same. A file that can't be decoded doesn't affect the others: its `class_id` is -1,
        its other outputs are NaN. Such is a file that is no PNG or JPEG, is damaged so that a
        decoder sees it (cut off, a wrong checksum of a PNG), is larger, or is a JPEG of so many
        scans that decoding would take minutes. Not seen: flipped bits within the data of a JPEG,
        which has no checksum and decodes to another image.
    `log_prob`:
        `images`, `labels` int32 `(B,)` -> `log_likelihood` `(B,)` (nats).
    `sample`:
        `labels` int32 `(B,)`, `seed` int32 `()`, `temperature` float32 `()` -> `images` uint8
        `(B, H, W, C)`. Seed and position determine an image, whatever the batch size.

    The names of the classes are the asset `class_names.txt`, one a line. Shapes and values that
    don't fit are refused with a sentence. Large batches are worked through in parts, so that memory
    doesn't grow with them.

    Images hold 0 to 255. Labels are classes; in `sample`, -1 stands for a class at random.

    Args:
        model: A trained `AutoregressiveModel` with labels, under the TensorFlow backend.
        path: The version's folder, such as `runs/NAME/savedmodel/1`: new, empty, or a SavedModel,
            which is replaced as a whole.
        config: How the model was trained: the asset `config.json`, with `class_names`,
            `image_shape`, `num_levels`, `resize` and `white_level` added.

    Raises:
        UserError: If `path` holds something else; or the model has no labels; or its images are
            neither gray nor RGB.

    Example:

    ```python
    export_saved_model(model, "runs/digits/savedmodel/1", run.read_config())
    tf.saved_model.load("runs/digits/savedmodel/1").signatures["classify"](images=images)
    ```
    """
    _check(model, Path(path))
    config = config or {}
    data = config.get("data", {})
    resize = data.get("resize", "center_crop")
    facts = {
        "class_names": list(model.class_names),
        "image_shape": list(model.image_shape),
        "num_levels": model.num_levels,
        "resize": resize,
        "white_level": data.get("white_level"),
    }
    module = tf.Module()
    # The variables and not the model: TensorFlow would track its layers, its optimizer and its
    # metrics as well, and write them all.
    module.model_variables = [variable.value for variable in model.variables]
    endpoints = _endpoints(model, resize)
    signatures = {**endpoints, "serving_default": endpoints["classify"]}
    with tempfile.TemporaryDirectory() as folder:
        names, description = Path(folder, "class_names.txt"), Path(folder, "config.json")
        names.write_text("".join(f"{name}\n" for name in model.class_names), encoding="utf-8")
        description.write_text(json.dumps({**config, **facts}, indent=2), encoding="utf-8")
        module.assets = [tf.saved_model.Asset(str(file)) for file in (names, description)]
        with atomic_path(path) as temporary:
            tf.saved_model.save(module, str(temporary), signatures=signatures)


def _check(model: keras.Model, path: Path) -> None:
    is_new = not path.exists() or (path.is_dir() and not any(path.iterdir()))
    if not is_new and not (path / "saved_model.pb").is_file():
        raise UserError(
            f"{path} would be replaced as a whole. Expected a folder that is new, empty or a "
            "SavedModel. Received one with other content"
        )
    if not model.num_classes:
        raise UserError("A model without labels cannot be exported: it has nothing to classify.")
    check_channels(model.image_shape)  # of what files can hold


# Of the candidates that are scored at once. Measured on a CPU, default network: 0.19 s an image of
# 10 classes, with twice as many 0.28 s.
_MAX_PIXELS = 2**16
_MAX_SAMPLES = 100


def _endpoints(model: keras.Model, resize: str) -> dict:
    """The four endpoints, traced, by name."""
    shape, num_classes = model.image_shape, model.num_classes
    image_size = shape[0] * shape[1]
    of_image, of_class = tf.TensorSpec(()), tf.TensorSpec((num_classes,))

    def classify(images: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = {"log_likelihood": of_class, "probabilities": of_class, "bits_per_dim": of_image}
        at_once = _MAX_PIXELS // (image_size * num_classes)
        result = _in_parts(model.posterior_tensors, [images], at_once, outputs)
        class_id = tf.argmax(result["probabilities"], axis=1, output_type=tf.int32)
        return {"class_id": class_id, **result}

    def classify_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        images, good = decode_images(image_bytes, shape, resize)
        return _without_bad(classify(images), good)

    def log_prob(images: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        same = tf.debugging.assert_equal(
            tf.shape(images)[0], tf.shape(labels)[0], "Expected one label for each image."
        )
        with tf.control_dependencies([same]):
            inputs = [tf.identity(images), _checked_labels(model, labels, lowest=0)]

        def score(images: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"log_likelihood": model.log_likelihood(images, labels[:, None])[:, 0]}

        return _in_parts(score, inputs, _MAX_PIXELS // image_size, {"log_likelihood": of_image})

    # Not with XLA: it would compile for half a minute in the process of whoever calls this.
    def sample(labels: tf.Tensor, seed: tf.Tensor, temperature: tf.Tensor) -> dict[str, tf.Tensor]:
        positive = tf.debugging.assert_positive(temperature, "temperature must be positive.")
        with tf.control_dependencies([positive]):
            labels = _checked_labels(model, labels, lowest=-1)

        def sample_part(labels: tf.Tensor, positions: tf.Tensor) -> dict[str, tf.Tensor]:
            labels = tf.where(labels < 0, _random_classes(model, seed, positions), labels)
            temperatures = tf.fill(tf.shape(labels), temperature)
            noise = _noise(model, seed, positions)
            sampler_inputs = {"label": labels, "noise": noise, "temperature": temperatures}
            images, _ = PixelSampler(model)(sampler_inputs)
            return {"images": images}

        inputs = [labels, tf.range(tf.shape(labels)[0])]
        return _in_parts(
            sample_part, inputs, _MAX_SAMPLES, {"images": tf.TensorSpec(shape, tf.uint8)}
        )

    images = tf.TensorSpec((None, *shape), tf.uint8, "images")
    labels = tf.TensorSpec((None,), tf.int32, "labels")
    image_bytes = tf.TensorSpec((None,), tf.string, "image_bytes")
    seed = tf.TensorSpec((), tf.int32, "seed")
    temperature = tf.TensorSpec((), tf.float32, "temperature")
    return {
        "classify": _endpoint(classify, images),
        "classify_bytes": _endpoint(classify_bytes, image_bytes),
        "log_prob": _endpoint(log_prob, images, labels),
        "sample": _endpoint(sample, labels, seed, temperature),
    }


def _endpoint(function: Callable, *specs: tf.TensorSpec) -> Callable:
    """Traces a function of tensors; the graph refuses other shapes than those of `specs`."""

    def checked(tensor: tf.Tensor, spec: tf.TensorSpec) -> tf.Tensor:
        # TensorFlow lets any shape in, and leaves out checks of what the signature says already.
        tensor = tf.raw_ops.PlaceholderWithDefault(input=tensor, shape=None, name=spec.name)
        return tf.ensure_shape(tensor, spec.shape)

    @tf.function(autograph=False)
    def endpoint(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        return function(*map(checked, tensors, specs))

    # Explicit signatures: inferred ones would give the labels the dtype of the images.
    return endpoint.get_concrete_function(*specs)


def _in_parts(
    function: Callable[..., dict[str, tf.Tensor]],
    inputs: list[tf.Tensor],
    at_once: int,
    outputs: dict[str, tf.TensorSpec],
) -> dict[str, tf.Tensor]:
    """`function(*inputs)` for `at_once` rows at a time, at least one, so that memory is bounded.

    Its inputs and its outputs, by name, have a row for each image: `outputs` says of what kind.
    """
    at_once = max(1, at_once)
    rows = tf.shape(inputs[0])[0]
    # Of no images, one of zeros is computed: it gives the outputs their shapes.
    count = tf.maximum(rows, 1)
    inputs = [tf.pad(x, [(0, count - rows), *[(0, 0)] * (len(x.shape) - 1)]) for x in inputs]

    def compute_part(
        start: tf.Tensor, parts: dict[str, tf.TensorArray]
    ) -> tuple[tf.Tensor, dict[str, tf.TensorArray]]:
        computed = function(*(tensor[start : start + at_once] for tensor in inputs))
        return start + at_once, {
            name: part.write(start // at_once, computed[name]) for name, part in parts.items()
        }

    parts = {
        name: tf.TensorArray(
            spec.dtype, 1, True, infer_shape=False, element_shape=(None, *spec.shape)
        )
        for name, spec in outputs.items()
    }
    _, parts = tf.while_loop(
        lambda start, _: start < count, compute_part, (0, parts), parallel_iterations=1
    )
    return {name: part.concat()[:rows] for name, part in parts.items()}


def _checked_labels(model: keras.Model, labels: tf.Tensor, lowest: int) -> tf.Tensor:
    """The labels; the graph refuses those that are out of range."""
    highest = model.num_classes - 1
    message = f"labels must be from {lowest} to {highest}."
    checks = [
        tf.debugging.assert_greater_equal(labels, lowest, message),
        tf.debugging.assert_less_equal(labels, highest, message),
    ]
    with tf.control_dependencies(checks):
        return tf.identity(labels)


def _without_bad(result: dict[str, tf.Tensor], good: tf.Tensor) -> dict[str, tf.Tensor]:
    """Class -1, and NaN for every other output, where an image could not be decoded."""

    def mask(output: tf.Tensor) -> tf.Tensor:
        nothing = tf.constant(-1 if output.dtype.is_integer else math.nan, output.dtype)
        return tf.where(tf.reshape(good, [-1] + [1] * (output.shape.rank - 1)), output, nothing)

    return {name: mask(output) for name, output in result.items()}


def _random_classes(model: keras.Model, seed: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
    """A class for each image, int32 `(B,)`."""

    def class_of(position: tf.Tensor) -> tf.Tensor:
        # Negative positions: the noise of images has the others.
        seeds = tf.stack([seed, -1 - position])
        return tf.random.stateless_uniform((), seeds, 0, model.num_classes, tf.int32, alg="philox")

    return tf.map_fn(class_of, positions)


def _noise(model: keras.Model, seed: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
    """Uniform noise of the sampler, `(B, H, W, noise_size)`; each image has its own."""
    shape = (*model.image_shape[:2], model.distribution.noise_size)

    def noise_of(position: tf.Tensor) -> tf.Tensor:
        # One algorithm on every device. Its numbers are multiples of 2^-23 in [0, 1); half a step
        # more, and they are symmetric in (0, 1), where the sampler's logarithms are finite.
        seeds = tf.stack([seed, position])
        return tf.random.stateless_uniform(shape, seeds, alg="philox") + 2.0**-24

    return tf.map_fn(noise_of, positions, fn_output_signature=tf.TensorSpec(shape, tf.float32))
