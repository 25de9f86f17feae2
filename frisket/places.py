"""What the operating system says against a file or a folder, in a line that names it and what to do."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from frisket.errors import FileError, RunError

_FULL = "no space is left there; make room. What was on disk before is whole"
_FORBIDDEN = "may not be written or read; choose another place, or change who may"
_FIXES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.EROFS: _FORBIDDEN,
    errno.ENOENT: "is not there and cannot be made, or is not there any more",
    errno.ENOTDIR: "lies in something that is no folder",
    errno.EISDIR: "is a folder; name a file",
    errno.ENAMETOOLONG: "is too long a name; take a shorter one",
}


def in_a_line(error: OSError, place: Path | None = None) -> FileError:
    """What ``error`` says of a file; ``place`` is what to name where the system names none."""
    named = error.filename if isinstance(error.filename, (str, os.PathLike)) else place
    fix = _FIXES.get(error.errno or 0, f"the system says: {error.strerror or type(error).__name__}")
    return FileError("file", "standard output, or an open file" if named is None else str(named), fix)


@contextlib.contextmanager
def told(place: Path | None = None) -> Iterator[None]:
    """Say of a file that cannot be written or read inside the block which it is, and what to do.

    Raises:
        FileError: in place of an `OSError` about a file; one about a connection passes.
    """
    try:
        yield
    except (ConnectionError, TimeoutError):
        raise
    except OSError as error:
        if error.errno is None:
            raise
        raise in_a_line(error, place) from error


def require_place(field: str, value: Any) -> Path | None:
    """``value`` as a path, None as None.

    Raises:
        RunError: it is no path, or one that can be nobody's.
    """
    if value is None:
        return None
    if not isinstance(value, (str, os.PathLike)) or not isinstance(os.fspath(value), str):
        raise RunError(field, value, "must be a path, as text or pathlib.Path")
    if not str(value) or "\0" in str(value):
        raise RunError(field, str(value), "must be a path: not empty, and without NUL")
    return Path(value)
