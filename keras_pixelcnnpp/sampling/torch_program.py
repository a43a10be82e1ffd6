"""Records the steps of a pass as torch operations, and replays them without Keras."""

import functools
import types
from collections.abc import Callable, Iterator
from operator import getitem
from typing import Any

import keras
import torch
from keras import ops
from torch.fx.node import Node, map_aggregate
from torch.overrides import TorchFunctionMode

from keras_pixelcnnpp.utils.backend import Nest, Tensor

# Functions that read values, which a recorded program can't do, and functions that write in place.
_READS = {"item", "tolist", "numpy", "__array__", "__bool__", "__int__", "__float__", "__index__"}
_OPERATORS = "add sub mul truediv floordiv mod and or xor lshift rshift"
_WRITES = {"__setitem__", *(f"__i{name}__" for name in _OPERATORS.split())}


class RecordedSteps:
    """Runs the functions of a pass, like `Steps`; records each at its first call and replays it.

    The dict `programs` keeps the recordings for the next pass.
    """

    def __init__(
        self,
        functions: tuple[Callable, Callable | None],
        given: dict[str, Nest],
        programs: dict[tuple, "Program"],
    ):
        self.choose, self.after_row = functions
        self.given = given
        self._programs = programs
        self._kind = (functions, *_kind(_tensors(given)))
        self._prepared = {}  # the programs' steps for `given`

    @torch.inference_mode()
    def call(self, function: Callable, num_lower: int, *tensors: Nest) -> Nest:
        """Returns `function(num_lower, *tensors, steps)`."""
        flat = _tensors(tensors)
        key = self._key(function, num_lower, flat)
        if key not in self._programs:
            step = functools.partial(function, num_lower)
            self._programs[key], results = Program.record(step, tensors, self)
            return results
        return self._programs[key].nest(self._step(key)(*flat))

    @torch.inference_mode()
    def repeat(
        self, function: Callable, num_lower: int, count: int, state: Nest, *tensors: Nest
    ) -> Nest:
        """Applies `function(num_lower, index, state, *tensors, steps)` `count` times."""
        first, *others = ops.arange(count, dtype="int64").unbind()
        state = self.call(function, num_lower, first, state, *tensors)
        flat, rest = _tensors(state), _tensors(tensors)
        key = self._key(function, num_lower, [first, *flat, *rest])
        step = self._step(key)
        for index in others:
            flat = step(index, *flat, *rest)
        return self._programs[key].nest(flat)

    def _key(self, function: Callable, num_lower: int, flat: list[Tensor]) -> tuple:
        return (function, num_lower, *self._kind, *_kind(flat))

    def _step(self, key: tuple) -> Callable[..., list[Tensor]]:
        if key not in self._prepared:
            self._prepared[key] = self._programs[key].prepared(self.given)
        return self._prepared[key]


class Program:
    """A recorded function of tensors, which consists only of torch operations.

    torch has no compiled loop, and Keras and Python would take nine tenths of the time of a pixel.
    So the operations of a step are recorded once and replayed. Shapes and
    Python's decisions are constants, values must not be read, and caches are written in place.
    Operations that depend only on the inputs `given` are computed once for many steps.
    """

    def __init__(self, recorder: "_Recorder", varying: Nest, given: Nest, results: Nest):
        self._structure = keras.tree.map_structure(lambda tensor: None, results)
        nests = varying, given, results
        varying, given, results = ([recorder.node(x) for x in _tensors(nest)] for nest in nests)
        before, within = recorder.split(varying, results)
        outer = _missing(within, results, varying)
        constants = _missing(before, outer, given)
        self._constants = [recorder.tensors[node][0] for node in constants]
        self._step = _compiled(within, [*varying, *outer], results)
        self._prepare = _compiled(before, [*given, *constants], outer)

    @classmethod
    def record(
        cls, function: Callable, varying: Nest, steps: RecordedSteps
    ) -> tuple["Program", Nest]:
        """Runs `function(*varying, steps)`, and returns the program and the results."""
        # Aliases, because a tensor may occur twice now, and different tensors the next time.
        varying, given = keras.tree.map_structure(_alias, (varying, steps.given))
        with _Recorder() as recorder:
            functions = {"choose": steps.choose, "after_row": steps.after_row}
            results = function(*varying, types.SimpleNamespace(**functions, given=given))
        return cls(recorder, varying, given, results), results

    def prepared(self, given: Nest) -> Callable[..., list[Tensor]]:
        """Returns the step, a function from the flat varying tensors to the flat results."""
        outer = self._prepare(*_tensors(given), *self._constants)
        return lambda *varying: self._step(*varying, *outer)

    def nest(self, flat: list[Tensor]) -> Nest:
        """Converts the flat results of a step to the nest that the function returned."""
        return _nested(self._structure, iter(flat))


