"""The folder of a private Ray: its user's alone, gone with its session, or with the next one where it was killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
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
_ENDING_SECONDS = 2.0  # for what was killed to be gone
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
            if _mine(left) and (any((left / name).exists() for name in ("lock", RAYS)) or _never_locked(left)):
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
    keeps it, and the next session finds it by its lock, or by what Ray has made anew."""
    _end_left(folder)
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != "lock":
            path.unlink(missing_ok=True)
    if all(path.name == "lock" for path in folder.iterdir()):
        shutil.rmtree(folder, ignore_errors=True)


def _end_left(folder: Path) -> None:
    """End what Ray has started in ``folder`` and left: a worker or an agent whose raylet died while it was starting
    makes its session's folders, whether they are there or not."""
    until = time.monotonic() + _ENDING_SECONDS
    while (left := list(_at_work(folder))) and time.monotonic() < until:
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _at_work(folder: Path) -> Iterator[int]:
    """Processes of this user's that an option tells to work in ``folder``, as far as this system says (Linux does)."""
    within = os.fsencode(folder) + b"/"
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # gone, or not ours
            options = (process / "cmdline").read_bytes().split(b"\0")[1:]
            told = any(one.startswith(b"--") and one.partition(b"=")[2].startswith(within) for one in options)
            if told and process.stat().st_uid == os.getuid():
                yield int(process.name)


def _never_locked(folder: Path) -> bool:
    """Whether its session died before it had a lock, which a living one has at once."""
    return time.time() - folder.stat().st_mtime > _LOCKED_SECONDS


def _mine(folder: Path) -> bool:
    """Whether it is a folder of this user's: anybody may put what he likes into /tmp, under any name."""
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
