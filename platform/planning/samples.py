"""From positions that were walked along to all positions: what the others take, and what is kept by then.

Positions of a task differ from each other in three ways, and no other is looked for:

* the first ones of a task may be dearer or cheaper than those after them (a program is compiled, a memory is empty), so
  they are counted as they were measured, once for every task;
* what is kept may grow, from position to position or from task to task, and the time with it (all data seen so far, a
  ring of samples for each task): where the time is seen to follow what is kept, it goes on along that line;
* the last one of a task may have work of its own, some of it so often as a field says (`repeated_field`): along a
  line in that number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

_FIRST = 4
"""The first of so many parts of a task's walk is told apart from the rest."""
_FOLLOWS = 0.7
"""Correlation from which on the time is taken to follow what is kept ..."""
_SURE, _FEWEST = 8.0, 8
"""... if the slope is so many of its standard errors, over so many positions at least, or else its error, drawn out as
far as the line, is below what a position takes (of 10,000 positions a plan may have seen 7, and noise is drawn out with
the line) ..."""
_MATTERS = 0.15
"""... if that makes this share of it, over the positions that were seen."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A position that was walked along.

    Attributes:
        task, index: which task, and which of its positions.
        seconds: what it took, without judging, plotting and saving.
        kept: bytes of the state before it.
        last: whether it is its task's last.
        repeats: value of the learner's repeated field, 0 without one.
    """

    task: int
    index: int
    seconds: float
    kept: int
    last: bool
    repeats: int


class Line(NamedTuple):
    """Attributes: at: value at 0; slope."""

    at: float
    slope: float

    def __call__(self, x: float) -> float:
        return self.at + self.slope * x

    @classmethod
    def through(cls, points: Sequence[tuple[float, float]]) -> Line:
        """The straight line of least squares; flat where all of ``points`` lie above each other."""
        xs, ys = zip(*points, strict=True)
        x, y = fmean(xs), fmean(ys)
        spread = sum((one - x) ** 2 for one in xs)
        slope = sum((a - x) * (b - y) for a, b in points) / spread if spread else 0.0
        return cls(y - slope * x, slope)


