"""Exports a trained model as a SavedModel with five endpoints."""

import json
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import tensorflow as tf
from keras import ops

from keras_pixelcnnpp.conditions import LABEL, Labels, Values
from keras_pixelcnnpp.conditions.classes import class_of, with_one_class
from keras_pixelcnnpp.conditions.values import as_candidates, taken
from keras_pixelcnnpp.distributions.bits import bits_per_dim
from keras_pixelcnnpp.export.decoding import decode_images
from keras_pixelcnnpp.layers.posterior import log_marginal
from keras_pixelcnnpp.models.scoring import class_scores
from keras_pixelcnnpp.sampling.choices import WholePixels
from keras_pixelcnnpp.sampling.sampler import PixelSampler
from keras_pixelcnnpp.utils.backend import Nest
from keras_pixelcnnpp.utils.checks import image_dtype
from keras_pixelcnnpp.utils.errors import UserError
from keras_pixelcnnpp.utils.files import atomic_path


def export_saved_model(model: keras.Model, path: str | Path, config: dict | None = None) -> None:
    """Exports a SavedModel whose endpoints work without this package.

    `classify`, which is also `serving_default`:
        `images` uint8 `(B, H, W, C)` -> `class_id` int32 `(B,)`, `probabilities` `(B, n)`,
        `log_likelihood` `(B, n)` (nats), `bits_per_dim` `(B,)`.
    `classify_bytes`:
        `image_bytes` string `(B,)`, the contents of PNG or JPEG files with up to 2**24 pixels
        -> the outputs of `classify`. Files that can't be decoded don't affect the others: their
        `class_id` is -1, and their other outputs are NaN. These are files of other formats, with
        more pixels, or with detectable damage (truncated, wrong checksum of a PNG). Changed bits in
        the data of a JPEG are not detected, because JPEG has no checksum.
    `log_prob`:
        `images`, `labels` int32 `(B,)` -> `log_likelihood` `(B,)` (nats).
    `sample`:
        `labels` int32 `(B,)`, `seed` int32 `()`, `temperature` float32 `()` -> `images` uint8
        `(B, H, W, C)`. The label -1 samples a random class. Seed and position determine an image,
        independent of the batch size.

    Images have values from 0 to 255. Those of a model of more than 256 levels are uint16, and have
    the levels as values; codes are uint8 or uint16 by their number. Inputs with wrong shapes or
    values raise an error. Large batches are processed in parts, so that the memory is bounded. The
    asset `class_names.txt` has the name of a class in each line.

    An unconditional model has the endpoints `log_prob`, which is its `serving_default`, `sample`
    and `complete`; all labels are -1. So has a model of `Vectors`, with the input `vectors` float64
    `(B, size)` instead of `labels`. Only gray and RGB images of up to 256 levels have
    `classify_bytes`, not codes, and only if the training images were read without a white level,
    which the graph does not apply.

    Args:
        model: A trained `AutoregressiveModel` under the TensorFlow backend.
        path: Folder of the version, such as `runs/NAME/savedmodel/1`. It must be new or empty,
            or contain only a SavedModel, which is replaced.
        config: Optional dict, the configuration of the training run. It is written as the asset
            `config.json`, together with `class_names`, `conditions`, `image_shape`, `num_levels`,
            `ordered_levels`, `resize` and `white_level`.

    Raises:
        UserError: If `path` has other content, or a SavedModel cannot have the model's condition.

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
    class_names = model.class_names
    facts = {
        "class_names": list(class_names),
        "conditions": model.encoder.learned.arguments(),
        "image_shape": list(model.image_shape),
        "num_levels": model.num_levels,
        "ordered_levels": model.ordered_levels,
        "resize": resize,
        "white_level": data.get("white_level"),
    }
    module = tf.Module()
    # Only the variables: TensorFlow would also track and save layers, optimizer and metrics of a
    # model.
    module.model_variables = [variable.value for variable in model.variables]
    endpoints = _endpoints(model, resize)
    if facts["white_level"] or resize == "crop":
        endpoints.pop("classify_bytes", None)
    default = endpoints.get("classify", endpoints["log_prob"])
    signatures = {**endpoints, "serving_default": default}
    with tempfile.TemporaryDirectory() as folder:
        names, description = Path(folder, "class_names.txt"), Path(folder, "config.json")
        names.write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8")
        description.write_text(json.dumps({**config, **facts}, indent=2), encoding="utf-8")
        module.assets = [tf.saved_model.Asset(str(file)) for file in (names, description)]
        with atomic_path(path) as temporary:
            tf.saved_model.save(module, str(temporary), signatures=signatures)


# All that TensorFlow writes into the folder of a SavedModel.
_WRITTEN = ("assets", "fingerprint.pb", "saved_model.pb", "variables")


def _check(model: keras.Model, path: Path) -> None:
    others = [path] if path.is_file() else []
    if path.is_dir():
        others = [file for file in sorted(path.iterdir()) if file.name not in _WRITTEN]
    if others:
        raise UserError(
            f"{path} would be replaced completely. Expected a folder that is new, empty or a "
            f"SavedModel alone. Received: a folder with other content, such as {others[0].name}"
        )
    if not model.conditions.exportable:
        raise UserError(
            "A SavedModel cannot have this condition. Expected labels, vectors, maps, or none. "
            f"Received: a model of {model.conditions.description}"
        )


# Upper bound of the pixels, for all images and classes, that are scored at once. Measured on a CPU
# for the default network and 10 classes: 0.19 s per image, and 0.28 s with twice as many pixels.
_MAX_PIXELS = 2**16
_MAX_SAMPLES = 100
# Upper bound of the parameters of their distributions, 256 MiB in float32, of which there are a few
# copies. Only a softmax over more than 1,024 levels reaches it.
_MAX_PARAMETERS = 2**26


def _pixels_at_once(model: keras.Model) -> int:
    """Returns how many pixels, for all images and classes, are scored at once."""
    return min(_MAX_PIXELS, _MAX_PARAMETERS // model.distribution.num_parameters)


def _endpoints(model: keras.Model, resize: str) -> dict:
    """Returns a dict from names to the traced endpoints of the model."""
    shape, conditions = model.image_shape, model.conditions
    num_classes = conditions.num_classes
    image_size, dtype = shape[0] * shape[1], tf.as_dtype(image_dtype(model.num_levels))
    of_image, of_class = tf.TensorSpec(()), tf.TensorSpec((num_classes,))
    given_specs = [
        tf.TensorSpec((None, *size), dtype, name)
        for name, (size, dtype) in conditions.served().items()
    ]
    # What else the model needs to compare classes.
    other_specs = [spec for spec in given_specs if spec.name != Labels.kind]

    def values_of(
        images: tf.Tensor, given: Sequence[tf.Tensor], specs: list[tf.TensorSpec] = given_specs
    ) -> Values:
        first_class = tf.zeros((tf.shape(images)[0],), tf.int32)
        names = [spec.name for spec in specs]
        inputs = {Labels.kind: first_class, **dict(zip(names, given, strict=True))}
        values = model.encoder.scaled_tensor(conditions.from_served(inputs))
        return {LABEL: first_class, **values}

    def classify_part(images: tf.Tensor, *others: tf.Tensor) -> dict[str, tf.Tensor]:
        log_likelihood = class_scores(model, images, values_of(images, others, other_specs))
        return {
            "log_likelihood": log_likelihood,
            "probabilities": tf.nn.softmax(model.posterior(log_likelihood)),
            "bits_per_dim": bits_per_dim(log_marginal(log_likelihood), shape),
        }

    def classify(images: tf.Tensor, *others: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = {"log_likelihood": of_class, "probabilities": of_class, "bits_per_dim": of_image}
        at_once = _pixels_at_once(model) // (image_size * num_classes)
        inputs = images_and_values(images, others, other_specs)
        result = _in_parts(classify_part, inputs, at_once, outputs)
        class_id = tf.argmax(result["probabilities"], axis=1, output_type=tf.int32)
        return {"class_id": class_id, **result}

    def classify_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        images, good = decode_images(image_bytes, shape, resize)
        return _without_bad(classify(images), good)

    def images_and_values(
        images: tf.Tensor,
        given: Sequence[tf.Tensor],
        specs: list[tf.TensorSpec] = given_specs,
        lowest: int = 0 if num_classes else -1,  # the only label without classes
    ) -> list[tf.Tensor]:
        message = f"Expected one {conditions.one_value or Labels.name} for each image."
        same = [
            tf.debugging.assert_equal(tf.shape(images)[0], tf.shape(x)[0], message) for x in given
        ]
        if model.may_be_invalid(images):
            message = f"images must be from 0 to {model.num_values - 1}."
            values = tf.cast(images, tf.int32)
            same.append(tf.debugging.assert_less(values, model.num_values, message))
        with tf.control_dependencies(same):
            return [tf.identity(images), *_checked_values(model, given, specs, lowest)]

    def log_prob(images: tf.Tensor, *given: tf.Tensor) -> dict[str, tf.Tensor]:
        def score(images: tf.Tensor, *given: tf.Tensor) -> dict[str, tf.Tensor]:
            values = as_candidates(values_of(images, given))
            return {"log_likelihood": model.log_likelihood(images, values)[:, 0]}

        inputs = images_and_values(images, given)
        at_once = _pixels_at_once(model) // image_size
        return _in_parts(score, inputs, at_once, {"log_likelihood": of_image})

    # Traced once for both endpoints. Without XLA, which would compile for half a minute in each
    # process that samples.
    sampler = tf.function(PixelSampler(model, WholePixels(model.distribution)), autograph=False)

    def complete(images: tf.Tensor, *inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        *given, observed_rows, seed, temperature = inputs
        message = f"observed_rows must be from 0 to {shape[0]}."
        checks = [
            tf.debugging.assert_positive(temperature, "temperature must be positive."),
            tf.debugging.assert_non_negative(observed_rows, message),
            tf.debugging.assert_less_equal(observed_rows, shape[0], message),
        ]
        with tf.control_dependencies(checks):
            images, *given = images_and_values(images, given)
        return completed(images, values_of(images, given), observed_rows, seed, temperature)

    def completed(
        images: tf.Tensor,
        values: Values,
        observed_rows: tf.Tensor,
        seed: tf.Tensor,
        temperature: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        row_is_known = tf.range(shape[0]) < observed_rows

        def complete_part(
            images: tf.Tensor, values: Values, positions: tf.Tensor
        ) -> dict[str, tf.Tensor]:
            count = tf.shape(positions)[0]
            known = tf.broadcast_to(row_is_known[:, None, None], (count, *shape))
            sampler_inputs = {
                "image": images,
                "known": known,
                "noise": _noise(model, seed, positions),
                "temperature": tf.fill([count], temperature),
                "values": values,
            }
            return {"images": sampler(sampler_inputs)["images"]}

        inputs = [images, values, tf.range(tf.shape(images)[0])]
        return _in_parts(
            complete_part, inputs, _MAX_SAMPLES, {"images": tf.TensorSpec(shape, dtype)}
        )

    def sample(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        *given, seed, temperature = inputs
        positive = tf.debugging.assert_positive(temperature, "temperature must be positive.")
        count = tf.shape(given[0])[0]
        nothing = tf.zeros((count, *shape), dtype)
        with tf.control_dependencies([positive]):
            nothing, *given = images_and_values(nothing, given, lowest=-1)
        values = values_of(nothing, given)
        if num_classes:
            classes = class_of(values)
            random = _random_classes(model, seed, tf.range(count))
            classes = tf.where(classes < 0, random, classes)
            values = with_one_class(values, classes)
        return completed(nothing, values, tf.constant(0), seed, temperature)

    images = tf.TensorSpec((None, *shape), dtype, "images")
    image_bytes = tf.TensorSpec((None,), tf.string, "image_bytes")
    seed = tf.TensorSpec((), tf.int32, "seed")
    temperature = tf.TensorSpec((), tf.float32, "temperature")
    rows = tf.TensorSpec((), tf.int32, "observed_rows")
    endpoints = {
        "complete": _endpoint(complete, images, *given_specs, rows, seed, temperature),
        "log_prob": _endpoint(log_prob, images, *given_specs),
        "sample": _endpoint(sample, *given_specs, seed, temperature),
    }
    if num_classes:
        endpoints["classify"] = _endpoint(classify, images, *other_specs)
    has_8_bits = model.ordered_levels and dtype == tf.uint8
    if num_classes and not other_specs and shape[-1] in (1, 3) and has_8_bits:
        endpoints["classify_bytes"] = _endpoint(classify_bytes, image_bytes)
    return endpoints


def _endpoint(function: Callable, *specs: tf.TensorSpec) -> Callable:
    """Traces a function of tensors. The graph raises an error if shapes differ from `specs`."""

    def checked(tensor: tf.Tensor, spec: tf.TensorSpec) -> tf.Tensor:
        # The placeholder hides the signature's shape. TensorFlow does not enforce this shape, but
        # removes checks that it implies.
        tensor = tf.raw_ops.PlaceholderWithDefault(input=tensor, shape=None, name=spec.name)
        return tf.ensure_shape(tensor, spec.shape)

    @tf.function(autograph=False)
    def endpoint(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        return function(*map(checked, tensors, specs))

    # Explicit signatures: inferred ones would give the labels the dtype of the images.
    return endpoint.get_concrete_function(*specs)


def _in_parts(
    function: Callable[..., dict[str, tf.Tensor]],
    inputs: list[Nest],
    at_once: int,
    outputs: dict[str, tf.TensorSpec],
) -> dict[str, tf.Tensor]:
    """Computes `function(*inputs)` for `at_once` rows at a time, which bounds the memory.

    Inputs and outputs have a row for each image, which `outputs` specifies for each output.
    """
    at_once = max(1, at_once)
    rows = tf.shape(inputs[0])[0]
    # For an empty batch, one row of zeros is computed to get the shapes of the outputs.
    count = tf.maximum(rows, 1)
    inputs = keras.tree.map_structure(
        lambda x: tf.pad(x, [(0, count - rows), *[(0, 0)] * (len(x.shape) - 1)]), inputs
    )

    signature = {
        name: tf.RaggedTensorSpec((None, *spec.shape), spec.dtype, ragged_rank=0)
        for name, spec in outputs.items()
    }
    parts = tf.map_fn(
        lambda start: function(*taken(inputs, slice(start, start + at_once))),
        tf.range(0, count, at_once),
        parallel_iterations=1,
        fn_output_signature=signature,
    )
    return {name: part.values[:rows] for name, part in parts.items()}


def _checked_values(
    model: keras.Model, given: Sequence[tf.Tensor], specs: list[tf.TensorSpec], lowest: int
) -> list[tf.Tensor]:
    """Returns labels and numbers. The graph raises an error for those that no value has."""
    checks, parts = [], {part.kind: part for part in model.conditions}
    for spec, x in zip(specs, given, strict=True):
        if spec.name == Labels.kind:
            highest = model.num_classes - 1
            message = f"labels must be from {lowest} to {highest}."
            checks.append(tf.debugging.assert_greater_equal(x, lowest, message))
            checks.append(tf.debugging.assert_less_equal(x, highest, message))
        else:
            part = parts[spec.name]
            message = f"{part.kind} must be {part.numbers}."
            checks.append(tf.debugging.Assert(tf.reduce_all(part.fit_in(x, ops)), [message]))
    with tf.control_dependencies(checks):
        return [tf.identity(x) for x in given]


def _without_bad(result: dict[str, tf.Tensor], good: tf.Tensor) -> dict[str, tf.Tensor]:
    """Sets the outputs of images that could not be decoded to class -1 and NaN."""

    def mask(output: tf.Tensor) -> tf.Tensor:
        nothing = tf.constant(-1 if output.dtype.is_integer else math.nan, output.dtype)
        return tf.where(tf.reshape(good, [-1] + [1] * (output.shape.rank - 1)), output, nothing)

    return {name: mask(output) for name, output in result.items()}


def _random_classes(model: keras.Model, seed: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
    """Samples a class for each image, int32 `(B,)`."""

    def class_of(position: tf.Tensor) -> tf.Tensor:
        # Negative positions, because `_noise` uses the other ones as seeds.
        seeds = tf.stack([seed, -1 - position])
        return tf.random.stateless_uniform((), seeds, 0, model.num_classes, tf.int32, alg="philox")

    return tf.map_fn(class_of, positions)


def _noise(model: keras.Model, seed: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
    """Returns uniform noise for the sampler, `(B, H, W, noise_size)`."""
    shape = (*model.image_shape[:2], model.distribution.noise_size)

    def noise_of(position: tf.Tensor) -> tf.Tensor:
        # The same algorithm on every device. Its numbers are multiples of 2^-23 in [0, 1). Half a
        # step is added, because the sampler needs log(u) and log(1 - u).
        seeds = tf.stack([seed, position])
        return tf.random.stateless_uniform(shape, seeds, alg="philox") + 2.0**-24

    return tf.map_fn(noise_of, positions, fn_output_signature=tf.TensorSpec(shape, tf.float32))
