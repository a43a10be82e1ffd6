"""The error that means "the input is wrong", as opposed to "the program is wrong"."""

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """Bad input from a user: data, options or files. The message is one clear line."""


@contextmanager
def argument_errors() -> Iterator[None]:
    """Turns the `ValueError` of a constructor called with a user's options into a `UserError`.

    Example:

    ```python
    with argument_errors():
        model = PixelCNNPlusPlus(filters=options["filters"], ...)
    ```
    """
    try:
        yield
    except UserError:
        raise
    except ValueError as error:
        raise UserError(" ".join(str(error).split())) from error
