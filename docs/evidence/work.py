"""Works through the queue: one entry at a time, on one core, at the lowest priority.

Every entry has a process of its own, because then whatever ends it (a mistake in a method, or the kernel, for memory)
ends an entry and not the queue. It stops with a checkpoint as soon as the pipe to it closes, so it does not outlive the
queue, in whichever way that ends.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from docs.evidence.entry import FAILED, STOPPED
from docs.evidence.pages import write_pages
from docs.evidence.queue import KEPT, ROOT, Entry, note, read_queue, run_name, standing
from frisket.errors import FrisketError, RunError, SpecError
from frisket.files import lock
from frisket.platform.cli.stopping import Stop, stopping
from frisket.platform.verbs.runs import runs as listed

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TORCHINDUCTOR_COMPILE_THREADS")
_POLL_SECONDS = 0.5


def work(queue: Path, runs: Path, *, kept: Path = KEPT) -> int:
    """Run what is not done of the queue, in its order, and write the pages anew after every entry.

    The file is read again before every entry, so that it may be changed meanwhile.

    Args:
        queue: the file.
        runs: where runs are kept; the pages are in its folder ``pages``, what processes print in ``logs``.
        kept: finished runs that are committed.

    Returns:
        Exit code: 0 where all is done; 1 where an entry was skipped, or after SIGTERM; 130 after Ctrl-C.

    Raises:
        UserError: the file is wrong, or another process is at work.
    """
    entries, tried = read_queue(queue), set[str]()
    runs.mkdir(parents=True, exist_ok=True)
    busy = RunError("queue", str(runs), "is being worked on by another process; make evidence-status says how far")
    with lock(runs / ".queue.lock", busy=busy), stopping() as stop:
        _let_end(runs, stop)
        while not stop() and (entry := _next(entries, tried, runs, kept)) is not None:
            tried.add(entry.command)
            print(entry.command, flush=True)
            reason = _run(entry, runs, stop)
            if stop() and reason is not None:
                break
            note(runs, entry, reason)
            print("    done" if reason is None else f"    skipped: {reason}", flush=True)
            entries = _read_again(queue, entries)
            write_pages(entries, runs, runs / "pages", kept=kept)
        if stop():
            print("stopped; go on with: make evidence", flush=True)
            return 128 + signal.SIGINT if stop.signal == signal.SIGINT else 1
    done = sum(standing(entry, runs, kept=kept).state == "done" for entry in entries)
    print(f"{done} of {len(entries)} entries done", flush=True)
    return 0 if done == len(entries) else 1


def _next(entries: Sequence[Entry], tried: set[str], runs: Path, kept: Path) -> Entry | None:
    """The first that is neither done nor has been tried."""
    left = (entry for entry in entries if entry.command not in tried)
    return next((entry for entry in left if standing(entry, runs, kept=kept).state != "done"), None)


def _read_again(queue: Path, before: list[Entry]) -> list[Entry]:
    try:
        return read_queue(queue)
    except SpecError as error:
        print(f"{error}; going on with the queue as it was", file=sys.stderr, flush=True)
        return before


def _let_end(runs: Path, stop: Stop) -> None:
    """Wait for the runs that are being worked on: a killed queue's last one takes a step, or a task's judging, to see
    that it is to stop."""
    told = False
    while not stop() and (working := listed(state="running", runs_dir=runs)):
        if not told:
            print(f"waiting for {working[0]['run']}, which another process works on", flush=True)
        told = True
        time.sleep(_POLL_SECONDS)


def _run(entry: Entry, runs: Path, stop: Stop) -> str | None:
    """Run ``entry`` in a process of its own; why it has failed or stopped, None where it is done."""
    try:
        name = run_name(entry)
    except FrisketError as error:
        return str(error)
    log = runs / "logs" / f"{name}.log"
    log.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "docs.evidence.entry", json.dumps(dataclasses.asdict(entry)), str(runs)]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = os.environ | dict.fromkeys(_THREADS, "1") | {"PYTHONPATH": path}
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=out, stderr=out, start_new_session=True
        )
    assert process.stdin is not None
    try:
        while True:
            try:
                code = process.wait(_POLL_SECONDS)
                break
            except subprocess.TimeoutExpired:
                if stop():
                    process.stdin.close()
    finally:  # a second Ctrl-C comes this way
        process.kill()
        process.stdin.close()
    return None if code == 0 else _reason(code, log)


def _reason(code: int, log: Path) -> str:
    """Why an entry's process has ended with ``code``."""
    if code == STOPPED:
        return "stopped"
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    said = [line.removeprefix(FAILED) for line in lines if line.startswith(FAILED)] or lines
    return said[-1] if said else f"its process ended with exit code {code}"
