"""Looking at a run from outside: what it measured, who works on it, waiting for it to get somewhere."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from frisket.algos.masks.mask_set import MaskSet
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.journal import read_journal
from frisket.platform.run.replicas import ReplicaFolder

_OWN = ("seconds", "of", "files", "journal_crc")
"""What a result says of itself, of its time and of its own files."""


def measured(folder: RunFolder) -> dict[str, Any]:
    """All that must be equal, bit for bit, however a run was executed: results, every step, every point, the masks.

    Numbers as text, because a NaN is not equal to itself; masks as sets, because safetensors gives a file's metadata no
    fixed order.
    """
    return {
        files.key: {
            "result": json.dumps({k: v for k, v in (files.result or {}).items() if k not in _OWN}, sort_keys=True),
            "journal": [
                json.dumps({k: v for k, v in line.items() if k != "time"}, sort_keys=True)
                for line, _ in read_journal(files.journal)
            ],
            "masks": MaskSet.load(files.masks) if files.masks.exists() else None,
        }
        for files in folder.replicas()
    }


def wait_for(happened: Callable[[], bool], seconds: float = 120.0, pause: float = 0.02) -> None:
    """Wait until ``happened``, asked every ``pause`` seconds; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(pause)


def holder(files: ReplicaFolder) -> int | None:
    """The process that holds the replica's lock."""
    return next(iter(holders([files])), None)


def holders(replicas: Iterable[ReplicaFolder]) -> set[int]:
    """The processes that hold the locks of ``replicas``."""
    locks, found = {str(files.path / ".lock") for files in replicas}, set[int]()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # gone, or not ours
            if any(os.readlink(handle) in locks for handle in (process / "fd").iterdir()):
                found.add(int(process.name))
    return found


def descendants(pid: int) -> set[int]:
    """All living processes that ``pid`` has started, directly or not."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(text.rpartition(")")[2].split()[1])
    found, added = {pid}, True
    while added:
        more = {child for child, parent in parents.items() if parent in found} - found
        added = bool(more)
        found |= more
    return found - {pid}


MARK = "FRISKET_TEST_MARK"
"""A variable by which a test knows whatever its processes have started, also when their parents are gone."""


def marked(mark: str) -> set[int]:
    """All living processes whose `MARK` is ``mark``, or begins so and goes on with a dash."""
    found, wanted = set[int](), re.compile(rf"(?:^|\0){MARK}={re.escape(mark)}[-\0]")
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # gone, or not ours
            if wanted.search((process / "environ").read_text(errors="replace")) and alive(int(process.name)):
                found.add(int(process.name))
    return found


def command(pid: int) -> str:
    """The command line of ``pid``, its parts separated by NUL; or what it calls itself; nothing if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().strip("\0 ")
    except OSError:
        return ""


def alive(pid: int) -> bool:
    """Whether ``pid`` still runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
