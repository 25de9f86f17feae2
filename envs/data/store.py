"""Where data lies on this machine: the folders searched, and the cache folder written to.

A data folder and the cache share one layout, ``SOURCE_NAME/FILE``, so a cache can be carried to an offline machine and
named in ``FRISKET_DATA``. The cache also keeps decoded arrays (``arrays/``) and the hashes of repacked files whose
content was found canonical (``verified/``). It is never needed for a correct result: arrays carry their digest, a
damaged entry is made again, and a folder that cannot be written only costs time.
"""

from __future__ import annotations

import json
import logging
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from frisket.envs.data.containers import require_bounded
from frisket.envs.data.npy import array_in, array_names
from frisket.errors import DataError
from frisket.files import NOT_AS_SEALED, SEAL, replacing, sha256_of_parts, sweep
from frisket.folders import cache_folder
from frisket.heap import machine_memory

_log = logging.getLogger("frisket.data")


@dataclass(frozen=True, slots=True)
class Store:
    """Attributes:
    roots: data folders to read from, in order; the cache is the last.
    cache: the folder to write to.
    """

    roots: tuple[Path, ...]
    cache: Path

    @classmethod
    def open(cls, data_dir: str | Path | None = None) -> Store:
        """``data_dir``, then the environment's FRISKET_DATA, then the cache folder (see `frisket.folders`).

        Raises:
            DataError: a folder was named which is not there.
        """
        roots = []
        for field, value in (("data_dir", data_dir), ("FRISKET_DATA", os.environ.get("FRISKET_DATA"))):
            if value is None or not str(value):
                continue
            folder = Path(value).expanduser().absolute()
            if not folder.is_dir():
                raise DataError(field, str(value), "is not a folder; name one that holds data sets, or leave it unset")
            roots.append(folder)
        cache = cache_folder()
        return cls((*roots, cache), cache)


def cached_arrays(cache: Path, key: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays kept under ``key``, else those ``make`` gives, which are then kept.

    ``key`` must name everything the arrays depend on.
    """
    path = cache / "arrays" / f"{key}.npz"
    try:
        with zipfile.ZipFile(path) as kept:
            require_bounded(kept, machine_memory())
            arrays = {name: array_in(kept, name) for name in array_names(kept)}
        if str(arrays.pop(SEAL)) != _digest(arrays):
            raise ValueError(NOT_AS_SEALED)
        return arrays
    except FileNotFoundError:
        pass
    except Exception as error:  # a damaged zip shows up as any of half a dozen types; whatever it is, make it again
        _log.debug("cached %s is unreadable (%s); making it again", path, error)
    arrays = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path)
        with replacing(path, durable=False) as part, part.open("wb") as file:
            np.savez(file, **arrays, **{SEAL: np.array(_digest(arrays))})  # pyright: ignore[reportArgumentType]
    except OSError as error:
        _log.debug("cannot keep %s: %s", path, error)
    return arrays


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Of the arrays' names, types, shapes and bytes."""
    about = {name: [array.dtype.str, list(array.shape)] for name, array in arrays.items()}
    parts = {name: np.ascontiguousarray(array).reshape(-1).view(np.uint8) for name, array in arrays.items()}
    return sha256_of_parts(json.dumps(about, sort_keys=True), parts)
