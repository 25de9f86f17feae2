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
    """How much of what is `COUNTED` comes in a second, from when it was made on."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._counts = dict.fromkeys(COUNTED, 0.0)

    def count(self, record: Mapping[str, Any]) -> None:
        """Add what the ``record`` of a position says."""
        for name in COUNTED:
            self._counts[name] += record.get(name, 0)

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
