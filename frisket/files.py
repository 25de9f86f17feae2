"""Files: replaced whole or not at all, locked, as JSON, sealed with a digest of what they hold. The one place that does
so.

A writer works in a temporary beside the file (`replacing`) and holds the kernel's lock on it. So of what lies there
anybody can tell whether its writer is alive, on every machine and in every pod that shares the folder, and `lock`
removes what killed writers have left.

What frisket writes for itself to read again is sealed: it carries the SHA-256 of its content under `SEAL`, in the same
file, so that no death can come between the two. What does not have the content it was sealed with is not read.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from frisket.errors import FileError

_TOKEN_BYTES = 8
_LEFT = f".part-{'[0-9a-f]' * 2 * _TOKEN_BYTES}-"  # how names of temporaries begin, as a pattern
_TRIES, _PAUSE = 5, 0.02  # how often, and seconds between: somebody may only be looking (`held`)
_DIGITS = 64  # of a SHA-256 in hex
_PIECE = 2**20  # bytes of a file in memory while it is digested
_HEADER = 100_000_000  # bytes of a safetensors header, at most, as its own readers have it

_IN_WORDS = re.compile(r"\(os error (?P<number>\d+)\)$")  # as libraries written in Rust say it (safetensors)

SEAL = "sha256"
"""Where a file that carries its digest has it: a key of the JSON object, an entry of the metadata."""
NOT_SEALED = "carries no digest of its content: it is damaged, or of an earlier frisket, whose files are not read"
NOT_AS_SEALED = "is damaged or was changed: its content is not what its sha256 says"


# -- replacing ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def naming(path: Path, part: Path | None = None) -> Iterator[None]:
    """Let errors of the system's inside the block say that they are of ``path``, where they name no file, or ``part``,
    its temporary; and be `OSError` where a library has put one in words of its own."""
    nobodys = (None,) if part is None else (None, str(part))
    try:
        yield
    except (ConnectionError, TimeoutError):
        raise
    except Exception as error:
        found = _IN_WORDS.search(str(error))
        ours = isinstance(error, OSError) and (error.filename and os.fspath(error.filename)) in nobodys
        nameless = error.errno if isinstance(error, OSError) and ours else None
        number = nameless if found is None else int(found["number"])
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True, before: Path | None = None) -> Iterator[Path]:
    """An empty file to be written, which becomes ``path`` when the block ends; where the block fails, ``path`` is as it
    was and nothing is left beside it.

    Args:
        path: in a folder that exists. The temporary has its suffix.
        durable: the content is on disk before it takes its name, and the name before the block has ended. Without, a
            power failure may leave an empty file: for what is made again where it is damaged, or shown and forgotten.
        before: what was in ``path`` is kept there. ``path`` is never missing meanwhile, where files can be linked.
    """
    with _part(path, _new_file) as part, naming(path, part):
        yield part
        if durable:
            _sync(part)
        if before is not None and path.exists():
            _keep(path, before)
        os.replace(part, path)
        if durable:
            _sync(path.parent)


@contextlib.contextmanager
def making_folder(path: Path) -> Iterator[Path]:
    """An empty folder to be filled, which becomes ``path``, where none may be yet, when the block ends; not durable."""
    with _part(path, _new_folder) as part, naming(path, part):
        yield part
        os.replace(part, path)


@contextlib.contextmanager
def making_file(path: Path) -> Iterator[Path]:
    """An empty file to be filled, which becomes ``path`` when the block ends, unless another was quicker; not
    durable."""
    with _part(path, _new_file) as part:
        yield part
        with contextlib.suppress(FileExistsError):  # a link, unlike a renaming, spares what is there
            os.link(part, path)


def write_bytes(path: Path, content: bytes | memoryview, *, durable: bool = True) -> None:
    """Replace ``path`` by ``content``; see `replacing`."""
    with replacing(path, durable=durable) as part:
        part.write_bytes(content)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Replace ``path`` by ``text`` in UTF-8; see `replacing`."""
    write_bytes(path, text.encode(), durable=durable)


def write_json(path: Path, value: Any, *, durable: bool = True, indent: int | None = 1) -> None:
    """Replace ``path`` by ``value`` as JSON; see `replacing`."""
    write_text(path, json.dumps(value, indent=indent), durable=durable)


def write_sealed(path: Path, record: Mapping[str, Any], *, durable: bool = True) -> None:
    """Replace ``path`` by ``record`` as JSON, sealed; see `replacing`."""
    plain = json.loads(json.dumps(record))  # as it will be read
    write_json(path, {**plain, SEAL: _digest(plain)}, durable=durable)


