"""Backend-specific functions: versions, device, precision, compilation, tensors."""

import gc
import os
import platform
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_pixelcnnpp.utils.errors import UserError

Tensor = Any  # a tensor of the backend
Tensors = dict[str, Tensor]
Nest = Any  # nested dicts, lists and tuples of tensors
Shape = tuple[Any, ...]  # integers, or `None` for an unknown size, as in Keras


def versions() -> dict[str, str]:
    """Returns the versions and the hardware that bit-exact reproduction of a run depends on."""
    backend = keras.backend.backend()
    found = {"python": platform.python_version(), "backend": backend, "machine": machine()}
    for package in ("keras-pixelcnnpp", "keras", "numpy", backend):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "unknown"
    return found


def machine() -> str:
    """Returns the number of cores and the names of the processor and of a GPU, if known."""
    cpuinfo = Path("/proc/cpuinfo")
    name = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    processor = f"{os.cpu_count()} × {name.group(1) if name else platform.processor()}"
    return f"{processor}, {_gpu()}" if on_gpu() else processor


def _gpu() -> str:
    """Returns the product name of the backend's first GPU."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        device = tf.config.list_physical_devices("GPU")[0]
        return tf.config.experimental.get_device_details(device).get("device_name", "GPU")
    if keras.backend.backend() == "jax":
        import jax

        return jax.local_devices()[0].device_kind
    import torch

    return torch.cuda.get_device_name(0)


def describe(model: keras.Model) -> str:
    """Returns backend, device, precision and compilation of a compiled model in one line."""
    compiled = "jit-compiled" if model.jit_compile else "not jit-compiled"
    return f"{keras.backend.backend()} on {device_name()}, {model.dtype_policy.name}, {compiled}"


def device_name() -> str:
    """Returns the backend's name of the device that Keras uses, such as `cpu:0`."""
    device = str(keras.ops.zeros((1,)).device)
    return device.split("device:")[-1].lower()


def on_gpu() -> bool:
    """Returns whether Keras uses a GPU."""
    return any(kind in device_name() for kind in ("gpu", "cuda"))


def progress(steps: int, verbose: int | str = "auto", unit: str = "step") -> Callable[[], None]:
    """Shows Keras's progress bar. Returns a function that must be called after each step.

    `verbose="auto"` shows it at a terminal, for more than one step.
    """
    if verbose == "auto":
        verbose = int(steps > 1 and (sys.stdout.isatty() or "ipykernel" in sys.modules))
    bar = keras.utils.Progbar(steps, verbose=verbose, unit_name=unit)
    return lambda: bar.add(1)


def compiled(
    function: Callable, variables: list[keras.Variable], example: Any = None, xla: bool = False
) -> Callable:
    """Compiles a thread-safe function from a nest to a nest, with full float32 precision.

    (Keras's own `predict` is not thread-safe: under JAX, it empties the variables while it runs.)
    `variables` are those that the function reads. With an example of its inputs, TensorFlow
    compiles once for any number of rows; otherwise and with `xla`, for each shape. JAX always
    compiles with XLA, and torch compiles nothing.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        def any_rows(array: np.ndarray) -> tf.TensorSpec:
            return tf.TensorSpec((None, *array.shape[1:]), array.dtype)

        signature = None if example is None else [keras.tree.map_structure(any_rows, example)]
        # TensorFlow warns when it traces the same code five times. A `partial` has no code.
        traced = partial(function)
        step = tf.function(traced, signature, False, xla or None, reduce_retracing=True)
    elif keras.backend.backend() == "jax":
        import jax

        @jax.jit
        def stateless(values: list[Tensor], inputs: Nest) -> Nest:
            with keras.StatelessScope(list(zip(variables, values, strict=True))):
                return function(inputs)

        def step(inputs: Nest) -> Nest:
            return stateless([variable.value for variable in variables], inputs)
    else:
        import torch

        @torch.no_grad()
        def step(inputs: Nest) -> Nest:
            return function(keras.tree.map_structure(keras.ops.convert_to_tensor, inputs))

    @full_float32()
    def run(inputs: Nest) -> Nest:
        return step(inputs)

    return run


def gradient(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Returns the gradient of the sum of `function(x)` with respect to `x`."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        x = tf.convert_to_tensor(x)  # in eager mode, it is an array
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = keras.ops.sum(function(x))
        return tape.gradient(total, x)
    if keras.backend.backend() == "jax":
        import jax

        return jax.grad(lambda x: keras.ops.sum(function(x)))(x)
    import torch

    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad(keras.ops.sum(function(x)), x)[0]


def compiles_each_size(xla: bool) -> bool:
    """Returns whether `compiled` compiles for each number of rows."""
    return keras.backend.backend() == "jax" or (keras.backend.backend() == "tensorflow" and xla)


def with_shape(images: Tensor, image_shape: tuple[int, int, int]) -> Tensor:
    """Sets the static shape of images, which may be unknown in a graph of TensorFlow."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.ensure_shape(images, (None, *image_shape))
    return images


