"""Entry point of the command `pixelcnnpp`, outside the package so that `--help` loads no Keras."""

import importlib.util
import os
import signal
import socket
import sys
import threading
import time


def main() -> None:
    """Runs a command."""
    answer_interrupts()
    try:
        # The package is registered but its `__init__.py` is not run, so that modules of it can be
        # imported without Keras. `command.library` runs it.
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
    """Makes Ctrl-C end the process with one line and status 130, even while a compiler runs.

    Python runs signal handlers only between its own instructions, but writes to the wakeup socket
    at once. A command with its own handler, such as training, stops by itself after the first
    Ctrl-C; a second Ctrl-C ends the process.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a background job of a shell
        return
    signal.signal(signal.SIGINT, _leave)
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
    stderr = os.dup(2)  # `command.library` redirects file descriptor 2 for a while
    threading.Thread(target=_watch, args=(receiver, sender, stderr), daemon=True).start()


def _leave(number: int, frame: object) -> None:
    time.sleep(0.1)  # lets `_watch` write its message before the process ends
    raise SystemExit(128 + number)


def _watch(receiver: socket.socket, _: socket.socket, stderr: int) -> None:
    asked = False
    while number := receiver.recv(1):
        if number[0] != signal.SIGINT:
            continue
        if signal.getsignal(signal.SIGINT) is _leave or asked:
            os.write(stderr, b"\npixelcnnpp: interrupted\n")
            time.sleep(1)  # for closing files
            os._exit(130)
        asked = True
        os.write(stderr, b"\npixelcnnpp: stopping; Ctrl-C again stops at once\n")


if __name__ == "__main__":
    main()
