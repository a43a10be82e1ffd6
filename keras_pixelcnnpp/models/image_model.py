"""Keras model of images and labels, which checks arrays before Keras's loops."""

import inspect
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pixelcnnpp.conditions import wrong_labels
from keras_pixelcnnpp.models.metrics import MeanMetric, require_integer_labels
from keras_pixelcnnpp.models.not_finite import StopAtNaN, cause
from keras_pixelcnnpp.utils.backend import Tensor, full_float32, keep_own_weights
from keras_pixelcnnpp.utils.checks import (
    argument_names,
    checked_images,
    checked_labels,
    num_image_values,
    require_images,
    require_no_mask,
    require_one_label,
)
from keras_pixelcnnpp.utils.distribution import divided
from keras_pixelcnnpp.utils.errors import UserError, invalid_argument


class ImageModel(keras.Model):
    """Base class of models for images with values from 0 to 255 and integer labels.

    Keras's own loops train and evaluate the model. Arrays are checked once, before the loop begins.
    Of the batches of a `tf.data.Dataset`, a `keras.utils.PyDataset`, a `DataLoader` or a generator,
    shapes and dtypes are checked when a step is traced, and labels and image values that are out of
    range make the loss NaN.

    Subclasses define `image_shape` and `num_classes`.

    Attributes:
        title: String, the name of the class in reports.
        allow_dark_images: Boolean, whether images may have values that look like levels, because
            they are that dark. It is not saved.
        lowest_label: Integer, the lowest label in evaluation: -1 if unlabeled images are included.
        lowest_training_label: Integer, the lowest label in training.
    """

    title: str | None = None
    ordered_levels = True
    num_levels = 17  # lets `checked_images` reject levels, for models without this argument
    class_names: tuple[str, ...] = ()
    allow_dark_images = False
    lowest_label = 0
    lowest_training_label = 0

    @property
    def _num_outputs(self) -> int:
        """Number of class probabilities."""
        return self.num_classes

    def get_config(self) -> dict:
        return {**super().get_config(), **self.arguments()}

    def arguments(self, omitted: Collection[str] = ()) -> dict[str, Any]:
        """Returns the arguments of the constructor that create an equal model, except `omitted`.

        Each is an attribute of the same name, which a subclass sets for its own arguments.
        """
        names = [name for name in argument_names(type(self)) if name not in omitted]
        return {name: getattr(self, name) for name in names}

    def compile(self, optimizer: Any = "rmsprop", loss: Any = None, **kwargs: Any) -> None:
        """Configures training, like `keras.Model.compile`.

        Without a `loss`, metrics receive integer labels, as Keras's sparse metrics do. Unlabeled
        images have no influence on `weighted_metrics`. `metrics` count them as wrong, so arrays
        with unlabeled images raise an error.

        Raises:
            ValueError: If there is no `loss`, and a metric of Keras compares one-hot labels, such
                as `CategoricalAccuracy` and `F1Score`.
        """
        for name in ("metrics", "weighted_metrics"):
            # An empty list, because `None` would keep the metrics of an earlier call.
            kwargs[name] = keras.tree.flatten(kwargs.get(name) or [])
            if loss is None:
                for metric in kwargs[name]:
                    require_integer_labels(metric)
        self._unweighted_metrics = bool(kwargs["metrics"])
        self.loss = None  # Keras would keep the loss of an earlier call
        super().compile(optimizer, loss, **kwargs)
        # Keras would create the variables of metrics and optimizer in the first step. This is too
        # late to restore a checkpoint, and TensorFlow would trace that step twice.
        if loss is None:
            outputs = ops.zeros((1, self._num_outputs))
            with keras.StatelessScope():  # the update is not kept
                ImageModel.compute_metrics(self, None, ops.zeros((1,), "int32"), outputs)
        if self.optimizer is not None:
            self.optimizer.build(self.trainable_variables)

    def get_compile_config(self) -> dict:
        config = super().get_compile_config()
        optimizer = config.get("optimizer")
        # Under torch, Keras serializes subclasses of its optimizers, which need torch to be loaded.
        while isinstance(optimizer, dict) and "class_name" in optimizer:
            if optimizer["module"].startswith("keras.src.backend."):
                optimizer["module"] = "keras.optimizers"
            optimizer = optimizer["config"].get("inner_optimizer")
        return config

    def compile_from_config(self, config: dict) -> None:
        # Keras's method would call only its own `compile`.
        self.compile(**keras.saving.deserialize_keras_object(config))

    def fit(
        self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any
    ) -> keras.callbacks.History:
        """Trains the model, like `keras.Model.fit`.

        On a CPU with Linux, call `keras_pixelcnnpp.keep_freed_memory` before, for faster training.

        Args:
            x: uint8 array `(N, height, width, channels)`; or batches `(images, labels)` or
                `(images, labels, sample_weight)` from a `tf.data.Dataset`, a
                `keras.utils.PyDataset`, a `torch.utils.data.DataLoader` or a generator.
            y: Int array `(N,)` or class names, if `x` is an array. With `unlabeled_weight` > 0, -1
                marks unlabeled images. `None` for an unconditional model, whose batches have no
                labels, or only -1.
            *args: Further arguments of `keras.Model.fit`, in its order.
            **kwargs: Further arguments of `keras.Model.fit`. `validation_data` consists of arrays
                `(x, y)` or `(x, y, sample_weight)`, or of batches.

        Returns:
            `keras.callbacks.History`.

        Raises:
            ValueError: If the model isn't compiled, or images or labels don't fit the model.
            RuntimeError: If the loss is not finite. The message has the number of the batch.
        """
        self._require_compiled("fit")
        given = inspect.signature(super().fit).bind(x, y, *args, **kwargs).arguments
        if given.get("class_weight") and not self.num_classes:
            expected = "None, because the model has no classes"
            raise invalid_argument("class_weight", given["class_weight"], expected)
        x, y = self._checked(x, y, "fit", self.lowest_training_label)
        self._before_training(x, y)
        validation = given.get("validation_data")
        if validation is not None:
            is_arrays = isinstance(validation, tuple | list)
            parts = tuple(validation) if is_arrays else (validation,)
            images, labels, weight = keras.utils.unpack_x_y_sample_weight(parts)
            images, labels = self._checked(images, labels, "validation_data", self.lowest_label)
            parts = images, self._for_step(labels), weight
            given["validation_data"] = parts if is_arrays else images
        callbacks = keras.tree.flatten(given.get("callbacks") or [])
        self._set_modes(callbacks)
        evaluated = images if validation is not None else None
        given["callbacks"] = [*callbacks, StopAtNaN(x, evaluated)]
        given |= {"x": x, "y": self._for_step(y)}
        try:
            with self._state_kept():
                return super().fit(**given)
        finally:
            if keras.backend.backend() == "jax":
                keep_own_weights(self)

    def train_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Trains on one batch of arrays, like `keras.Model.train_on_batch`."""
        self._require_compiled("train_on_batch")
        x, y = self._checked(x, y, "train_on_batch", self.lowest_training_label)
        self._before_training(x, y)
        return super().train_on_batch(x, self._for_step(y), *args, **kwargs)

    @full_float32()
    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Computes loss and metrics, like `keras.Model.evaluate`, for the same data as `fit`.

        Args:
            x: Images or batches, as `fit` takes them.
            y: What `fit` takes as `y`; `None` for batches.
            *args: Further arguments of `keras.Model.evaluate`, in its order.
            **kwargs: Further arguments of `keras.Model.evaluate`.
        """
        self._require_compiled("evaluate")
        if kwargs.get("_use_cached_eval_dataset"):  # `fit` has checked the data
            return super().evaluate(x, y, *args, **kwargs)
        given = inspect.signature(super().evaluate).bind(x, y, *args, **kwargs).arguments
        x, y = self._checked(x, y, "evaluate", self.lowest_label)
        callbacks = keras.tree.flatten(given.get("callbacks") or [])
        given |= {"x": x, "y": self._for_step(y)}
        given["callbacks"] = [*callbacks, StopAtNaN(evaluated=x)]
        with self._state_kept():
            return super().evaluate(**given)

    @full_float32()
    def test_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Computes loss and metrics of one batch, like `keras.Model.test_on_batch`."""
        x, y = self._checked(x, y, "test_on_batch", self.lowest_label)
        return super().test_on_batch(x, self._for_step(y), *args, **kwargs)

    @full_float32()
    def predict(self, x: Any, *args: Any, **kwargs: Any) -> np.ndarray:
        """Returns the class probabilities of each image, like `keras.Model.predict`.

        Args:
            x: uint8 array `(N, height, width, channels)`, or batches, whose labels are ignored.
            *args: Further arguments of `keras.Model.predict`, in its order.
            **kwargs: Further arguments of `keras.Model.predict`.

        Returns:
            Float32 array `(N, num_classes)`, class probabilities; `(N,)`, log p(x) in nats, from
            an unconditional model. An `AutoregressiveModel` returns the tempered Bayes posterior,
            softmax(α log p(x | y) + b), with its `logit_scale` α and `class_bias` b. With α = 1 and
            b = 0, this is Bayes' rule; otherwise the probabilities may differ a lot, by up to 0.3
            in a small model.

        Raises:
            ValueError: If the images don't fit the model.
        """
        if hasattr(x, "shape"):
            x = self._checked_images(x, "predict")
        else:
            self._require_batches(x, "predict")
        with self._state_kept():
            outputs = super().predict(x, *args, **kwargs)
        if count := int(np.isnan(outputs).reshape(len(outputs), -1).any(axis=1).sum()):
            of = f"{count:,} of {len(outputs):,} images"
            warnings.warn(f"The predictions of {of} are NaN. {cause(self, x)}", stacklevel=3)
        return self._predictions(outputs)

    @full_float32()
    def predict_on_batch(self, x: Any) -> np.ndarray:
        """Returns the class probabilities of one batch, like `keras.Model.predict_on_batch`."""
        images = self._checked_images(x, "predict_on_batch")
        return self._predictions(super().predict_on_batch(images))

    def wrong_values(self, y: Any) -> str:
        """Returns what is wrong with the targets of a batch of a stream; empty if not known."""
        return wrong_labels(y, self.num_classes, self.lowest_label)

    def _predictions(self, outputs: np.ndarray) -> np.ndarray:
        """Hook: converts the outputs of `call` to the result of `predict`."""
        return outputs

    def train_step(self, *args: Any) -> Any:
        *state, batch = args  # only JAX passes the variables
        return super().train_step(*state, divided(batch))

    def test_step(self, *args: Any) -> Any:
        *state, batch = args
        return super().test_step(*state, divided(batch))

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict:
        """Computes metrics, like `keras.Model.compute_metrics`, from integer labels `y`."""
        if self.loss is None and y is not None:
            labeled = ops.cast(ops.reshape(y, (-1,)) >= 0, "float32")
            if sample_weight is not None:  # float64 if class weights come from NumPy
                labeled *= ops.cast(ops.reshape(sample_weight, (-1,)), "float32")
            y, sample_weight = ops.maximum(y, 0), labeled
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def require_images(self, images: Tensor) -> None:
        """Raises a `ValueError` if a tensor has the wrong shape or dtype."""
        if not hasattr(images, "shape"):
            raise UserError(
                f"Invalid input of {type(self).__name__}. Expected images of shape "
                f"{('N', *self.image_shape)}. Received: {type(images).__name__}"
            )
        require_images(images, self.image_shape, self.num_levels, self.ordered_levels)

    @property
    def num_values(self) -> int:
        """Number of values that images may have: at least 256, except for codes."""
        return num_image_values(self.num_levels, self.ordered_levels)

    def may_be_invalid(self, images: Tensor) -> bool:
        """Returns whether a tensor of this dtype may have values that are out of range."""
        return keras.backend.standardize_dtype(images.dtype) != "uint8" or self.num_values < 256

    def nan_where_invalid(self, images: Tensor, outputs: Tensor) -> Tensor:
        """Sets the outputs `(batch, ...)` of images with values out of range to NaN."""
        if not self.may_be_invalid(images):
            return outputs
        images, limit = ops.cast(images, "int32"), self.num_values  # not all compare uint16
        valid = ops.all((images >= 0) & (images < limit), axis=(1, 2, 3))
        shape = (-1, *[1] * (len(outputs.shape) - 1))
        return ops.where(ops.reshape(valid, shape), outputs, float("nan"))

    def _before_training(self, x: Any, y: Any) -> None:
        """Hook: called before the first step, with checked arrays or batches."""

    def _for_step(self, y: Any) -> Any:
        """Hook: returns checked targets as the steps take them; `None` for a stream."""
        return y

    def _set_modes(self, callbacks: list[keras.callbacks.Callback]) -> None:
        """Tells callbacks with `mode="auto"` whether lower values of a metric are better.

        Keras knows it only for metrics given to `compile`.
        """
        modes = {one.name: one.mode for one in self.metrics if isinstance(one, MeanMetric)}
        for callback in callbacks:
            if getattr(callback, "mode", None) == "auto":
                callback.mode = modes.get(callback.monitor.removeprefix("val_"), "auto")

    def _require_compiled(self, name: str) -> None:
        # Keras checks this later, and not at all for `evaluate` under torch.
        if not self.compiled:
            raise ValueError(f"You must call `compile()` before calling `{name}()`.")

    def _checked(self, x: Any, y: Any, name: str, lowest: int) -> tuple[Any, Any]:
        """Checks arrays of images and labels, and returns them. Batches are checked in the loop."""
        if hasattr(x, "shape"):
            return self._checked_arrays(x, y, name, lowest)
        self._require_batches(x, name)
        return x, y

    def _require_batches(self, x: Any, name: str) -> None:
        if x is None or isinstance(x, dict | list | tuple):
            raise self._no_images(x, name)
        spec = getattr(x, "element_spec", None)  # of a `tf.data.Dataset`
        images = spec[0] if isinstance(spec, tuple) else spec
        if hasattr(images, "shape"):
            # Now, because after batches of two shapes, TensorFlow traces a step for any shape.
            self.require_images(images)

    def _checked_arrays(self, x: Any, y: Any, name: str, lowest: int) -> tuple[Any, Any]:
        images = self._checked_images(x, name, strict=True)
        return images, self._checked_targets(y, len(images), name, lowest)

    def _checked_targets(self, y: Any, count: int, name: str, lowest: int) -> np.ndarray:
        """Returns the labels of `count` images as an array."""
        if y is None:
            raise UserError(
                f"`{name}` of a model with {self.num_classes} classes needs labels: "
                f"`model.{name}(images, labels)`. Received: y=None"
            )
        require_no_mask(y, "labels")
        y = np.asarray(to_numpy(y))
        require_one_label(y.shape)
        y = y.reshape(-1) if y.ndim == 2 else y
        y = checked_labels(y, count, self.num_classes, self.class_names, lowest)
        if self.compiled and self._unweighted_metrics and (y < 0).any():
            raise UserError("`metrics` count unlabeled images. Compile with `weighted_metrics`")
        return y

    def _checked_images(self, x: Any, name: str, strict: bool = False) -> np.ndarray:
        if not hasattr(x, "shape"):
            raise self._no_images(x, name)
        # With 256 levels, dark images are not taken for levels.
        num_levels = self.num_values if self.allow_dark_images else self.num_levels
        images = checked_images(
            to_numpy(x), self.image_shape, num_levels, strict, self.ordered_levels
        )
        if not len(images):
            raise UserError(f"`{name}` needs images. Received: x.shape={tuple(x.shape)}")
        return images

    def checked_images(self, images: Any, size: tuple[int, int] | None = None) -> np.ndarray:
        """Returns images as an array, or raises a `UserError`; see `utils.checks.checked_images`.

        `size` is their height and width, by default those of the model.
        """
        shape = *(size or self.image_shape[:2]), self.image_shape[-1]
        return checked_images(images, shape, self.num_levels, ordered=self.ordered_levels)

    def _no_images(self, x: Any, name: str) -> UserError:
        return UserError(
            f"Invalid input of `{name}`. Expected an array of images, or batches of images "
            f"and labels. Received: {type(x).__name__}"
        )

    @contextmanager
    def _state_kept(self) -> Iterator[None]:
        """Context manager that keeps the model usable if an error occurs in Keras's loop.

        Under JAX, Keras removes the arrays from the variables during the loop. They are restored to
        the state after the last completed step.
        """
        if keras.backend.backend() != "jax":
            yield
            return
        variables = [*self.variables, *(self.optimizer.variables if self.compiled else ())]
        values = [variable.value for variable in variables]
        try:
            yield
        finally:
            self.jax_state_sync()
            for variable, value in zip(variables, values, strict=True):
                try:
                    _ = variable.value
                except TypeError:  # it has none, because no step was completed
                    variable.assign(value)


def to_numpy(x: Any) -> Any:
    """Returns tensors as arrays, and other objects as they are."""
    return ops.convert_to_numpy(x) if ops.is_tensor(x) else x
