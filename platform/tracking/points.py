"""From journal lines to batches of MLflow metrics."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mlflow.entities import Metric

from frisket.platform.run.journal import read_journal

BATCH = 1000  # MLflow's limit on metrics per log_batch


class Chunk(NamedTuple):
    """Attributes: metrics: at most `BATCH`; cursor: journal bytes that are sent once these are."""

    metrics: list[Metric]
    cursor: int


def chunks(journal: Path, start: int, stop: int, size: int = BATCH) -> Iterator[Chunk]:
    """The points between bytes ``start`` and ``stop`` of a journal.

    A metric is made of its line alone (name, value, the line's own time, its position), so sending it again gives the
    very row the store has, and the store keeps one.
    """
    pending: list[Metric] = []
    done = start
    for line, offset in read_journal(journal, start, stop):
        pending += metrics(line.get("points", {}), line.get("time", 0), line["t"])
        while len(pending) > size:
            # The line's last points are still to come: a cursor after it would lose them.
            yield Chunk(pending[:size], done)
            pending = pending[size:]
        done = offset
    if pending or done > start:
        yield Chunk(pending, done)


def metrics(values: dict[str, float], time: int, step: int) -> list[Metric]:
    """``values`` as metrics; NaN is kept, an infinite value becomes the flag ``NAME/infinite`` = its sign."""
    return [
        Metric(f"{k}/infinite", math.copysign(1, v), time, step) if math.isinf(v) else Metric(k, v, time, step)
        for k, v in values.items()
    ]


def metric_name(text: str) -> str:
    """``text`` with what a metric's name may not hold replaced."""
    return re.sub(r"[^\w\-. /]", "-", text)


def last_points(journal: Path) -> tuple[int, int]:
    """``(time, t)`` of the journal's last points; (0, 0) where there are none."""
    last = (0, 0)
    for line, _ in read_journal(journal):
        if "points" in line:
            last = (line["time"], line["t"])
    return last
