"""Entry point of the command `pixelcnnpp`, outside the package so that `--help` loads no Keras.

The model is in `keras_pixelcnnpp/models/pixelcnnpp.py`.
"""

import importlib.util
import signal
import sys
from collections.abc import Sequence
from typing import Any

NO_MEMORY = (
    "out of memory. Use fewer images at a time; in training, a smaller --batch-size, fewer "
    "--num-candidates, fewer --filters or --precision mixed_bfloat16 help."
)


def main(callbacks: Sequence[Any] = ()) -> None:
    """Runs the command in `sys.argv`, and exits with its status.

    Bad input or a lack of memory ends it with one line and exit status 2.

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
        app = all_commands()
    except ModuleNotFoundError as error:
        print(
            f"pixelcnnpp: error: {error}. The commands need the extra `commands`: "
            "pip install 'keras-pixelcnnpp[commands]', or in a clone, pip install '.[commands]'",
            file=sys.stderr,
        )
        sys.exit(2)
    from keras_pixelcnnpp.utils.errors import UserError, is_disk_full, is_out_of_memory, say

    try:
        app(prog_name="pixelcnnpp", obj=callbacks)
    except Exception as error:
        if isinstance(error, UserError | OSError):
            message = str(error)
        # Checked first, because TensorFlow uses the same class of errors for disk and memory.
        elif is_disk_full(error):
            message = "no space left on the disk. Existing files are kept."
        elif is_out_of_memory(error):
            message = NO_MEMORY
        else:
            raise
        say(f"pixelcnnpp: error: {message}", error=True)
        sys.exit(2)


def all_commands() -> Any:
    """Returns the `typer.Typer` of all commands.

    The package is registered but its `__init__.py` is not run, so that modules of it can be
    imported without Keras. `library` in `commands/helpers.py` runs it.
    """
    spec = importlib.util.find_spec("keras_pixelcnnpp")
    sys.modules.setdefault("keras_pixelcnnpp", importlib.util.module_from_spec(spec))
    from keras_pixelcnnpp.app.commands import app as of_app
    from keras_pixelcnnpp.commands.helpers import Commands, epilog
    from keras_pixelcnnpp.commands.model_commands import app as of_models
    from keras_pixelcnnpp.evaluate.commands import app as evaluate
    from keras_pixelcnnpp.savedmodel.commands import app as of_savedmodel
    from keras_pixelcnnpp.train.commands import app as of_train

    app = Commands(
        help="Train conditional PixelCNN++ models, and generate, classify and score images.",
        epilog=epilog(
            "sample --preset fashion_mnist",
            "train --data digits --run runs/digits",
            "evaluate classification --run runs/digits",
        ),
        add_completion=False,
        context_settings={"max_content_width": 100},
        pretty_exceptions_enable=False,
    )
    for group in (of_models, of_savedmodel, of_app, of_train):
        app.add_typer(group)
    app.add_typer(evaluate, name="evaluate")
    return app


def _leave(number: int, frame: object) -> None:
    """Ends the process after Ctrl-C. Training has its own handler, which saves a checkpoint."""
    print("\npixelcnnpp: interrupted", file=sys.stderr)
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
