"""The folder of a private Ray: its user's alone, gone with its session, or with the next one where it was killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from frisket.errors import ClusterError
from frisket.files import lock

RAYS = "r"
"""What Ray is given of it: Ray opens that to everybody on the machine."""

_PREFIX = "frisket-ray-"
_LOCKED_SECONDS = 3600.0  # more than any living session takes from its folder to its lock
_SOCKET_BYTES = 107  # of the path of a socket, at most
_LONGEST = f"{RAYS}/session_YYYY-MM-DD_hh-mm-ss_uuuuuu_ppppppp/sockets/plasma_store"


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """A folder that goes with the session, for this user alone; those of this user's sessions that were killed go now.

    Raises:
        ClusterError: it could only lie where the paths of Ray's sockets would be too long.
    """
    parent = Path("/tmp" if os.access("/tmp", os.W_OK) else tempfile.gettempdir())
    if len(os.fsencode(parent / f"{_PREFIX}12345678" / _LONGEST)) > _SOCKET_BYTES:
        raise ClusterError("TMPDIR", str(parent), "is too long a path for Ray's sockets; set it to a shorter one")
    for left in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # while its session lives
            if _mine(left) and ((left / "lock").exists() or _never_locked(left)):
                with lock(left / "lock", busy=BlockingIOError()):
                    _clear(left)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    try:
        with lock(folder / "lock.new"):
            (folder / "lock.new").rename(folder / "lock")  # locked from the moment it can be found
            yield folder
    finally:
        _clear(folder)


def _clear(folder: Path) -> None:
    """Remove a session's ``folder``, its lock last: what a process of Ray's that is slow to die has written meanwhile
    keeps it, and the next session finds it by its lock."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != "lock":
            path.unlink(missing_ok=True)
    if all(path.name == "lock" for path in folder.iterdir()):
        shutil.rmtree(folder, ignore_errors=True)


def _never_locked(folder: Path) -> bool:
    """Whether its session died before it had a lock, which a living one has at once."""
    return time.time() - folder.stat().st_mtime > _LOCKED_SECONDS


def _mine(folder: Path) -> bool:
    """Whether it is a folder of this user's: anybody may put what he likes into /tmp, under any name."""
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
