"""Programs of torch operations, recorded once: the loops of a pass, without Keras in them."""

import functools
import types

import keras
import torch
from keras import ops
from torch.overrides import TorchFunctionMode

# What would tie a program to the values that it was recorded with, and what changes its argument.
_READS = {"item", "tolist", "numpy", "__array__", "__bool__", "__int__", "__float__", "__index__"}
_WRITES = {"__setitem__", "__iadd__", "__isub__", "__imul__", "__itruediv__"}


class RecordedSteps:
    """Runs the functions of a pass as `Steps` does: once as they are, from then on as programs.

    `programs` is a dict that keeps them for the next pass.
    """

    def __init__(self, choose, given, programs):
        self.choose = choose
        self.given = given
        self._programs = programs
        self._kind = (choose, *_kind(_tensors(given)))
        self._prepared = {}  # the programs' steps for what is given

    @torch.inference_mode()
    def once(self, function, running, *tensors):
        """See `Steps.once`."""
        flat = _tensors(tensors)
        key = self._key(function, running, flat)
        if key not in self._programs:
            step = functools.partial(function, running)
            self._programs[key], results = Program.record(step, tensors, self)
            return results
        return self._programs[key].nest(self._step(key)(*flat))

    @torch.inference_mode()
    def repeat(self, function, running, count, state, *tensors):
        """See `Steps.repeat`."""
        first, *others = ops.arange(count, dtype="int64").unbind()
        state = self.once(function, running, first, state, *tensors)
        flat, rest = _tensors(state), _tensors(tensors)
        key = self._key(function, running, [first, *flat, *rest])
        step = self._step(key)
        for index in others:
            flat = step(index, *flat, *rest)
        return self._programs[key].nest(flat)

    def _key(self, function, running, flat):
        return (function, running, *self._kind, *_kind(flat))

    def _step(self, key):
        if key not in self._prepared:
            self._prepared[key] = self._programs[key].prepared(self.given)
        return self._prepared[key]


class Program:
    """A function of tensors, as the torch operations that it was seen to do.

    Torch has no loop that compiles: of the time of a pixel, Keras and Python would take nine
    tenths. So a step runs once as it is, and what it did is run from then on. Shapes and what
    Python decided are constants of it. As in a CUDA graph, no value may be looked at, and a cache
    is written in place. What hangs on nothing but what is given is computed once for many steps.

    Args:
        calls: The calls of torch's functions, in order.
        varying: The tensors that differ from step to step.
        given: The tensors that don't.
        results: The nest of tensors that a step returns.
    """

    def __init__(self, calls, varying, given, results):
        self._structure = keras.tree.map_structure(lambda tensor: None, results)
        varying, given, results = map(_tensors, (varying, given, results))
        before, within = _split(_needed(calls, results), varying, results)
        outer = _unknown(within, varying, results)
        self._constants = _unknown(before, given, outer)
        self._step = _compiled(within, [*varying, *outer], results)
        self._prepare = _compiled(before, [*given, *self._constants], outer)

    @classmethod
    def record(cls, function, varying, steps):
        """Runs `function(*varying, steps)`; returns the program and the results."""
        # The same tensor may be here twice, and different ones the next time.
        varying, given = keras.tree.map_structure(_alias, (varying, steps.given))
        with _Recorder() as recorder:
            results = function(*varying, types.SimpleNamespace(choose=steps.choose, given=given))
        return cls(recorder.calls, varying, given, results), results

    def prepared(self, given):
        """The step: a function of the varying tensors, flat, that returns the results, flat."""
        outer = self._prepare(*_tensors(given), *self._constants)
        return lambda *varying: self._step(*varying, *outer)

    def nest(self, flat):
        """The results as the function returned them, from those that a step returned."""
        return _nested(self._structure, iter(flat))


class _Call:
    """A call of a torch function, that is made at once, and the tensors it takes and gives."""

    def __init__(self, function, args, kwargs):
        self.function, self.args, self.kwargs = function, args, kwargs
        self.result = function(*args, **kwargs)
        self.tensors, self.results = _tensors((args, kwargs)), _tensors(self.result)
        # It changes its first argument, as torch's names tell.
        name = function.__name__
        self.writes = name in _WRITES or (name.endswith("_") and not name.endswith("__"))

    def uses(self, names):
        return not names.isdisjoint(map(id, self.tensors))

    def gives(self, names):
        return not names.isdisjoint(map(id, self.results))