def inner_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns a layer and all layers inside it. The codec's digest depends on the order."""
    # Keras has no public method: `Model.layers` lists only the first level.
    return list(layer._flatten_layers())


def in_turn(function: Callable, entries: Nest) -> Tensor:
    """Stacks `function(entry)` for the entries of the first axis, evaluated one at a time.

    In a TensorFlow graph, `keras.ops.map` would evaluate ten at once, in ten times the memory.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.map_fn(function, entries, parallel_iterations=1, fn_output_signature=tf.float32)
    return keras.ops.map(function, entries)


def in_batches(function: Callable, batches: Sequence, verbose: int | str) -> Any:
    """Calls a `compiled` function with each batch, and concatenates the results."""
    tick, results = progress(len(batches), verbose), []
    for batch in batches:
        result = function(batch)
        results.append(keras.tree.map_structure(keras.ops.convert_to_numpy, result))
        if keras.backend.backend() == "torch":
            # Each call of a layer leaves its inputs in a reference cycle. The two young generations
            # of objects contain them, and take milliseconds.
            gc.collect(1)
        tick()
    return keras.tree.map_structure(lambda *parts: np.concatenate(parts), *results)


@contextmanager
def tensor_float32(enabled: bool) -> Iterator[None]:
    """Context manager that enables or disables TF32, which rounds factors of products to 10 bits.

    By default, TensorFlow and JAX use TF32 if the GPU supports it, and torch in convolutions.
    """
    backend = keras.backend.backend()
    with ExitStack() as before:
        if backend == "tensorflow":
            from tensorflow.config import experimental

            is_enabled = experimental.tensor_float_32_execution_enabled()
            before.callback(experimental.enable_tensor_float_32_execution, is_enabled)
            experimental.enable_tensor_float_32_execution(enabled)
        elif backend == "jax":
            import jax

            name = "tensorfloat32" if enabled else "float32"
            before.enter_context(jax.default_matmul_precision(name))
        elif backend == "torch":
            import torch

            for products in (torch.backends.cuda.matmul, torch.backends.cudnn.conv):
                before.callback(setattr, products, "fp32_precision", products.fp32_precision)
                products.fp32_precision = "tf32" if enabled else "ieee"
        yield


_FULL_FLOAT32: dict[str, Any] = {"calls": 0, "lock": threading.Lock(), "before": ExitStack()}


@contextmanager
def full_float32() -> Iterator[None]:
    """Context manager or decorator that disables TF32."""
    if keras.backend.backend() == "jax":  # a setting of the thread
        with tensor_float32(False):
            yield
        return
    # A setting of the process, which is restored after the last of several overlapping calls.
    state = _FULL_FLOAT32
    with state["lock"]:
        state["calls"] += 1
        if state["calls"] == 1:
            state["before"].enter_context(tensor_float32(False))
    try:
        yield
    finally:
        with state["lock"]:
            state["calls"] -= 1
            if state["calls"] == 0:
                state["before"].close()


@contextmanager
def precision(name: str) -> Iterator[None]:
    """Context manager that sets the default dtype policy. `"tf32"` sets float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32" if name == "tf32" else name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _on_host() -> AbstractContextManager:
    """Context manager in which torch creates tensors in the memory of the host."""
    return keras.device("cpu") if keras.backend.backend() == "torch" else nullcontext()


