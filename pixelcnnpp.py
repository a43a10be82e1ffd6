"""Entry point of the command `pixelcnnpp`, outside the package so that `--help` loads no Keras.

The model is in `keras_pixelcnnpp/models/pixelcnnpp.py`.
"""

import importlib.metadata
import importlib.util
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def main(callbacks: Sequence[Any] = ()) -> None:
    """Runs the command in `sys.argv`, and exits with its status.

    A script of your own calls it after it has imported a network, head or strategy of your own.

    Args:
        callbacks: Keras callbacks, which `train` and `train-baseline` add to their own.

    Example:

    ```python
    import keras, pixelcnnpp                    # my_training.py

    stop = keras.callbacks.EarlyStopping("val_bits_per_dim", mode="min", patience=3)
    pixelcnnpp.main(callbacks=[stop])           # python my_training.py train --data …
    ```
    """
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # a background job of a shell
        signal.signal(signal.SIGINT, _leave)
    try:
        # The package is registered but its `__init__.py` is not run, so that modules of it can be
        # imported without Keras. `library` in `commands/helpers.py` runs it.
        spec = importlib.util.find_spec("keras_pixelcnnpp")
        sys.modules.setdefault("keras_pixelcnnpp", importlib.util.module_from_spec(spec))
        from keras_pixelcnnpp.app import all_commands
    except ModuleNotFoundError as error:
        is_installed = any(importlib.metadata.distributions(name="keras-pixelcnnpp"))
        # In a clone that is not installed, the name would make pip look for the package on PyPI.
        clone = f"{Path(__file__).parent}[tensorflow,commands]"
        wanted = "keras-pixelcnnpp[commands]" if is_installed else clone
        print(
            f"pixelcnnpp: error: {error}. The commands need the extra `commands`: "
            f"pip install '{wanted}'",
            file=sys.stderr,
        )
        sys.exit(2)
    all_commands.main(callbacks)


def _leave(number: int, frame: object) -> None:
    """Ends the process after Ctrl-C. Training has its own handler, which saves a checkpoint."""
    print("\npixelcnnpp: interrupted", file=sys.stderr)
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
