"""At which of its tasks a replica is, and how fast it works: what the progress line says besides the score."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from frisket.envs.robots.stream import RobotStream
from frisket.envs.stream import Stream
from frisket.envs.task_stream import TaskStream

COUNTED: Mapping[str, str] = MappingProxyType({"acted": "env steps/s", "updates": "updates/s"})
"""What a method that acts reports of a position, to what so many a second are called."""


class Pace:
    """How fast positions come, and how much of what is `COUNTED` in a second, from when it was made on."""

    def __init__(self) -> None:
        self._begun, self._first, self._positions = time.monotonic(), 0.0, 0
        self._counts = dict.fromkeys(COUNTED, 0.0)

    def count(self, record: Mapping[str, Any]) -> None:
        """Add what the ``record`` of a position says."""
        if not self._positions:
            self._first = time.monotonic()
        self._positions += 1
        for name in COUNTED:
            self._counts[name] += record.get(name, 0)

    @property
    def seconds(self) -> float | None:
        """Of a position; None before the second. The first is left out: what is made once (programs, what is judged
        before anything is learned) would be counted as often as there are positions."""
        return (time.monotonic() - self._first) / (self._positions - 1) if self._positions > 1 else None

    def rates(self) -> dict[str, float]:
        """By what they are called; empty for a method that reports none."""
        elapsed = max(time.monotonic() - self._begun, 1e-9)
        return {said: self._counts[name] / elapsed for name, said in COUNTED.items() if self._counts[name]}


def task_at(stream: Stream, position: int) -> str | None:
    """Which task ``stream`` shows at ``position``, as ``task 2/3`` or ``task 2/3 push``; None where it has but one, or
    hides them."""
    if isinstance(stream, RobotStream):
        index = stream.robot(position)
        return f"task {index + 1}/{stream.ways} {stream.config.names[index]}"
    if isinstance(stream, TaskStream) and stream.tasks > 1:
        return f"task {stream.task_index(position) + 1}/{stream.tasks}"
    return None