class _Recorder(TorchFunctionMode):
    """Runs torch functions and records them in a graph."""

    def __init__(self) -> None:
        super().__init__()
        self.graph = torch.fx.Graph()
        self.tensors = {}  # tensors of each node, kept alive so that ids stay unique
        self._nodes = {}  # nodes by the id of a tensor

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if func.__name__ in _READS:
            raise RuntimeError(f"A recorded step must not read the values of tensors: {func}")
        if func.__name__ == "__get__":  # a property, which the graph gets by name
            args, func = (args[0], func.__self__.__name__), getattr
        if getattr(func, "__module__", None) == "torch._tensor":
            # The graph finds functions by name, and only the method that `**` wraps has one.
            func = getattr(torch.Tensor, func.__name__)
        with self:  # in mixed precision, a variable's value is the result of a recorded call
            args, kwargs = keras.tree.map_structure(_value, (args, kwargs or {}))
        nodes = map_aggregate((args, kwargs), self.node)
        result = func(*args, **kwargs)
        parts = _tensors(result)
        # Functions without effect, which return nothing or their own argument, are not recorded.
        if _writes(func) or any(id(x) not in self._nodes for x in parts):
            call = self.graph.call_function(func, *nodes)
            self.tensors[call] = parts
            for index, part in enumerate(parts):
                of_many = part is not result
                node = self.graph.call_function(getitem, (call, index)) if of_many else call
                self._add(node, part)
        return result

    def _add(self, node: Node, tensor: Tensor) -> Node:
        self.tensors[node] = [tensor]
        # Functions that write in place return their argument, which already has a node.
        return self._nodes.setdefault(id(tensor), node)

    def node(self, x: Any) -> Any:
        """Returns the node of a tensor, new for one that was not recorded; other values as `x`."""
        if not isinstance(x, torch.Tensor):
            return x
        return self._nodes.get(id(x)) or self._add(self.graph.placeholder("x"), x)

    def split(self, varying: list[Node], results: list[Node]) -> tuple[list[Node], list[Node]]:
        """Returns the calls with equal results in all steps, and all other calls, in order.

        Calls that use memory which is written or returned are among the other calls. Calls whose
        results are not used are removed.
        """
        self.graph.output(results)
        for node in reversed(self.graph.nodes):
            if node.op == "call_function" and not (node.users or _writes(node.target)):
                self.graph.erase_node(node)
        calls = [node for node in self.graph.nodes if node.op == "call_function"]
        written = {x for call in calls if _writes(call.target) for x in self._memory(call.args[0])}
        written.update(x for node in results for x in self._memory(node))
        before, within, changing = [], [], {*varying}
        for call in calls:
            memory = {x for node in [call, *call.all_input_nodes] for x in self._memory(node)}
            if changing.isdisjoint(call.all_input_nodes) and memory.isdisjoint(written):
                before.append(call)
            else:
                within.append(call)
                changing.add(call)
        return before, within

    def _memory(self, node: Node) -> set[int]:
        return {x.untyped_storage().data_ptr() for x in self.tensors[node]}


def _writes(function: Callable) -> bool:
    """Returns whether a torch function changes its first argument, according to its name."""
    name = function.__name__
    return name in _WRITES or (name.endswith("_") and not name.endswith("__"))


def _value(x: Any) -> Any:
    return x.value if isinstance(x, keras.Variable) else x


def _alias(x: Any) -> Any:
    return x.detach() if isinstance(x, torch.Tensor) else x


def _kind(tensors: list[Tensor]) -> list[tuple]:
    return [(x.shape, x.dtype) for x in tensors]


def _tensors(nest: Nest) -> list[Tensor]:
    """Returns the tensors of a nest. Keras would use torch's trees, which are too slow here."""
    if isinstance(nest, torch.Tensor):
        return [nest]
    if isinstance(nest, dict):
        nest = [nest[name] for name in sorted(nest)]
    return [x for part in nest for x in _tensors(part)] if isinstance(nest, list | tuple) else []


def _nested(structure: Nest, tensors: Iterator[Tensor]) -> Nest:
    """Builds a nest of the given structure; the inverse of `_tensors`."""
    if isinstance(structure, dict):
        return {name: _nested(structure[name], tensors) for name in sorted(structure)}
    if isinstance(structure, list | tuple):
        return [_nested(part, tensors) for part in structure]
    return next(tensors)


def _missing(calls: list[Node], results: list[Node], known: list[Node]) -> list[Node]:
    """Returns the nodes that calls and results need, but neither calls nor `known` provide."""
    needed = [node for call in calls for node in call.all_input_nodes] + results
    return [node for node in dict.fromkeys(needed) if node not in {*calls, *known}]


def _compiled(
    calls: list[Node], inputs: list[Node], results: list[Node]
) -> Callable[..., list[Tensor]]:
    """Compiles calls to a Python function, which frees each tensor after its last use."""
    graph = torch.fx.Graph()
    copies = {node: graph.placeholder(f"input_{index}") for index, node in enumerate(inputs)}
    for call in calls:
        copies[call] = graph.node_copy(call, copies.__getitem__)
    graph.output([copies[node] for node in results])
    return torch.fx.GraphModule({}, graph).forward
