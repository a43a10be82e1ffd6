"""The command `pixelcnnpp`: imports the package, or says in one line why it can't."""

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

# What TensorFlow's libraries log while they are loaded, before they read TF_CPP_MIN_LOG_LEVEL.
_GREETING = re.compile(
    rb"I\d{4} \d\d:\d\d:\d|WARNING: All log messages before absl::InitializeLog\(\)"
)


def main() -> None:
    """Runs a command."""
    try:
        with _without_greeting():
            from keras_pixelcnnpp import cli
    except ImportError as error:
        print(f"pixelcnnpp: error: {error}", file=sys.stderr)
        sys.exit(2)
    cli.main()


@contextmanager
def _without_greeting() -> Iterator[None]:
    """Within, another process passes on what is written to stderr, but for TensorFlow's greeting.

    Another process, so that nothing is lost where a library ends this one.
    """
    if not hasattr(os, "fork"):  # Windows
        yield
        return
    source, target = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.close(target)
            _pass_on(source)
        finally:
            os._exit(0)
    stderr = os.dup(2)
    os.dup2(target, 2)
    for file in (source, target):
        os.close(file)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        _wait_for(child)


def _wait_for(child: int) -> None:
    """Waits until all is passed on, but not for a process that keeps the old stderr."""
    for _ in range(100):
        if os.waitpid(child, os.WNOHANG)[0]:
            return
        time.sleep(0.01)


def _pass_on(source: int) -> None:
    # Ctrl-C ends the other process, whose last words come through here.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open(source, "rb") as lines:
        for line in lines:
            if not _GREETING.match(line):
                os.write(2, line)


if __name__ == "__main__":
    main()
