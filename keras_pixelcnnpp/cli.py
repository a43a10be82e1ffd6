"""The command `pixelcnnpp`.

Nothing heavy is imported before a command runs, so that `--help` answers at once.
"""

import os
import sys

import typer

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.evaluate import app as evaluate
from keras_pixelcnnpp.memory import keep_freed_memory
from keras_pixelcnnpp.savedmodel import app as savedmodel
from keras_pixelcnnpp.train import app as train

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
    """Runs a command. Bad input ends it with one line on stderr and exit status 2."""
    # TensorFlow's C++ code greets at start-up; only its warnings and errors are worth reading.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    keep_freed_memory()
    try:
        app()
    except (UserError, OSError) as error:
        print(f"pixelcnnpp: error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("pixelcnnpp: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
