"""Compiled functions that a model keeps from one call to the next."""

from collections.abc import Callable, Hashable
from typing import Any


class CompiledFunctions:
    """Functions that were compiled for a model, by the computation.

    It is not a dict, because Keras would track and save models inside a dict.
    """

    def __init__(self) -> None:
        self._functions = {}

    def get(self, kind: Hashable, make: Callable[[], Any], version: Any = None) -> Any:
        """Returns the function of a kind, which `make` creates at the first call.

        A function of another `version`, such as other weights, is replaced.
        """
        if kind not in self._functions:
            # Keeps the first one if two threads compile.
            self._functions.setdefault(kind, (version, make()))
        if self._functions[kind][0] != version:
            self._functions[kind] = version, make()
        return self._functions[kind][1]

    def clear(self) -> None:
        """Forgets all functions, so that the next calls compile them again."""
        self._functions.clear()
