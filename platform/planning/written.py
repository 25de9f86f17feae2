"""What a journal will hold once all positions are taken, from one that holds some of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from frisket.platform.run.journal import read_journal

_LAST = 3
"""So many of the last lines of points stand for the others: they have all names."""


class _Line(NamedTuple):
    """Attributes: said: what a line says; size: its bytes, but for the digits of its position."""

    said: dict[str, Any]
    size: int


@dataclass(frozen=True)
class Written:
    """A journal, and of how many positions it will be.

    Attributes:
        journal: what is there; lines of a pre-training are left out.
        steps: positions in all.
        every: positions from points to points.
        tasks: of the stream, 1 for one that has none.
        ends: last positions of the tasks that are there.
        judged: the first position at which something is judged, where that is what first gives most metrics; None where
            they come task by task.
    """

    journal: Path
    steps: int
    every: int
    tasks: int
    ends: Sequence[int]
    judged: int | None

    @property
    def lines(self) -> int:
        """Lines of points."""
        return -(-self.steps // self.every)

    @property
    def last(self) -> Mapping[str, float]:
        """Metrics of the last points."""
        return self._points[-1].said["points"]

    def bytes(self) -> int:
        """Its length."""
        if self._whole:
            return self.journal.stat().st_size
        usual = [line.size for line in self._steps if line.said["t"] not in self.ends]
        special = [self._at_end(line) for line in self._steps if line.said["t"] in self.ends]
        common = fmean(usual or special)
        size = (self.steps - self.tasks) * common + self.tasks * fmean(special) + _digits(range(self.steps))
        plotted = fmean(line.size for line in self._points[-_LAST:])
        return round(size + self.lines * plotted + _digits(range(self.every - 1, self.steps, self.every)))

    def points(self) -> int:
        """Metrics on all lines of points: a name that was seen is there from then on, and all from the first judging
        on; what the last line alone has, is what there is at the end."""
        if self._whole:
            return sum(len(line.said["points"]) for line in self._points)
        ahead, names, total = list(self._points), set[str](), 0
        last = {name for line in self._points for name in line.said["points"]}
        names |= set(ahead[0].said["points"])
        for position in range(self.every - 1, self.steps - 1, self.every):
            while len(ahead) > 1 and ahead[0].said["t"] <= position:
                names |= set(ahead.pop(0).said["points"])
            total += len(last if self.judged is not None and self.judged <= position else names)
        return total + len(last)

    @cached_property
    def _all(self) -> list[_Line]:
        found, before = list[_Line](), 0
        for line, after in read_journal(self.journal):
            found.append(_Line(line, after - before - len(str(line["t"]))))
            before = after
        first = next((i for i, line in enumerate(found) if "step" in line.said), 0)
        return found[first:]

    @property
    def _steps(self) -> list[_Line]:
        return [line for line in self._all if "step" in line.said]

    @property
    def _points(self) -> list[_Line]:
        return [line for line in self._all if "points" in line.said]

    @property
    def _whole(self) -> bool:
        return len(self._steps) == self.steps

    def _at_end(self, line: _Line) -> float:
        """Bytes of a task's last position: a list there has an entry for each of the tasks."""
        step: Mapping[str, Any] = line.said["step"]
        rows = [value for value in step.values() if isinstance(value, list) and len(value) == len(self.ends)]
        return line.size + sum(len(json.dumps(row)) for row in rows) * (self.tasks / len(self.ends) - 1)


def _digits(numbers: range) -> int:
    """Digits of all ``numbers``, the last of which is the largest."""
    total, bound = 0, 1
    while numbers and bound <= numbers[-1]:
        total += len(numbers) - len(range(numbers.start, min(bound, numbers.stop), numbers.step))
        bound *= 10
    return total + (1 if numbers and numbers[0] == 0 else 0)
