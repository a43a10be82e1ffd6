"""Docstrings of methods that share arguments, whose descriptions are written once."""

import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar

Method = TypeVar("Method", bound=Callable)


def described_by(*sources: Any) -> Callable[[Method], Method]:
    """Decorator that adds descriptions of arguments to a docstring that lacks them.

    Args:
        *sources: Classes, or texts like docstrings, which describe the arguments. If several
            describe an argument, the first one counts. The method's own description comes before
            all.

    Returns:
        A decorator. The section `Args:` of the method's docstring then describes the arguments in
        the order of the signature.

    Example:

    >>> @described_by(SamplingOptions)
    ... def sample(count, seed):
    ...     '''Samples numbers.
    ...
    ...     Args:
    ...         count: Integer, how many.
    ...     '''
    >>> print(sample.__doc__)
    Samples numbers.
    <BLANKLINE>
    Args:
        count: Integer, how many.
        seed: Integer >= 0.
    """
    shared: dict[str, str] = {}
    for source in reversed(sources):
        shared |= _described(source if isinstance(source, str) else source.__doc__ or "")

    def complete(method: Method) -> Method:
        if method.__doc__ is None:  # in optimized mode, Python has no docstrings
            return method
        text = inspect.cleandoc(method.__doc__)
        known = shared | _described(text)
        names = [name for name in inspect.signature(method).parameters if name in known]
        section = "Args:\n" + "\n".join(f"    {name}: {known[name]}" for name in names)
        before, _, after = _parts(text)
        method.__doc__ = f"{before}\n\n{section}\n\n{after}".rstrip()
        return method

    return complete


def _parts(text: str) -> tuple[str, str, str]:
    """Returns what precedes the section `Args:` of a docstring, its entries, and what follows."""
    found = re.search(r"^Args:\n((?:    .*\n|\n)+)", text + "\n", re.MULTILINE)
    if found is None:  # it stands before all other sections
        others = "Returns|Yields|Raises|Example|Reference"
        found = re.search(rf"^()(?=(?:{others}):)|\Z", text, re.MULTILINE)
    return text[: found.start()].strip(), found[1] or "", text[found.end() :].strip()


def _described(text: str) -> dict[str, str]:
    """Returns the entries of the section `Args:` of a docstring, by the names of arguments."""
    _, entries, _ = _parts(inspect.cleandoc(text))
    parts = re.split(r"^    (\*{0,2}\w+): ", entries, flags=re.MULTILINE)
    return {name: entry.strip() for name, entry in zip(parts[1::2], parts[2::2], strict=True)}
