"""Archives that promise more than they hold."""

import math
import zipfile
from typing import BinaryIO

from numpy.lib import format as npy

# Keras's own limits for archives: pictures don't shrink to a hundredth, a bomb does.
_MAX_EXPANSION = 100
_HARMLESS_BYTES = 256 << 20


def refuse_npz_bomb(file: BinaryIO) -> None:
    """Raises a `ValueError` before NumPy allocates what a hostile `.npz` asks for.

    Refused are arrays whose header promises other than what the archive has, and archives that
    unpack to more than 256 MB and a hundred times their size.

    Args:
        file: An open `.npz` file. Its position is put back to the start.
    """
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        packed = sum(entry.compress_size for entry in entries)
        unpacked = sum(entry.file_size for entry in entries)
        if unpacked > max(_HARMLESS_BYTES, _MAX_EXPANSION * packed):
            raise ValueError(f"{packed} bytes that unpack to {unpacked} are a bomb")
        for entry in entries:
            with archive.open(entry) as stored:
                _check_header(stored, entry)
    file.seek(0)


def _check_header(stored: BinaryIO, entry: zipfile.ZipInfo) -> None:
    version = npy.read_magic(stored)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(stored)
    promised = math.prod(shape) * dtype.itemsize
    # Pickled objects have no size of their own; `np.load` refuses them.
    if not dtype.hasobject and stored.tell() + promised != entry.file_size:
        raise ValueError(f"{entry.filename} promises {promised} bytes and has {entry.file_size}")
