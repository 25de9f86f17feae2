"""The time of judging, measured and bounded: a protocol and a stream that say what they ask and are asked for.

A test set, an episode or a world that is judged is a piece. The meter hands the first few out, a test set cut short
where it is large, and then lets the judging end; what it has cost stands for all pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from torch import Tensor

from frisket.envs.stream import Stream
from frisket.platform.protocols.protocol import Answers, Around, Protocol, Scored
from frisket.types import Batch, State

_SECONDS = 1.5
"""For which one judging may go on."""
_PIECES = 3
"""Pieces of one judging that are seen at least, where they do not take three times as long: the first may be slow."""
_FIRST = 128
"""Samples of the first test set that is seen."""
_PIECE_SECONDS = 0.7
"""A later one is cut to what can be judged in about so long."""

T = TypeVar("T")


class _Enough(BaseException):
    """What is judged has been seen. No error, so no protocol's ``except Exception`` is to stop it."""


class Meter:
    """Measures pieces.

    Attributes:
        pieces: seen so far, at which `seconds` went.
        seconds: of them, each as if it had not been cut short.
        aside: seconds of judging that have gone by, and of trials that were left out, taken off; for whoever measures
            what is around it, who sets it to 0.

    Args:
        fewest: samples that a test set cannot be cut below.
        clock: gives seconds.
    """

    def __init__(self, fewest: int, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.pieces, self.seconds, self.aside = 0, 0.0, 0.0
        self._fewest, self._rate = fewest, 0.0
        self._begun: float | None = None
        self._here, self._piece, self._shown, self._scale = 0, 0.0, 0, 1.0

    def watch(self, stream: Stream) -> None:
        """Measure what ``stream`` is asked for from now on."""
        own = vars(stream)
        for name, watched in (
            ("test_set", self._test_set), ("test_batches", self._test_batches), ("episode", self._episode),
            ("tests", self._worlds), ("trials", self._trials),
        ):  # fmt: skip
            if hasattr(stream, name):
                own[name] = watched(getattr(stream, name))

    def judged(self, judge: Callable[[], list[Scored]], otherwise: Callable[[], list[Scored]]) -> list[Scored]:
        """What ``judge`` gives, measured from its first piece on; ``otherwise`` where enough was seen before its
        end."""
        self._begun, self._here = None, 0
        try:
            found = judge()
        except _Enough:
            found = otherwise()
        if self._begun is not None:
            self._close(self._clock())
            self.aside += self._clock() - self._begun
        self._begun = None
        return found

    def _open(self) -> float:
        """Begin a piece; the time now."""
        now = self._clock()
        if self._begun is None:
            self._begun = now
        else:
            self._close(now)
        gone = now - self._begun
        if gone > _SECONDS and (self._here >= _PIECES or gone > _PIECES * _SECONDS):
            self._here = 0  # what was begun is no piece
            raise _Enough
        self._here, self._piece, self._shown, self._scale = self._here + 1, now, 0, 1.0
        return now

    def _close(self, now: float) -> None:
        """End the piece that is seen, if one is."""
        if not self._here:
            return
        self.pieces += 1
        self.seconds += (now - self._piece) * self._scale
        if self._shown:
            self._rate = (now - self._piece) / self._shown

    def _test_set(self, inner: Callable[[int], tuple[Tensor, Tensor]]) -> Callable[[int], tuple[Tensor, Tensor]]:
        def test_set(task: int) -> tuple[Tensor, Tensor]:
            begun = self._open()
            x, y = inner(task)
            self._piece = self._clock()
            self.seconds += self._piece - begun  # it is made whole, and judged in part
            count = max(self._fewest, _FIRST, int(_PIECE_SECONDS / self._rate) if self._rate else 0)
            self._shown = min(count, len(y))
            self._scale = len(y) / max(self._shown, 1)
            return x[: self._shown], y[: self._shown]

        return test_set

    def _test_batches(self, inner: Callable[[int], Iterator[T]]) -> Callable[[int], Iterator[T]]:
        def test_batches(task: int) -> Iterator[T]:
            self._open()
            yield from inner(task)

        return test_batches

    def _episode(self, inner: Callable[..., Batch]) -> Callable[..., Batch]:
        def episode(split: str, number: int) -> Batch:
            if split != "train":
                self._open()
            return inner(split, number)

        return episode

    def _worlds(self, inner: Callable[..., Iterable[T]]) -> Callable[..., Iterator[T]]:
        def worlds(*which: Any) -> Iterator[T]:
            for world in inner(*which):
                self._open()
                yield world

        return worlds

    def _trials(self, inner: Callable[[int], Iterable[T]]) -> Callable[[int], Iterator[T]]:
        def trials(task: int) -> Iterator[T]:
            begun, shown, left = self._clock(), 0, 0
            for world in inner(task):
                if shown and self._clock() - begun > _PIECE_SECONDS:
                    left += 1
                    continue
                yield world
                shown += 1
            if left:
                self.aside -= (self._clock() - begun) * left / shown

        return trials


class Judged(Around):
    """``protocol``, with what it judges beside the batches measured by ``meter``, and cut short."""

    def __init__(self, protocol: Protocol, meter: Meter) -> None:
        super().__init__(protocol)
        self.meter = meter

    def before(self, answers: Sequence[Answers], scores: Sequence[State], batches: Sequence[Batch]) -> list[Scored]:
        return self.meter.judged(
            lambda: self.inner.before(answers, scores, batches), lambda: [Scored(one, {}) for one in scores]
        )

    def after(self, answers: Sequence[Answers], known: list[Scored], batches: Sequence[Batch]) -> list[Scored]:
        return self.meter.judged(lambda: self.inner.after(answers, known, batches), lambda: known)
