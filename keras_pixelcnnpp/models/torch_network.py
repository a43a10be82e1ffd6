"""Under torch, a network that torch's compiler makes, for training and scoring."""

import keras
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from keras_pixelcnnpp.layers.convolutions import (
    WeightNormalized,
    fixed_kernels,
    normalized_kernels,
)
from keras_pixelcnnpp.layers.gated_residual import given_dropout


class CompiledNetwork:
    """Calls a network as Inductor compiled it: the same results and gradients, up to rounding.

    Images whose shape comes for the second time in a row are compiled for, in a minute or so; the
    last batch of an epoch is not worth that. Loss, metrics and optimizer remain Keras's. Torch's
    own front end finds breaks in Keras, so `make_fx` records the operations. What is random or
    small comes from outside: the bytes of dropout, the same that the layers draw otherwise, and the
    normalized kernels, of which Inductor would make thousands of lines of C++.

    Args:
        network: An `AutoregressiveNetwork`.
    """

    def __init__(self, network):
        self.network = network
        self._functions = {}  # with what dropout draws, by the kind of call
        self._previous = None  # the kind of the call before, and what its dropout drew
        inside = {
            id(variable)
            for layer in network._flatten_layers()
            if isinstance(layer, WeightNormalized)
            for variable in layer.variables
        }
        self._variables = [v for v in network.trainable_variables if id(v) not in inside]

    def __call__(self, image, labels, training):
        """See the network's `call`."""
        candidates = None if labels is None else labels.shape[1]
        kind = (training, torch.is_grad_enabled(), image.shape, candidates)
        previous, self._previous = self._previous, None
        if kind not in self._functions and (previous is None or previous[0] != kind):
            draws = []

            def draw(layer, shape):
                draws.append((layer, shape))
                return layer.draw_bytes(shape)

            with given_dropout(draw):
                parameters = self.network(image, labels, training=training)
            self._previous = kind, draws
            return parameters
        function, draws = self._functions.get(kind) or (None, previous[1])
        inputs = {
            "image": image,
            "labels": labels,
            "dropout": [layer.draw_bytes(shape) for layer, shape in draws],
            "kernels": normalized_kernels(self.network),
            "values": [variable.value for variable in self._variables],
        }
        if function is None:
            function = self._compiled(inputs, training)
            self._functions[kind] = function, draws
        return function(*keras.tree.flatten(inputs))[0]

    def _compiled(self, inputs, training):
        def forward(*tensors):
            given = keras.tree.pack_sequence_as(inputs, [*tensors])
            pairs = zip(self._variables, given["values"], strict=True)
            dropout = iter(given["dropout"])
            with (
                keras.StatelessScope(list(pairs)),
                fixed_kernels(given["kernels"]),
                given_dropout(lambda layer, shape: next(dropout)),
            ):
                return (self.network(given["image"], given["labels"], training=training),)

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
