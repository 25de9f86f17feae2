"""Looking at a run from outside: what it measured, who works on it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from processes import locked, wait_for

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


def holder(files: ReplicaFolder) -> int | None:
    """The process that holds the replica's lock."""
    return next(iter(holders([files])), None)


def holders(replicas: Iterable[ReplicaFolder]) -> set[int]:
    """The processes that hold the locks of ``replicas``."""
    locks, found = {str(files.path / ".lock") for files in replicas}, set[int]()
    for process in Path("/proc").glob("[0-9]*"):
        if locked(int(process.name), locks):
            found.add(int(process.name))
    return found


def stand_still(
    folder: RunFolder, workers: int = 1, seconds: float = 120, meanwhile: Callable[[], None] = lambda: None
) -> set[int]:
    """Wait until so many workers have committed something of an unfinished replica and said how far it is; who they
    are. They stand still from then on (`go_on`), so that nothing is over before the blow falls, however slow or fast
    the machine is."""
    halted: set[int] = set()

    def at_work() -> bool:
        meanwhile()
        for pid in holders(f for f in folder.replicas() if f.result is None and f.committed and f.progress()):
            os.kill(pid, signal.SIGSTOP)
            halted.add(pid)
        return len(halted) >= workers

    try:
        wait_for(at_work, seconds)
        assert not folder.done, "seen too late to prove anything"
    except BaseException:
        go_on(halted)
        raise
    return halted


def go_on(workers: Iterable[int]) -> None:
    for pid in workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
