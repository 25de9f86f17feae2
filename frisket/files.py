"""Files: replaced whole or not at all, locked, as JSON, told apart by their digest. The one place that does so.

A writer works in a temporary beside the file (`replacing`) and holds the kernel's lock on it. So of what lies there
anybody can tell whether its writer is alive, on every machine and in every pod that shares the folder, and `lock`
removes what killed writers have left.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from frisket.errors import FileError

_TOKEN_BYTES = 8
_LEFT = f".part-{'[0-9a-f]' * 2 * _TOKEN_BYTES}-"  # how names of temporaries begin, as a pattern
_TRIES, _PAUSE = 5, 0.02  # how often, and seconds between: somebody may only be looking (`held`)
_PIECE = 2**20  # bytes of a file in memory while it is digested


# -- replacing ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """An empty file to be written, which becomes ``path`` when the block ends; where the block fails, ``path`` is as it
    was and nothing is left beside it.

    Args:
        path: in a folder that exists. The temporary has its suffix.
        durable: the content is on disk before it takes its name, and the name before the block has ended. Without, a
            power failure may leave an empty file: for what is made again where it is damaged, or shown and forgotten.
    """
    with _part(path, _new_file) as part:
        yield part
        if durable:
            _sync(part)
        os.replace(part, path)
        if durable:
            _sync(path.parent)


@contextlib.contextmanager
def making_folder(path: Path) -> Iterator[Path]:
    """An empty folder to be filled, which becomes ``path``, where none may be yet, when the block ends; not durable."""
    with _part(path, _new_folder) as part:
        yield part
        os.replace(part, path)


def write_bytes(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replace ``path`` by ``content``; see `replacing`."""
    with replacing(path, durable=durable) as part:
        part.write_bytes(content)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Replace ``path`` by ``text`` in UTF-8; see `replacing`."""
    write_bytes(path, text.encode(), durable=durable)


def write_json(path: Path, value: Any, *, durable: bool = True, indent: int | None = 1) -> None:
    """Replace ``path`` by ``value`` as JSON; see `replacing`."""
    write_text(path, json.dumps(value, indent=indent), durable=durable)


def sweep(path: Path) -> None:
    """Remove what killed writers have left of ``path``; that of living ones stays."""
    _sweep(path.parent, _LEFT + glob.escape(path.name))


# -- reading -----------------------------------------------------------------------------------------------------------


def read_json(path: Path) -> Any:
    """The JSON in ``path``.

    Raises:
        FileError: it is damaged.
        OSError: it is not there, or cannot be read.
    """
    content = path.read_bytes()
    try:
        return json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise FileError("file", str(path), f"is damaged: it is not JSON ({error})") from error


def find_json(path: Path) -> Any:
    """The JSON in ``path``, None where there is no such file or it is damaged."""
    try:
        return read_json(path)
    except (OSError, FileError):
        return None


def sha256(content: bytes) -> str:
    """SHA-256 of ``content``, in hex."""
    return hashlib.sha256(content).hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 of the file ``path``, in hex; it is never in memory as a whole."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


# -- locking -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def lock(path: Path, *, busy: Exception | None = None) -> Iterator[None]:
    """Hold the lock file ``path``, made if missing; what killed writers have left in its folder goes.

    The kernel lets go when the process ends, however it ends. The file stays.

    Args:
        path: in a folder that exists.
        busy: raised at once where another process or thread holds it; None to wait for it.
    """
    with path.open("a") as file:
        for last in (*[False] * (_TRIES - 1), True):
            try:
                fcntl.flock(file, fcntl.LOCK_EX if busy is None else fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if last and busy is not None:
                    raise busy from None
                time.sleep(_PAUSE)
        _sweep(path.parent, f"{_LEFT}*")
        yield


def held(path: Path) -> bool:
    """Whether a live process holds the lock file ``path``. Who looks has it for less time than `lock` waits."""
    try:
        with path.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no such file, or a file system without locks
        return False
    return False


@contextlib.contextmanager
def _part(path: Path, new: Callable[[Path], int]) -> Iterator[Path]:
    """A temporary for ``path``, which ``new`` makes and opens, locked for as long as the block lasts."""
    part, handle = _claimed(path, new)
    try:
        yield part
    finally:
        _remove(part)
        os.close(handle)


def _claimed(path: Path, new: Callable[[Path], int]) -> tuple[Path, int]:
    while True:
        part = path.with_name(f".part-{secrets.token_hex(_TOKEN_BYTES)}-{path.name}")
        handle = new(part)
        with contextlib.suppress(OSError):  # a file system without locks: nobody can take it for a dead one's either
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:  # else it was swept before it was locked
            return part, handle
        os.close(handle)


def _new_file(part: Path) -> int:
    return os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)


def _new_folder(part: Path) -> int:
    part.mkdir()
    return os.open(part, os.O_RDONLY)


def _sweep(folder: Path, pattern: str) -> None:
    for left in folder.glob(pattern):
        with contextlib.suppress(OSError):  # its writer lives, or another has swept it
            handle = os.open(left, os.O_RDONLY if left.is_dir() else os.O_RDWR)  # locks over NFS need it writable
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(left)
            finally:
                os.close(handle)


def _remove(part: Path) -> None:
    if part.is_dir():
        shutil.rmtree(part, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            part.unlink()


def _sync(path: Path) -> None:
    """Put a file's content, or a folder's names, on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
