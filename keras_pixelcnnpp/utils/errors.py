"""`UserError` for wrong input, and functions that recognize and describe errors."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import requires


class UserError(ValueError):
    """Error for wrong arguments, data or files. Its message is one printable line."""

    # Keras adds the arguments of `call` to an error, with escape codes, unless it is marked.
    _keras_call_info_injected = True

    def __init__(self, message: str):
        # A file name in it may have line breaks.
        super().__init__(printable(" ".join(message.splitlines())))


def printable(text: str) -> str:
    r"""Returns a text without characters that a terminal acts on, or that hide others.

    They are escaped, such as `\x1b` in the name of a file.
    """
    escaped = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return "".join(escaped)


def say(text: str, error: bool = False) -> None:
    """Prints one line that contains names from files or data, to stdout or stderr."""
    print(printable(text), file=sys.stderr if error else sys.stdout)


def invalid_argument(name: str, value: object, expected: str) -> UserError:
    """Returns the error for an argument with an invalid value."""
    return UserError(
        f"Invalid value for argument `{name}`. Expected {expected}. Received: {name}={value!r:.200}"
    )


def not_installed(purpose: str, package: str) -> UserError:
    """Returns the error for a missing package, with the command that installs its version."""
    needed = (text.partition(";")[0].strip() for text in requires("keras-pixelcnnpp") or ())
    exact = next((text for text in needed if text.startswith(package)), package)
    return UserError(f"{purpose} needs {package}, which is not installed: pip install '{exact}'")


def one_line(error: BaseException) -> str:
    """Returns the message of an exception as one line of at most 500 characters."""
    return " ".join(str(error).split())[:500] or type(error).__name__


@contextmanager
def as_user_error(what: str) -> Iterator[None]:
    """Context manager that converts all exceptions, except for a lack of memory, to `UserError`."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise UserError(f"{what}: {one_line(error)}") from error


_OUT_OF_MEMORY = (
    "ResourceExhaustedError",  # TensorFlow
    "RESOURCE_EXHAUSTED",  # JAX
    "out of memory",  # torch on a GPU
    "can't allocate memory",  # torch on a CPU
    "MemoryError",  # NumPy and Python
)


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an exception of Python, NumPy or a backend reports a lack of memory."""
    # Compares names, because only one backend may be installed to import classes from.
    names = [kind.__name__ for kind in type(error).__mro__]
    return any(sign in text for sign in _OUT_OF_MEMORY for text in (*names, str(error)))


def is_disk_full(error: BaseException) -> bool:
    """Returns whether an exception, or one of its causes, reports a full disk."""
    numbers = errno.ENOSPC, errno.EDQUOT, errno.EFBIG
    while error is not None:
        # h5py and TensorFlow have the operating system's message, but not always its error number.
        if getattr(error, "errno", None) in numbers or os.strerror(errno.ENOSPC) in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
