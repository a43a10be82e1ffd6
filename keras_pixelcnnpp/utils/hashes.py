"""Hashes of arrays."""

import hashlib

import numpy as np

HASH_LENGTH = 16  # hexadecimal digits of a SHA-256 that identify an image


def array_hashes(arrays: np.ndarray) -> tuple[str, ...]:
    """Returns the beginning of the SHA-256 of the values of each array of `(N, ...)`."""
    digests = (hashlib.sha256(array.tobytes()).hexdigest() for array in arrays)
    return tuple(digest[:HASH_LENGTH] for digest in digests)