class SeedGenerator(keras.random.SeedGenerator):
    """Keras's `SeedGenerator`, whose state torch keeps in the memory of the host.

    Under torch, Keras reads the state for each random tensor, and would wait for a GPU that has it.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        with _on_host():
            super().__init__(*args, **kwargs)

    def next(self, ordered: bool = True) -> Tensor:
        with _on_host():
            return super().next(ordered)


def host_function(function: Callable, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Calls a Python function inside a compiled function, each time that it runs.

    `function` receives the tensor as an array, and returns a float32 array of the given shape.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        result = tf.numpy_function(function, [tensor], tf.float32)
        result.set_shape(shape)
        return result
    if keras.backend.backend() == "jax":
        import jax
        from jax.experimental import io_callback

        return io_callback(function, jax.ShapeDtypeStruct(shape, "float32"), tensor)
    import torch

    def call(tensor: Tensor) -> Tensor:
        if torch.overrides.has_torch_function_unary(tensor):  # while a program is recorded
            return torch.overrides.handle_torch_function(call, (tensor,), tensor)
        return keras.ops.convert_to_tensor(function(keras.ops.convert_to_numpy(tensor)))

    return call(tensor)


def matmul(x: Tensor, y: Tensor) -> Tensor:
    """Multiplies matrices of equal dtype. `keras.ops` would round float64 to float32 in torch."""
    if keras.backend.backend() == "torch":
        import torch

        return torch.matmul(x, y)
    return keras.ops.matmul(x, y)


def float64() -> AbstractContextManager:
    """Context manager that enables 64-bit numbers in JAX. Other backends always have them."""
    if keras.backend.backend() != "jax":
        return nullcontext()
    import jax

    return jax.enable_x64(True)


@contextmanager
def graphs_as_traced() -> Iterator[None]:
    """Context manager that disables TensorFlow's graph optimizer, for functions that run once.

    Optimizing the sampling graph takes three seconds, and makes it a seventh faster.
    """
    if keras.backend.backend() != "tensorflow":
        yield
        return
    from tensorflow.config import optimizer

    # A missing entry means the default, which is to optimize.
    before = optimizer.get_experimental_options().get("disable_meta_optimizer", False)
    optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        optimizer.set_experimental_options({"disable_meta_optimizer": before})


def require_tensorflow() -> None:
    """Raises a `UserError` unless the backend is TensorFlow, which SavedModels need."""
    if keras.backend.backend() != "tensorflow":
        raise UserError(
            "A SavedModel can be exported only with the TensorFlow backend. Set the environment "
            "variable KERAS_BACKEND=tensorflow, and export the run or saved model again. "
            f"Received: backend={keras.backend.backend()}"
        )


def keep_own_weights(model: keras.Model) -> None:
    """Copies the weights, so that model and optimizer don't share arrays.

    At its end, `fit` assigns the averages to the weights. Under JAX, both are then the same arrays,
    and the next step would delete those of the other.
    """
    assign_weights(model, weight_values(model))


def weight_values(model: keras.Model) -> list[np.ndarray]:
    """Returns copies of the trainable weights."""
    return [variable_value(variable) for variable in model.trainable_variables]


def assign_weights(model: keras.Model, values: list[np.ndarray]) -> None:
    """Sets the trainable weights."""
    for variable, value in zip(model.trainable_variables, values, strict=True):
        variable.assign(value)


def variable_value(variable: keras.Variable) -> np.ndarray:
    """Returns a copy of a variable's value."""
    # `np.array` and `convert_to_numpy` would warn, because Keras's variables don't support NumPy's
    # argument `copy` yet.
    return np.asarray(variable).copy()
