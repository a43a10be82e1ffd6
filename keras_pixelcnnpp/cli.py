"""The command `pixelcnnpp`.

Nothing heavy is imported before a command runs, so that `--help` answers at once.
"""

import os
import sys

import typer

from keras_pixelcnnpp.errors import UserError, is_disk_full, is_out_of_memory
from keras_pixelcnnpp.evaluate.commands import app as evaluate
from keras_pixelcnnpp.memory import keep_freed_memory_unless_told
from keras_pixelcnnpp.savedmodel.commands import app as savedmodel
from keras_pixelcnnpp.train.commands import app as train

BACKENDS = ("tensorflow", "jax", "torch")


MEMORY_ADVICE = (
    "Use a smaller --batch-size; in training, fewer --candidates, fewer --filters or "
    "--precision mixed_bfloat16 help too."
)


app = typer.Typer(
    help="Conditional PixelCNN++: generates, classifies and scores pictures.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


app.add_typer(train, name="train")


app.add_typer(evaluate, name="evaluate")


app.add_typer(savedmodel, name="savedmodel")


def main() -> None:
    """Runs a command. Bad input, or too much of it, ends it with one line and exit status 2."""
    # TensorFlow's C++ code greets at start-up; only its warnings and errors are worth reading.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    _prepare_memory()
    try:
        _check_backend()
        app()
    except ModuleNotFoundError as error:
        if error.name not in BACKENDS:
            raise
        print(
            f"pixelcnnpp: error: the backend {error.name} is not installed. Install this package "
            f"with its extra [{error.name}], or choose another backend: "
            f"KERAS_BACKEND={' or '.join(name for name in BACKENDS if name != error.name)}.",
            file=sys.stderr,
        )
        sys.exit(2)
    except (UserError, OSError) as error:
        print(f"pixelcnnpp: error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("pixelcnnpp: interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        # First: TensorFlow has one class of error for both.
        if is_disk_full(error):
            print("pixelcnnpp: error: no space left on the disk.", file=sys.stderr)
            sys.exit(2)
        if not is_out_of_memory(error):
            raise
        print(f"pixelcnnpp: error: out of memory. {MEMORY_ADVICE}", file=sys.stderr)
        sys.exit(2)


def _check_backend() -> None:
    backend = os.environ.get("KERAS_BACKEND", BACKENDS[0])
    if backend not in BACKENDS:
        raise UserError(
            "Invalid value for the environment variable KERAS_BACKEND. Expected one of: "
            f"{', '.join(BACKENDS)}. Received: {backend}"
        )


def _prepare_memory() -> None:
    keep_freed_memory_unless_told()
    # TensorFlow and JAX would claim a GPU's whole memory at once, whether they need it or not.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


if __name__ == "__main__":
    main()
