"""Under torch, a network that torch's compiler makes, for training and scoring."""

import threading
import warnings
from collections.abc import Callable

import keras
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from keras_pixelcnnpp.backend import Nest, Shape, Tensor
from keras_pixelcnnpp.errors import is_out_of_memory
from keras_pixelcnnpp.layers.arithmetic import given_dropout
from keras_pixelcnnpp.layers.convolutions import WeightNormalized, fixed_kernels


class CompiledNetwork:
    """Calls a network as Inductor compiled it: the same results and gradients, up to rounding.

    Images whose shape comes for the second time in a row are compiled for, in a minute or so; the
    last batch of an epoch is not worth that. Loss, metrics and optimizer remain Keras's. Torch's
    own front end finds breaks in Keras, so `make_fx` records the operations. What is random or
    small comes from outside: the bytes of dropout, the same that the layers draw otherwise, and the
    normalized kernels, of which Inductor would make thousands of lines of C++.

    A network that torch cannot compile for a kind of call is called as it is, after a warning, and
    that kind is not tried again. Other errors are raised, a lack of memory among them, and the next
    call of that kind tries again.

    Args:
        network: An `AutoregressiveNetwork`.
    """

    def __init__(self, network: keras.layers.Layer):
        self.network = network
        self._functions = {}  # with what dropout draws, by the kind of call
        self._previous: tuple | None = None  # the kind of the call before
        self._lock = threading.Lock()  # so that two threads don't compile the same
        layers = network._flatten_layers()
        self._layers = [layer for layer in layers if isinstance(layer, WeightNormalized)]
        outside = {id(v) for layer in self._layers for v in (layer.direction, layer.gain)}
        self._variables = [v for v in network.variables if id(v) not in outside]

    def __call__(self, image: Tensor, labels: Tensor | None, training: bool) -> Tensor:
        """See the network's `call`."""
        candidates = None if labels is None else labels.shape[1]
        trainable = tuple(variable.trainable for variable in self.network.variables)
        kind = training, torch.is_grad_enabled(), image.shape, candidates, trainable
        comes_again, self._previous = self._previous == kind, kind
        if comes_again and kind not in self._functions and not image.is_meta:
            with self._lock:
                if kind not in self._functions:
                    self._functions[kind] = self._try_to_compile(image, labels, training)
        function, draws = self._functions.get(kind, (None, []))
        if function is None or image.is_meta:  # no image: Keras asks for a shape
            return self.network(image, labels, training=training)
        dropout = [layer.random_bytes(shape) for layer, shape in draws]
        return function(*keras.tree.flatten(self._inputs(image, labels, dropout)))[0]

    def _inputs(
        self, image: Tensor, labels: Tensor | None, dropout: list[Tensor]
    ) -> dict[str, Nest]:
        """All that the compiled function is given; its memory laid out as it was compiled for."""
        inputs = {
            "image": image,
            "dropout": dropout,
            "kernels": [layer.kernel() for layer in self._layers],
            # Not `value`, which mixed precision rounds.
            "values": [variable._value for variable in self._variables],
        }
        if labels is not None:
            inputs["labels"] = labels
        return keras.tree.map_structure(torch.Tensor.contiguous, inputs)

    def _try_to_compile(
        self, image: Tensor, labels: Tensor | None, training: bool
    ) -> tuple[Callable | None, list]:
        """The compiled function and what its dropout draws; `(None, [])` if torch can't compile."""
        draws, dropout = [], []

        def write_down(layer: keras.layers.Layer, shape: Shape) -> Tensor:
            draws.append((layer, shape))
            dropout.append(layer.random_bytes(shape))
            return dropout[-1]

        # In the scope, random states stay as they are.
        with torch.no_grad(), keras.StatelessScope(), given_dropout(write_down):
            self.network(image, labels, training=training)
        try:
            return self._compiled(self._inputs(image, labels, dropout), training), draws
        except RuntimeError as error:  # so are all of torch's, such as that of no C++ compiler
            if is_out_of_memory(error):
                raise
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            warnings.warn(f"The network runs without being compiled. {reason}", stacklevel=2)
            return None, []

    def _compiled(self, inputs: dict[str, Nest], training: bool) -> Callable:
        def forward(*tensors: Tensor) -> tuple[Tensor]:
            given = keras.tree.pack_sequence_as(inputs, [*tensors])
            pairs = zip(self._variables, given["values"], strict=True)
            layers = zip(self._layers, given["kernels"], strict=True)
            dropout = iter(given["dropout"])
            with (
                keras.StatelessScope(list(pairs), collect_losses=True) as scope,
                # Biases are cast within: two equal gradients in bfloat16 confuse the compiler.
                fixed_kernels({layer.path: (kernel, layer.bias) for layer, kernel in layers}),
                given_dropout(lambda layer, shape: next(dropout)),
            ):
                before = dict(scope.state_mapping)
                result = self.network(given["image"], given.get("labels"), training=training)
            after = scope.state_mapping.items()
            if scope.losses or any(before.get(key) is not value for key, value in after):
                raise RuntimeError(
                    "A layer draws random numbers, changes a variable or adds a loss when called."
                )
            return (result,)

        tensors = [tensor.detach() for tensor in keras.tree.flatten(inputs)]
        with torch.no_grad():
            graph = make_fx(forward)(*tensors)
        for node in graph.graph.nodes:
            node.meta.clear()  # the compiler would take the tracer's examples for its own
        for tensor, given in zip(tensors, keras.tree.flatten(inputs), strict=True):
            tensor.requires_grad_(given.requires_grad)
        # One file with all kernels, and one that calls them: of a file for each kernel, as usual on
        # a CPU, the headers take longer than what is in it.
        on_cpu = inputs["image"].device.type == "cpu"
        options = {"cpp_wrapper": on_cpu, "cpp_wrapper_build_separate": on_cpu}
        return torch._inductor.standalone_compile(
            graph,
            tensors,
            dynamic_shapes="from_example_inputs",
            options={"config_patches": options},
        )
