"""The command `pixelcnnpp`. It stands outside the package, which need not be run for `--help`."""

import importlib.util
import os
import signal
import socket
import sys
import threading
import time

GRACE = 1  # seconds for closing files after Ctrl-C


def main() -> None:
    """Runs a command."""
    answer_interrupts()
    try:
        # Not run yet, so that its modules can be imported without Keras: see `command.library`.
        spec = importlib.util.find_spec("keras_pixelcnnpp")
        sys.modules.setdefault("keras_pixelcnnpp", importlib.util.module_from_spec(spec))
        from keras_pixelcnnpp import cli
    except ModuleNotFoundError as error:
        print(
            f"pixelcnnpp: error: {error}. The commands need the extra `commands`: "
            "pip install 'keras-pixelcnnpp[commands]'",
            file=sys.stderr,
        )
        sys.exit(2)
    cli.main()


def answer_interrupts() -> None:
    """Lets Ctrl-C end the process with one line and status 130, even while a compiler runs.

    Python calls signal handlers between its own instructions only, but tells a socket at once. What
    has a handler of its own, as a training has, is asked to stop; a second Ctrl-C ends it.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # in the background of a shell
        return
    signal.signal(signal.SIGINT, _leave)
    told, tells = socket.socketpair()
    tells.setblocking(False)
    signal.set_wakeup_fd(tells.fileno(), warn_on_full_buffer=False)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
    stderr = os.dup(2)  # what it is now: TensorFlow's import has another one
    threading.Thread(target=_watch, args=(told, tells, stderr), daemon=True).start()


def _leave(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _watch(told: socket.socket, _: socket.socket, stderr: int) -> None:
    asked = False
    while number := told.recv(1):
        if number[0] != signal.SIGINT:
            continue
        if signal.getsignal(signal.SIGINT) is _leave or asked:
            os.write(stderr, b"\npixelcnnpp: interrupted\n")
            time.sleep(GRACE)
            os._exit(130)
        asked = True
        os.write(stderr, b"\npixelcnnpp: stopping; Ctrl-C again stops at once\n")


if __name__ == "__main__":
    main()