class _Recorder(TorchFunctionMode):
    """Runs torch's functions and writes them down."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func.__name__ in _READS:
            raise RuntimeError(f"A step that is recorded must not look at values: {func}")
        with self:  # under mixed precision, a variable's value is a call of its own
            args, kwargs = keras.tree.map_structure(_value, (args, kwargs or {}))
        call = _Call(func, args, kwargs)
        # Not what gave nothing, or its own argument back.
        if call.writes or {*map(id, call.results)} - {*map(id, call.tensors)}:
            self.calls.append(call)
        return call.result


def _value(x):
    return x.value if isinstance(x, keras.Variable) else x


def _alias(x):
    return x.detach() if isinstance(x, torch.Tensor) else x


def _kind(tensors):
    return [(x.shape, x.dtype) for x in tensors]


def _tensors(nest):
    """The tensors of a nest. Keras would ask torch, whose own trees take longer than a row."""
    if isinstance(nest, torch.Tensor):
        return [nest]
    if isinstance(nest, dict):
        nest = [nest[name] for name in sorted(nest)]
    return [x for part in nest for x in _tensors(part)] if isinstance(nest, list | tuple) else []


def _nested(structure, tensors):
    """A nest of such a structure, of the tensors that `_tensors` would find in it."""
    if isinstance(structure, dict):
        return {name: _nested(structure[name], tensors) for name in sorted(structure)}
    if isinstance(structure, list | tuple):
        return [_nested(part, tensors) for part in structure]
    return next(tensors)


def _needed(calls, results):
    """The calls without those whose results nobody uses."""
    used, kept = {*map(id, results)}, []
    for call in reversed(calls):
        if call.writes or call.gives(used):
            used.update(map(id, call.tensors))
            kept.append(call)
    return kept[::-1]


def _split(calls, varying, results):
    """The calls whose results are the same for all steps, and the others.

    Among the others are all that have to do with memory that is written, or given away.
    """
    before, within, names = [], [], {*map(id, varying)}
    written = {_memory(x) for x in [call.args[0] for call in calls if call.writes] + results}
    for call in calls:
        memory = set(map(_memory, call.tensors + call.results))
        if call.uses(names) or not memory.isdisjoint(written):
            names.update(map(id, call.results))
            within.append(call)
        else:
            before.append(call)
    return before, within


def _memory(tensor):
    return tensor.untyped_storage().data_ptr()


def _unknown(calls, inputs, results):
    """The tensors that calls and results need and that neither inputs nor calls give."""
    known, unknown = {*map(id, inputs)}, {}
    for call in calls:
        unknown.update({id(x): x for x in call.tensors if id(x) not in known})
        known.update(map(id, call.results))
    unknown.update({id(x): x for x in results if id(x) not in known})
    return list(unknown.values())


def _compiled(calls, inputs, results):
    """A Python function of these calls, which lets go of each tensor after its last use."""
    names = {id(x): f"x{index}" for index, x in enumerate(inputs)}
    space = {}  # the functions and constants

    def text(x):
        if isinstance(x, list | tuple) and _tensors(x):
            return f"[{', '.join(map(text, x))}]"
        if isinstance(x, torch.Tensor):
            return names[id(x)]
        space[f"c{len(space)}"] = x
        return f"c{len(space) - 1}"

    last = {id(x): index for index, call in enumerate(calls) for x in call.tensors}
    last.update({id(x): len(calls) for x in results})
    lines = [f"def program({', '.join(names.values())}):"]
    for index, call in enumerate(calls):
        called = [text(x) for x in call.args] + [f"{k}={text(x)}" for k, x in call.kwargs.items()]
        names.update({id(x): f"v{index}_{part}" for part, x in enumerate(call.results)})
        given = ", ".join(names[id(x)] for x in call.results)
        if not isinstance(call.result, torch.Tensor):
            given = f"[{given}]" if given else "_"
        lines.append(f"    {given} = {text(call.function)}({', '.join(called)})")
        over = {names[id(x)] for x in call.tensors + call.results if last.get(id(x), 0) <= index}
        lines += [f"    {' = '.join(over)} = None"] if over else []
    lines.append(f"    return [{', '.join(map(text, results))}]")
    exec("\n".join(lines), space)  # noqa: S102
    return space["program"]
