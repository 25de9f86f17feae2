"""Reading arrays as numpy writes them, ``.npy`` and ``.npz``: what a header declares is compared with the bytes there
are before memory is taken for it. Python objects, which only a pickle could bring back, are refused by numpy."""

from __future__ import annotations

import math
import zipfile
from typing import IO

import numpy as np

from frisket.envs.data.containers import Damaged

_SUFFIX = ".npy"


def array_of(file: IO[bytes], size: int) -> np.ndarray:
    """The array in ``file``, which has ``size`` bytes and stands at its beginning.

    Raises:
        Damaged: its header declares more values, or fewer, than there are.
        Exception: whatever numpy raises for what is no array.
    """
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise Damaged(f"an array of format {version[0]}.{version[1]}, where 1.0 and 2.0 are read")
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    declared, there = math.prod(shape) * dtype.itemsize, size - file.tell()
    if declared != there and not dtype.hasobject:
        raise Damaged(f"its header declares {declared:,} bytes of values, and there are {there:,}")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def array_names(archive: zipfile.ZipFile) -> list[str]:
    """Names of the arrays in an ``.npz``."""
    return [name.removesuffix(_SUFFIX) for name in archive.namelist() if name.endswith(_SUFFIX)]


def array_in(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """The array ``name`` of an ``.npz``; raises as `array_of` and `zipfile` do."""
    member = archive.getinfo(f"{name}{_SUFFIX}")
    with archive.open(member) as file:
        return array_of(file, member.file_size)
