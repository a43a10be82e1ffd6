"""Compiles networks with torch's Inductor, for training and scoring."""

import threading
import warnings
from collections.abc import Callable

import keras
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from keras_pixelcnnpp.layers.arithmetic import FloatArithmetic
from keras_pixelcnnpp.layers.convolutions import WeightNormalized
from keras_pixelcnnpp.utils.backend import Nest, Shape, Tensor, inner_layers
from keras_pixelcnnpp.utils.errors import UserError, is_out_of_memory


class CompiledNetwork:
    """Compiles a network with Inductor; results and gradients are the same up to rounding.

    Compilation takes about a minute, and happens when a kind of call (its shapes and training mode)
    occurs twice in a row, so that the smaller last batch of an epoch does not cause it. Loss,
    metrics and optimizer are not compiled. `make_fx` records the operations, because torch's own
    front end finds graph breaks in Keras. Random bytes of dropout and normalized kernels are inputs
    of the compiled function: the layers generate the same bytes without compilation, and Inductor
    would generate thousands of lines of C++ for the kernels.

    If torch cannot compile a kind of call, a warning is issued, and the network is called without
    compilation from then on. Other errors, such as a lack of memory, are raised, and the next call
    of this kind tries again.

    Args:
        network: An `AutoregressiveNetwork`.

    Raises:
        UserError: If two layers with kernels have the same path.
    """

    def __init__(self, network: keras.layers.Layer):
        self.network = network
        self._functions = {}  # kind of call: (compiled function, dropout layers and shapes)
        self._previous: tuple | None = None  # kind of the previous call
        self._lock = threading.Lock()  # keeps two threads from compiling the same
        layers = inner_layers(network)
        self._layers = [layer for layer in layers if isinstance(layer, WeightNormalized)]
        # The compiled function finds the kernel of a layer by its path.
        paths = [layer.path for layer in self._layers]
        if same := [path for path in paths if paths.count(path) > 1]:
            raise UserError(
                "The network can't be compiled. Expected layers of different names. "
                f"Received: two layers {same[0]!r}"
            )
        outside = {id(v) for layer in self._layers for v in (layer.direction, layer.gain)}
        self._variables = [v for v in network.variables if id(v) not in outside]

    def __call__(self, levels: Tensor, values: Nest, training: bool) -> Tensor:
        """Evaluates the network on whole images; see `AutoregressiveNetwork`."""
        candidates = tuple((one.shape[1], one.dtype) for one in keras.tree.flatten(values))
        trainable = tuple(variable.trainable for variable in self.network.variables)
        kind = training, torch.is_grad_enabled(), levels.shape, levels.dtype, candidates, trainable
        comes_again, self._previous = self._previous == kind, kind
        if comes_again and kind not in self._functions and not levels.is_meta:
            with self._lock:
                if kind not in self._functions:
                    self._functions[kind] = self._try_to_compile(levels, values, training)
        function, draws = self._functions.get(kind, (None, []))
        if function is None or levels.is_meta:  # Keras infers shapes with tensors without data
            return self.network(levels, values, training=training)
        dropout = [layer.random_bytes(shape) for layer, shape in draws]
        return function(*keras.tree.flatten(self._inputs(levels, values, dropout)))[0]

    def _inputs(self, levels: Tensor, values: Tensor, dropout: list[Tensor]) -> dict[str, Nest]:
        """Returns all inputs of the compiled function, contiguous as when it was compiled."""
        inputs = {
            "levels": levels,
            "dropout": dropout,
            "kernels": [layer.kernel_and_bias()[0] for layer in self._layers],
            # Not `value`, which is rounded in mixed precision.
            "variables": [variable._value for variable in self._variables],
            "values": values,
        }
        return keras.tree.map_structure(torch.Tensor.contiguous, inputs)

    def _try_to_compile(
        self, levels: Tensor, values: Nest, training: bool
    ) -> tuple[Callable | None, list]:
        """Returns the compiled function and its dropout inputs, or `(None, [])` after a failure."""
        draws, dropout = [], []

        def write_down(layer: keras.layers.Layer, shape: Shape) -> Tensor:
            draws.append((layer, shape))
            dropout.append(layer.random_bytes(shape))
            return dropout[-1]

        # The scope keeps this call from changing random states.
        arithmetic = FloatArithmetic(draw=write_down)
        with torch.no_grad(), keras.StatelessScope():
            self.network(levels, values, arithmetic=arithmetic, training=training)
        try:
            return self._compiled(self._inputs(levels, values, dropout), training), draws
        except RuntimeError as error:  # the base of torch's errors, such as a missing C++ compiler
            if is_out_of_memory(error):
                raise
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            warnings.warn(f"The network runs without compilation. {reason}", stacklevel=2)
            return None, []

    def _compiled(self, inputs: dict[str, Nest], training: bool) -> Callable:
        def forward(*tensors: Tensor) -> tuple[Tensor]:
            given = keras.tree.pack_sequence_as(inputs, [*tensors])
            pairs = zip(self._variables, given["variables"], strict=True)
            layers = zip(self._layers, given["kernels"], strict=True)
            dropout = iter(given["dropout"])
            with keras.StatelessScope(list(pairs), collect_losses=True) as scope:
                before = dict(scope.state_mapping)
                # Biases are cast inside: two equal gradients in bfloat16 cause a compiler error.
                kernels = {layer.path: (kernel, layer.bias) for layer, kernel in layers}
                arithmetic = FloatArithmetic(kernels, draw=lambda layer, shape: next(dropout))
                result = self.network(
                    given["levels"],
                    given["values"],
                    arithmetic=arithmetic,
                    training=training,
                )
            after = scope.state_mapping.items()
            if scope.losses or any(before.get(key) is not value for key, value in after):
                raise RuntimeError(
                    "A layer generates random numbers, changes a variable or adds a loss."
                )
            return (result,)

        tensors = [tensor.detach() for tensor in keras.tree.flatten(inputs)]
        with torch.no_grad():
            graph = make_fx(forward)(*tensors)
        for node in graph.graph.nodes:
            node.meta.clear()  # the compiler would reuse the tracer's example values
        for tensor, given in zip(tensors, keras.tree.flatten(inputs), strict=True):
            tensor.requires_grad_(given.requires_grad)
        # One file with all kernels, and one that calls them. With a file for each kernel, the
        # default on a CPU, compiling the headers takes longer than the code.
        on_cpu = inputs["levels"].device.type == "cpu"
        options = {"cpp_wrapper": on_cpu, "cpp_wrapper_build_separate": on_cpu}
        return torch._inductor.standalone_compile(
            graph,
            tensors,
            dynamic_shapes="from_example_inputs",
            options={"config_patches": options},
        )
