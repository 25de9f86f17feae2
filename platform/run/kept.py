"""Folders that are kept: how one is found, named and held. Imports nothing heavy, so that looking is quick."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from frisket.errors import RunError, nearest

_TRIES, _PAUSE = 5, 0.02  # how often, in seconds, a lock is tried that may only be looked at (`held`)


class Kept:
    """A folder among others of its kind, with a manifest that is its first file.

    Attributes:
        MANIFEST: the manifest's file name.
        path: the folder.
    """

    MANIFEST: ClassVar[str]

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What the file `MANIFEST` says."""
        return json.loads((self.path / self.MANIFEST).read_text(encoding="utf-8"))

    @property
    def run_id(self) -> str:
        """Its name, unique."""
        return self.manifest["run_id"]

    @property
    def created(self) -> str:
        """When it was begun, in a form that sorts."""
        return self.manifest["created"]


K = TypeVar("K", bound=Kept)


def folders(parent: Path, manifest: str) -> list[Path]:
    """The folders under ``parent`` whose ``manifest`` can be read, by name; `frisket.runs` tells of damaged ones."""
    found = []
    for file in sorted(parent.glob(f"*/{manifest}")):
        said = read_json(file)
        if isinstance(said, dict) and {"run_id", "created"} <= said.keys():
            found.append(file.parent)
    return found


def choose(wanted: str, kept: Sequence[K], none: str) -> K:
    """The one of ``kept`` whose id is ``wanted`` or alone begins with it; ``last``: the newest.

    Raises:
        RunError: there is none (``none`` says so), or not one.
    """
    if not kept:
        raise RunError("run", wanted, none)
    if wanted == "last":
        return max(kept, key=lambda f: (f.created, f.path.stat().st_mtime))
    found = [f for f in kept if f.run_id == wanted] or [f for f in kept if f.run_id.startswith(wanted)]
    if len(found) != 1:
        raise RunError("run", wanted, nearest(wanted, [f.run_id for f in found or kept]))
    return found[0]


@contextlib.contextmanager
def hold(file: Path, busy: RunError) -> Iterator[None]:
    """Hold the lock ``file`` for this process, or raise ``busy``; the kernel lets go when the process dies."""
    with file.open("w") as handle:
        for last in (*[False] * (_TRIES - 1), True):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if last:
                    raise busy from None
                time.sleep(_PAUSE)
        yield


def held(file: Path) -> bool:
    """Whether a live process holds the lock ``file``. Looking never takes it from anybody for longer than `hold`
    waits."""
    try:
        with file.open("r") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no such file, or a file system without locks
        return False
    return False


def default_runs_folder() -> Path:
    """Where runs are kept: ``FRISKET_RUNS``, or ``frisket_runs`` in the working folder."""
    return Path(os.environ.get("FRISKET_RUNS", "frisket_runs"))


def name_of(kept: Kept) -> str:
    """What ``--resume`` will find it by: its id, or its path if it is not where runs are kept."""
    return kept.run_id if kept.path.parent == default_runs_folder().absolute() else str(kept.path)


def read_json(path: Path) -> Any:
    """The JSON in ``path``, or None where there is no such file or it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def content_hashes(provenance: dict[str, Any] | None) -> dict[str, str]:
    """Hashes of a data set's content, from its provenance; a container may be packed anew without a change of
    content."""
    hashes = (provenance or {}).get("sha256", {})
    return {k: v for k, v in hashes.items() if k.endswith(" content")} or hashes