@dataclass(frozen=True, kw_only=True)
class Walked:
    """What was seen, and of how many positions it is.

    Attributes:
        samples: in the order in which they were taken.
        lengths: positions of every task of the stream.
        repeats: full value of the learner's repeated field, 0 without one.
        after: bytes of the state after the last sample.
    """

    samples: Sequence[Sample]
    lengths: Sequence[int]
    repeats: int
    after: int

    def seconds(self) -> float:
        """Of all positions; the sum where all were walked along."""
        if len(self.samples) == sum(self.lengths) and all(one.repeats == self.repeats for one in self.samples):
            return sum(one.seconds for one in self.samples)
        ordinary = [one for one in self.samples if not one.last]
        ends = [one for one in self.samples if one.last]
        if not ordinary:
            return self._ends(ends) * len(self.lengths)
        heads = {task: self._head(task) for task in {one.task for one in ordinary}}
        rest = [one for task, (_, tail) in heads.items() for one in tail]
        pace = self._pace(rest)
        extra = {task: sum(one.seconds - pace(one.kept) for one in head) for task, (head, _) in heads.items()}
        later = fmean([v for task, v in extra.items() if task] or [0.0])
        total = 0.0
        for task, length in enumerate(self.lengths):
            middle = self.kept(task, max(length - 1, 0) // 2)
            total += extra.get(task, later) + (length - 1) * pace(middle)
        return total + self._ends(ends, fmean(one.seconds for one in rest)) * len(self.lengths)

    def kept(self, task: int, index: int) -> float:
        """Bytes of the state before a position."""
        start, a_position, a_task, emptied = self._growth()
        before = index if emptied else sum(self.lengths[:task]) + index
        return start + a_task * task + a_position * before

    def grown(self) -> int:
        """Bytes by which the state becomes larger than it was at any time of the walk."""
        most = max(self.kept(task, length) for task, length in enumerate(self.lengths))
        return max(0, round(most - max(self.after, *(one.kept for one in self.samples))))

    def left(self) -> int:
        """Bytes by which the state is larger at the end of the stream than at that of the walk."""
        _, a_position, a_task, emptied = self._growth()
        tasks = len(self.lengths) - 1 - self.samples[-1].task
        positions = 0 if emptied else sum(self.lengths) - len(self.samples)
        return max(0, round(a_task * tasks + a_position * positions))

    def _head(self, task: int) -> tuple[list[Sample], list[Sample]]:
        """The first positions of ``task``, and the rest of those that were walked along."""
        own = [one for one in self.samples if one.task == task and not one.last]
        first = max(1, len(own) // _FIRST) if len(own) > 1 else 0
        return own[:first], own[first:]

    def _pace(self, rest: Sequence[Sample]) -> Line:
        """Seconds by what is kept."""
        mean = fmean(one.seconds for one in rest)
        line = Line.through([(one.kept, one.seconds) for one in rest])
        least, most = (of(one.kept for one in rest) for of in (min, max))
        varies = sum((one.seconds - mean) ** 2 for one in rest)
        explained = sum((line(one.kept) - mean) ** 2 for one in rest)
        follows = varies > 0 and explained >= _FOLLOWS**2 * varies and self._believable(rest, line, varies - explained)
        matters = line.slope * (most - least) >= _MATTERS * mean
        return line if follows and matters else Line(mean, 0.0)

    def _believable(self, rest: Sequence[Sample], line: Line, unexplained: float) -> bool:
        """Whether ``line``, which leaves so much of the squares of ``rest`` unexplained, may be drawn out to the middle
        of every task."""
        seen, freedom = fmean(one.kept for one in rest), len(rest) - 2
        if freedom < 1:
            return False
        spread = sum((one.kept - seen) ** 2 for one in rest)
        error = math.sqrt(max(unexplained, 0.0) / freedom / spread)  # of the slope, by ordinary least squares
        far = max(abs(self.kept(task, length // 2) - seen) for task, length in enumerate(self.lengths))
        sure = len(rest) >= _FEWEST and line.slope >= _SURE * error
        return sure or error * far <= line(seen)

    def _growth(self) -> tuple[float, float, float, bool]:
        """Bytes after the first position, gained with a position and with a task, and whether the end of a task gives
        back what its positions have gained."""
        first = [one for one in self.samples if one.task == 0 and one.index > 0]
        if not first:
            return float(self.after), 0.0, 0.0, True
        begin, end = first[0], first[-1]
        a_position = (end.kept - begin.kept) / max(1, len(first) - 1)
        others = [one for one in self.samples if one.task > 0 and one.index > 0]
        if not others:
            return begin.kept, a_position, 0.0, True
        gained = sum(1 for one in self.samples if one.task == 0)
        at = next(one for one in self.samples if one.task == others[0].task and one.index > 0)
        emptied = at.kept < begin.kept + a_position * gained - 1
        last = next(one for one in self.samples if one.task == others[-1].task and one.index > 0)
        walked = 0 if emptied else sum(1 for one in self.samples[: self.samples.index(last)]) - 1
        a_task = (last.kept - begin.kept - a_position * walked) / last.task
        return begin.kept, a_position, a_task, emptied

    def _ends(self, ends: Sequence[Sample], usual: float = 0.0) -> float:
        """Seconds of a task's last position."""
        if not ends:
            return usual
        mean = fmean(one.seconds for one in ends)
        if not self.repeats or all(one.repeats == self.repeats for one in ends):
            return mean
        line = Line.through([(one.repeats, one.seconds) for one in ends])
        slope = line.slope if len({one.repeats for one in ends}) > 1 and line.slope > 0 else usual
        return mean + slope * (self.repeats - fmean(one.repeats for one in ends))
