"""An entry's own process, which the queue starts: `python -m docs.evidence.entry ENTRY RUNS`, ENTRY as JSON.

Exit codes: 0 done; `STOPPED`; 1 after a line on standard error that says why it has failed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from docs.evidence.queue import COMMITS, Entry, run_name
from frisket.errors import Stopped, UserError
from frisket.files import find_json, write_json, write_sealed
from frisket.platform.run.folder import ReplicaFolder, RunFolder, git_revision
from frisket.platform.specs.typed import typed
from frisket.platform.verbs import run as launch
from frisket.platform.verbs.evaluate import evaluate

STOPPED = 75
"""Exit code of an entry that has stopped with a checkpoint: EX_TEMPFAIL of sysexits.h."""
FAILED = "evidence: "
"""How the line begins that says why an entry has failed."""


def run_entry(entry: Entry, runs: Path) -> int:
    """Run ``entry``, or go on with it, until it is done or standard input closes; gives the exit code."""
    _with_session()
    closed = threading.Event()
    threading.Thread(target=_until_closed, args=(closed,), daemon=True).start()
    try:
        folder = launch.prepare(
            entry.spec, entry.settings, seeds=entry.seeds, data=entry.data, runs_dir=runs, register=False,
            run_id=run_name(entry),
        )  # fmt: skip
        _note_commits(folder, [git_revision() or "unknown"])
        take_over(folder, runs)
        launch.execute(folder, local=True, stop=closed.is_set)
        if entry.evaluate:
            _judge(entry, folder)
    except Stopped:
        return STOPPED
    except Exception as error:
        said = str(error)
        if not isinstance(error, UserError):
            traceback.print_exc()
            said = f"{type(error).__name__}: {error}"
        print(f"{FAILED}{' '.join(said.split())}", file=sys.stderr, flush=True)
        return 1
    return 0


def step_back() -> None:
    """Give this process, and those it starts, the lowest priority there is."""
    os.nice(19)
    with contextlib.suppress(AttributeError, OSError):  # Linux alone
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _with_session() -> None:
    """Give the session, which is this process's own, its priority: Linux shares time out among sessions before it looks
    at what is in them."""
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(os.nice(0)), encoding="ascii")


def take_over(folder: RunFolder, runs: Path) -> None:
    """Copy into ``folder`` the replicas of its own that another run of the same work has finished.

    A seed's numbers do not depend on how many seeds there are, as long as replicas are not run in packs.
    """
    if folder.experiment.pack != 1 or folder.done:
        return
    wanted = launch.work_of_a_seed(folder.experiment, exact=True)
    for other in launch.runs_of(folder.experiment, runs):
        if other.run_id == folder.run_id or launch.work_of_a_seed(other.experiment, exact=True) != wanted:
            continue
        if not launch.same_data(other.manifest["data"], folder.manifest["data"]):
            continue
        for files in folder.replicas():
            theirs = other.replica(files.key)
            result = theirs.result
            if files.result is None and result is not None and theirs.journal.is_file():
                _copy(theirs, result, files)
                _note_commits(folder, find_json(other.path / COMMITS) or [other.manifest["git"]])


def _copy(theirs: ReplicaFolder, result: Mapping[str, Any], files: ReplicaFolder) -> None:
    """All files of a finished replica, its ``result`` last: until that is there, it has not been taken over."""
    with files.lock():
        for path in theirs.path.iterdir():
            if path.is_file() and path.name not in (".lock", "result.json"):
                shutil.copy(path, files.path / path.name)
        files.finish(result, result["journal_bytes"])


def _judge(entry: Entry, folder: RunFolder) -> None:
    """Let the finished models of ``folder`` answer where the entry says."""
    found = evaluate(folder.path, overrides=entry.evaluate, episodes=entry.episodes, data=entry.data, log=False)
    place = folder.path / entry.judged
    place.parent.mkdir(exist_ok=True)
    write_sealed(place, {name: found[name] for name in ("results", "summary", "data")})


def _note_commits(folder: RunFolder, commits: Sequence[str]) -> None:
    known = find_json(folder.path / COMMITS) or []
    if more := [commit for commit in commits if commit not in known]:
        write_json(folder.path / COMMITS, [*known, *more])


def _until_closed(closed: threading.Event) -> None:
    while os.read(0, 1):  # not sys.stdin: a thread that waits in it hinders the end of the process
        pass
    closed.set()


if __name__ == "__main__":
    sys.exit(run_entry(typed(Entry, json.loads(sys.argv[1]), "entry"), Path(sys.argv[2])))
