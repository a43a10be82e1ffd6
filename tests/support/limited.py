"""Reads files in a process with a limit of memory and time."""

import multiprocessing
import resource
import time
import warnings
from pathlib import Path

from keras_pixelcnnpp.data.images import read_image
from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.utils.errors import UserError


def outcomes(paths, megabytes=500, seconds=60):
    """Reads image files, `.npz` files and folders; each may take so much memory and time.

    Returns a dict from each path to the seconds that it took, and the message of its `UserError`,
    or an empty string. Any other error, or a lack of memory, raises an `AssertionError`.
    """
    # Forked, because a new process would import the backend, which takes longer than the test. The
    # process runs no code of the backend, so that its threads, which do not exist there, are not
    # missed.
    context = multiprocessing.get_context("fork")
    received, sent = context.Pipe(duplex=False)
    process = context.Process(target=_read_all, args=(paths, megabytes, sent))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads and forks
        process.start()
    sent.close()
    found = {}
    try:
        for path in paths:
            assert received.poll(seconds), f"{path}: {seconds} seconds were not enough"
            found[path] = received.recv()
    except EOFError:
        raise AssertionError(f"{path} ended the process") from None
    finally:
        process.kill()
        process.join()
    for path, (_, message) in found.items():
        assert not message.startswith("Error"), (path, message)
    return found


def _read_all(paths, megabytes, sent):
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for path in paths:
        start, message = time.perf_counter(), ""
        try:
            if path.is_dir() or path.suffix == ".npz":
                load_dataset(path, image_size=8, make_splits=False)
            else:
                read_image(path, (8, 8, 3))
        except UserError as error:
            message = str(error)
            if isinstance(error.__cause__, MemoryError):
                message = f"Error: out of memory: {message}"
        except BaseException as error:
            message = f"Error: {error!r}"
        sent.send((time.perf_counter() - start, message))