def sweep(path: Path) -> None:
    """Remove what killed writers have left of ``path``; that of living ones stays."""
    _sweep(path.parent, _LEFT + glob.escape(path.name))


@contextlib.contextmanager
def scratch(name: str) -> Iterator[Path]:
    """An empty folder among the system's temporaries, this user's alone, for as long as the block lasts.

    Args:
        name: what it is for. What killed processes have left of that name goes, here and later.
    """
    place = Path(tempfile.gettempdir()) / f"frisket-{name}"
    sweep(place)
    with _part(place, _new_private_folder) as part:
        yield part


# -- reading -----------------------------------------------------------------------------------------------------------


def read_json(path: Path) -> Any:
    """The JSON in ``path``.

    Raises:
        FileError: it is damaged, or no regular file.
        OSError: it is not there, or cannot be read.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise FileError("file", str(path), "is no regular file")
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


def read_sealed(path: Path) -> dict[str, Any]:
    """What `write_sealed` has written to ``path``.

    Raises:
        FileError: it is damaged, or was changed since.
        OSError: it is not there, or cannot be read.
    """
    record = read_json(path)
    seal = record.pop(SEAL, None) if isinstance(record, dict) else None
    if seal is None:
        raise FileError("file", str(path), NOT_SEALED)
    try:
        whole = seal == _digest(record)
    except RecursionError:
        whole = False
    if not whole:
        raise FileError("file", str(path), NOT_AS_SEALED)
    return record


def find_sealed(path: Path) -> dict[str, Any] | None:
    """What `write_sealed` has written to ``path``, None where there is no such file or it is damaged: for what can be
    done without."""
    try:
        return read_sealed(path)
    except (OSError, FileError):
        return None


def sha256(content: bytes | memoryview) -> str:
    """SHA-256 of ``content``, in hex."""
    return hashlib.sha256(content).hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 of the file ``path``, in hex; it is never in memory as a whole."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def seal_of(path: Path) -> str:
    """The seal in the metadata of the safetensors file ``path``, as it stands there.

    Raises:
        FileError: it has none, or is no such file.
        OSError: it is not there, or cannot be read.
    """
    with path.open("rb") as file:
        try:
            length = int.from_bytes(file.read(8), "little")
            return str(json.loads(file.read(min(length, _HEADER)))["__metadata__"][SEAL])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise FileError("file", str(path), NOT_SEALED) from error


def sha256_of_parts(about: str, parts: Mapping[str, Any]) -> str:
    """SHA-256, in hex, of ``about`` and of the named ``parts``, whatever their order: buffers of one dimension.
    ``about`` says where in their bytes one ends, as shapes do."""
    digest = hashlib.sha256(about.encode())
    for name in sorted(parts):
        digest.update(name.encode())
        digest.update(parts[name])
    return digest.hexdigest()


def _digest(record: Mapping[str, Any]) -> str:
    """Of what the JSON object says, however it is laid out; the order of keys is part of it: the first of an
    experiment's variants is its headline."""
    return sha256(json.dumps(record).encode())


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


def made_once(path: Path, make: Callable[[Path], None]) -> None:
    """See to it that ``path`` is there and whole: it is made where there is none, and anew where it is damaged. Of a
    program that is mapped into memory, what is cut off kills its caller.

    Of several processes one makes it and the others wait. The folder is made if missing.

    Args:
        make: writes what becomes ``path`` once it returns, in a format whose readers do not mind what follows: its
            digest is put behind it.
    """
    if _is_whole(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock(path.with_suffix(".lock")):
        if _is_whole(path):  # by another process, meanwhile
            return
        with replacing(path) as part:
            make(part)
            digest = sha256(part.read_bytes())
            with part.open("ab") as file:
                file.write(digest.encode())


def _is_whole(path: Path) -> bool:
    """Whether ``path`` is there and ends with the digest of what comes before it."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return False
    return sha256(content[:-_DIGITS]).encode() == content[-_DIGITS:]


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


def _new_private_folder(part: Path) -> int:
    part.mkdir(0o700)
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


def _keep(path: Path, before: Path) -> None:
    """Have ``path``'s content under the name ``before`` too."""
    before.unlink(missing_ok=True)
    try:
        os.link(path, before)
    except OSError:  # a file system without links: a death may then leave `before` alone
        os.replace(path, before)


def _sync(path: Path) -> None:
    """Put a file's content, or a folder's names, on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
