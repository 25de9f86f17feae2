"""The journal: what a replica measured, one JSON object a line, appended and never rewritten.

Three kinds of lines::

    {"t": 12, "step": {"accuracy": 0.5, "domain": "mnist", "switch": true, ...}, "crc": "0f3a..."}     every position
    {"t": 31, "warning": "alpha-5-seed0: the loss at step 31 is ...", "crc": ...}           what the user is told
    {"t": 49, "time": 1763000000000, "points": {"accuracy": 0.41, ...}, "crc": ...}         every `log_every` positions

``crc`` is the CRC-32 of all lines up to this one, each without its own, and is checked whenever the line is read: one
that was changed is seen, and so is one that goes, comes again or stands elsewhere.

A checkpoint names the length of the journal it belongs to; what a killed run wrote after it is cut off on resume and
written again. So the bytes up to the last checkpoint are final, and only those are sent to MLflow. Where a run has to
go on from an earlier checkpoint, its lines after that one are made again and stay as they are: also their time, by
which MLflow knows a point that it has.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from frisket.errors import FileError
from frisket.files import naming

_CRC = b',"crc":"%08x"}\n'
_CRC_BYTES = len(_CRC % 0)
_TAIL = 2**16  # bytes; most records of a position are shorter


class Journal:
    """Append-only writer.

    Args:
        path: the file, made if missing.
        keep: bytes that belong to the checkpoint.
        final: bytes that belonged to a later one; what is in them is made again, and kept for as long as it comes out
            the same. The rest is cut off.

    Raises:
        FileError: not all of the first ``keep`` bytes are there and whole.
    """

    def __init__(self, path: Path, keep: int, final: int = 0) -> None:
        require_whole(path, keep)
        self._again = deque(_whole_lines(path, keep, final))
        self._path = path
        self._crc = crc_at(path, keep)
        self._length, self._final = keep, keep + sum(map(len, self._again))
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        self._file.truncate(self._final)
        self._file.seek(self._final)

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
        """Make all that was written durable; returns the journal's length in bytes, as of this position."""
        with naming(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
        return self._length

    @property
    def final(self) -> int:
        """Bytes that are final once `commit` has returned: its length, or more where lines are made again."""
        return max(self._length, self._final)

    def _write(self, line: dict[str, Any]) -> None:
        raw = _sealed(line, self._crc)
        if self._again:
            known = self._again.popleft()
            if _timeless(json.loads(known)) == _timeless(json.loads(raw)):
                self._length += len(known)
                self._crc = _crc_of(known)
                return
            self._again.clear()
            self._final = self._length
            self._file.seek(self._length)
            self._file.truncate()
        with naming(self._path):
            self._file.write(raw)
        self._length += len(raw)
        self._crc = _crc_of(raw)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with naming(self._path):
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
            start = max(size - length, 0)
            file.seek(start)
            whole = [raw for raw in file.readlines() if raw.endswith(b"\n")]
            if start:  # the first one may be cut, and serves to say the CRC before the next
                whole = whole[len(whole[0]) < _CRC_BYTES :] if whole else []
            for i in range(len(whole) - 1, 0 if start else -1, -1):
                if "step" in (line := _opened(whole[i], path, _crc_of(whole[i - 1]) if i else 0)):
                    return line["step"]
            if not start:
                return {}
            length *= 4


def read_journal(path: Path, start: int = 0, stop: int | None = None) -> Iterator[tuple[dict[str, Any], int]]:
    """``(line, offset after it)`` for the whole lines in bytes ``start`` to ``stop`` (None: all); a torn last line is
    left out.

    Raises:
        FileError: a line is not as it was written.
    """
    offset, before = start, crc_at(path, start)
    for raw in _raw(path, start, stop):
        offset += len(raw)
        yield _opened(raw, path, before), offset
        before = _crc_of(raw)


def require_whole(path: Path, length: int) -> None:
    """Raise `FileError` unless the first ``length`` bytes of the journal ``path`` are there, in lines as they were
    written."""
    found = path.stat().st_size if path.exists() else 0
    if found < length:
        raise FileError("journal", str(path), f"is cut short: {found} bytes of at least {length}")
    read = max((after for _, after in read_journal(path, stop=length)), default=0) if length else 0
    if read != length:
        raise FileError("journal", str(path), f"is damaged: no line ends at byte {length}")


def _raw(path: Path, start: int, stop: int | None) -> Iterator[bytes]:
    """The lines, as they lie in the file."""
    with path.open("rb") as file:
        file.seek(start)
        offset = start
        for raw in file:
            offset += len(raw)
            if not raw.endswith(b"\n") or (stop is not None and offset > stop):
                return
            yield raw


def _whole_lines(path: Path, start: int, stop: int) -> Iterator[bytes]:
    """The lines in those bytes, up to the first that is damaged."""
    before = crc_at(path, start)
    for raw in _raw(path, start, stop) if stop > start and path.exists() else ():
        try:
            _opened(raw, path, before)
        except FileError:
            return
        yield raw
        before = _crc_of(raw)


def _sealed(line: dict[str, Any], before: int) -> bytes:
    text = json.dumps(line, separators=(",", ":")).encode()
    return text[:-1] + _CRC % zlib.crc32(text, before)


def _opened(raw: bytes, path: Path, before: int) -> dict[str, Any]:
    """The line of the journal ``path`` that was written as ``raw`` after one whose CRC is ``before``."""
    body = raw[:-_CRC_BYTES]
    text = body + b"}"
    if raw != body + _CRC % zlib.crc32(text, before):
        raise FileError("journal", str(path), f"is damaged: a line is not as it was written ({raw[:40]!r})")
    return json.loads(text)


def _crc_of(raw: bytes) -> int:
    """The CRC that the end of a line says; -1, which is none, where it says none."""
    said = re.fullmatch(rb',"crc":"([0-9a-f]{8})"}\n', raw[-_CRC_BYTES:])
    return -1 if said is None else int(said[1], 16)


def crc_at(path: Path, start: int) -> int:
    """The CRC of the line that ends at byte ``start`` of the journal ``path``; 0 at its beginning."""
    if not start:
        return 0
    with path.open("rb") as file:
        file.seek(max(0, start - _CRC_BYTES))
        return _crc_of(file.read(_CRC_BYTES))


def _timeless(line: dict[str, Any]) -> str:
    """What a line says, but for when."""
    return json.dumps({k: v for k, v in line.items() if k not in ("time", "crc")})
