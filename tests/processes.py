"""Processes as a test sees them from outside: whose they are, whether they live, waiting for what they do."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Set
from pathlib import Path


def wait_for(happened: Callable[[], bool], seconds: float = 120.0, pause: float = 0.02) -> None:
    """Wait until ``happened``, asked every ``pause`` seconds; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(pause)


def descendants(pid: int) -> set[int]:
    """All processes that ``pid`` has started, directly or not, zombies among them."""
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


def children() -> set[int]:
    """Living processes that this one has started, directly or not."""
    return set(filter(alive, descendants(os.getpid())))


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


def handles(pid: int) -> dict[str, str]:
    """What the files, pipes and sockets are called that ``pid`` has open, by number; none where it is gone, or not
    ours."""
    found = dict[str, str]()
    with contextlib.suppress(OSError):
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                found[handle.name] = os.readlink(handle)
    return found


def locked(pid: int, names: Set[str]) -> bool:
    """Whether ``pid`` has the lock of one of the files ``names``; who looks whether it is free has it open, too."""
    for number, name in handles(pid).items():
        with contextlib.suppress(OSError):
            if name in names and " WRITE " in Path(f"/proc/{pid}/fdinfo/{number}").read_text():
                return True
    return False


def alive(pid: int) -> bool:
    """Whether ``pid`` still runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
