"""The journal: what a replica measured, one JSON object a line, appended and never rewritten.

Three kinds of lines::

    {"t": 12, "step": {"accuracy": 0.5, "domain": "mnist", "switch": true, ...}}     every position
    {"t": 31, "warning": "alpha-5-seed0: the loss at step 31 is no finite number. ..."}      what the user is told
    {"t": 49, "time": 1763000000000, "points": {"accuracy": 0.41, ...}}              every `log_every` positions

A checkpoint names the length of the journal it belongs to; what a killed run wrote after it is cut off on resume and
written again. So the bytes up to the last checkpoint are final, and only those are sent to MLflow.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

_TAIL = 2**16  # bytes; most records of a position are shorter


class Journal:
    """Append-only writer.

    Args:
        path: the file, made if missing.
        keep: bytes to keep of what is there; the rest is cut off.
    """

    def __init__(self, path: Path, keep: int) -> None:
        self._file = path.open("ab")
        self._file.truncate(keep)
        self._file.seek(keep)

    def step(self, position: int, record: dict[str, Any]) -> None:
        """Keep what happened at ``position``; a NaN says "nothing to measure here" and is left out."""
        measured = {k: v for k, v in record.items() if not (isinstance(v, float) and math.isnan(v))}
        self._write({"t": position, "step": measured})

    def points(self, position: int, points: dict[str, float]) -> None:
        """Keep metrics to plot at ``position``, stamped with the wall clock in milliseconds."""
        self._write({"t": position, "time": time.time_ns() // 1_000_000, "points": points})

    def warning(self, position: int, text: str) -> None:
        """Keep what the user is told at ``position``."""
        self._write({"t": position, "warning": text})

    def commit(self) -> int:
        """Make all that was written durable; returns the journal's length in bytes."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def read_steps(path: Path) -> Iterator[dict[str, Any]]:
    """What was recorded at every position of the journal ``path``, in their order."""
    return (line["step"] for line, _ in read_journal(path) if "step" in line)


def last_step(path: Path) -> dict[str, Any]:
    """What was recorded at the last position of the finished journal ``path``; empty where nothing was. Only the
    journal's end is read."""
    with path.open("rb") as file:
        size, length = file.seek(0, os.SEEK_END), _TAIL
        while True:
            file.seek(max(size - length, 0))
            whole = file.read().split(b"\n")[0 if length >= size else 1 : -1]  # the first line may be cut
            for raw in reversed(whole):
                if "step" in (line := json.loads(raw)):
                    return line["step"]
            if length >= size:
                return {}
            length *= 4


def read_journal(path: Path, start: int = 0, stop: int | None = None) -> Iterator[tuple[dict[str, Any], int]]:
    """``(line, offset after it)`` for the whole lines in bytes ``start`` to ``stop`` (None: all); a torn last line is
    left out."""
    with path.open("rb") as file:
        file.seek(start)
        offset = start
        for raw in file:
            offset += len(raw)
            if not raw.endswith(b"\n") or (stop is not None and offset > stop):
                return
            yield json.loads(raw), offset
