"""How far the queue is: what is done, what is running, what is left and how long it takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from docs.evidence.queue import KEPT, Entry, Standing, standing
from frisket.files import held
from frisket.platform.cli.columns import aligned
from frisket.platform.run.progress import duration


def status(entries: Sequence[Entry], runs: Path, *, kept: Path = KEPT) -> Iterator[str]:
    """Lines of text: every entry, with what is to be remarked below it, then the whole."""
    found = [standing(entry, runs, kept=kept) for entry in entries]
    rows = [
        (f"{number:3}", one.state, _time(one), entry.command)
        for number, (entry, one) in enumerate(zip(entries, found, strict=True), 1)
    ]
    for line, one in zip(aligned(rows, None), found, strict=True):
        yield line
        if remark := _remark(one):
            yield f"       {remark}"
    yield ""
    counts = {state: sum(one.state == state for one in found) for state in dict.fromkeys(one.state for one in found)}
    yield ", ".join(f"{count} {state}" for state, count in counts.items())
    yield f"left: {_left(found)}"
    at_work = held(runs / ".queue.lock")
    yield f"runs in {runs}; {'the queue is at work' if at_work else 'nobody is at work: make evidence'}"


def _time(one: Standing) -> str:
    if one.state == "done":
        return f"took {duration(one.seconds)}"
    return "" if one.left is None else f"{duration(one.left)} left"


def _remark(one: Standing) -> str:
    """How far it is, and why it was skipped."""
    shown = "" if one.shown is None or one.state == "done" else one.shown.text().partition("  finishing")[0]
    return "; ".join(filter(None, (one.reason, shown)))


def _left(found: Sequence[Standing]) -> str:
    known = [one.left for one in found if one.left is not None]
    unknown = len(found) - len(known)
    more = f", and {unknown} of unknown length" if unknown else ""
    return f"{duration(sum(known))} on one core{more}"
