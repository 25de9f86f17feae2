"""Pixels that are kept in the cache folder and mapped into memory from there: only what is looked at is read, and all
processes of a machine share it.

A file is ``PIXELS TRAILER LENGTH``: one byte a value, in the order [n, C, H, W]; JSON; the trailer's length in 8 bytes.
The trailer has the sha256 of the pixels, which is compared whenever the file is opened: one that is not as it was
written is made again. Where the cache folder cannot be written, the pixels are held in memory.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frisket.files import NOT_AS_SEALED, replacing, sweep

_log = logging.getLogger("frisket.data")

_LENGTH = 8
_MOST = 2**26
"""Bytes of a trailer; faults of a million pictures take some."""
_AT_ONCE = 2**24
"""Bytes hashed at a time."""


@dataclass(frozen=True, slots=True)
class Block:
    """Pixels of some pictures. Attributes: images: ``[m, C, H, W]`` uint8; faults: number of a picture, as its maker
    counts them, to what is the matter with it; such a one need not be among ``images``."""

    images: np.ndarray
    faults: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Mapped:
    """Attributes: images: ``[n, C, H, W]`` uint8, not writable; lengths: pictures of every block; faults: of all
    blocks; sha256: of the pixels."""

    images: np.ndarray
    lengths: tuple[int, ...]
    faults: Mapping[int, str]
    sha256: str


def mapped(cache: Path, key: str, shape: tuple[int, int, int], blocks: Callable[[], Iterable[Block]]) -> Mapped:
    """The pixels kept under ``key``, else those that ``blocks`` gives, which are then kept.

    Args:
        cache: the cache folder.
        key: names everything the pixels depend on.
        shape: (C, H, W) of every picture.
        blocks: the pictures, one block after the other.
    """
    path = cache / "pixels" / f"{key}.pixels"
    try:
        return _opened(path, shape)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.debug("cached %s is unreadable (%s); making it again", path, error)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path)
        with replacing(path, durable=False) as part, part.open("wb") as file:
            _write(file.write, shape, blocks())
        return _opened(path, shape)
    except OSError as error:
        _log.debug("cannot keep %s: %s", path, error)
        return _held(shape, blocks)


def _write(write: Callable[[bytes], Any], shape: tuple[int, int, int], blocks: Iterable[Block]) -> None:
    digest, lengths, faults = hashlib.sha256(), list[int](), dict[str, str]()
    for block in blocks:
        content = np.ascontiguousarray(block.images).tobytes()
        digest.update(content)
        write(content)
        lengths.append(len(block.images))
        faults |= {str(number): fault for number, fault in block.faults.items()}
    about = {"shape": [sum(lengths), *shape], "lengths": lengths, "faults": faults, "sha256": digest.hexdigest()}
    trailer = json.dumps(about).encode()
    write(trailer + len(trailer).to_bytes(_LENGTH, "little"))


def _opened(path: Path, shape: tuple[int, int, int]) -> Mapped:
    """Raises OSError where it is not there, ValueError, KeyError or TypeError where it is damaged."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - _LENGTH))
        length = int.from_bytes(file.read(_LENGTH), "little")
        if not 0 < length <= min(_MOST, size - _LENGTH):
            raise ValueError(NOT_AS_SEALED)
        file.seek(size - _LENGTH - length)
        about = json.loads(file.read(length))
    full, lengths = tuple(about["shape"]), tuple(about["lengths"])
    count = size - _LENGTH - length
    if full != (sum(lengths), *shape) or int(np.prod(full)) != count:
        raise ValueError(NOT_AS_SEALED)
    pixels = np.asarray(np.memmap(path, np.uint8, "r", shape=(count,))) if count else np.empty(0, np.uint8)
    digest = hashlib.sha256()
    for start in range(0, count, _AT_ONCE):
        digest.update(pixels[start : start + _AT_ONCE])  # pyright: ignore[reportArgumentType]
    if digest.hexdigest() != about["sha256"]:
        raise ValueError(NOT_AS_SEALED)
    faults = {int(number): str(fault) for number, fault in about["faults"].items()}
    return Mapped(pixels.reshape(full), lengths, faults, about["sha256"])


def _held(shape: tuple[int, int, int], blocks: Callable[[], Iterable[Block]]) -> Mapped:
    made = list(blocks())
    images = np.concatenate([block.images for block in made]) if made else np.empty((0, *shape), np.uint8)
    faults = {number: fault for block in made for number, fault in block.faults.items()}
    flat = np.ascontiguousarray(images).reshape(-1)
    digest = hashlib.sha256(flat).hexdigest()  # pyright: ignore[reportArgumentType]
    return Mapped(images, tuple(len(block.images) for block in made), faults, digest)
