"""The interface every protocol has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from frisket.algos.learner import Learner
from frisket.algos.masks.store import MaskStore
from frisket.envs.stream import Stream
from frisket.platform.protocols.bootstrap import Interval
from frisket.types import Batch, Metrics, State, Task


@dataclass
class Answers:
    """What a replica answers at one moment.

    Attributes:
        learner, state: its method and its own state.
        ways: number of labels; None where it does not answer with labels.
        learned: whether it has learned from a batch.
        numbers: whether none of the answers given so far was NaN.
    """

    learner: Learner
    state: State
    ways: int | None
    learned: bool
    numbers: bool = field(default=True, init=False)

    def __call__(self, x: Tensor, task: Task | None) -> Tensor | None:
        """As `Learner.predict`; a learner that does not need the task never sees it.

        Raises:
            ValueError: the answer cannot be scored: it is not of one value for each label, or there is none although
                the learner has learned. A score of 0 would hide the method's mistake.
        """
        logits = self.learner.predict(self.state, x, task if self.learner.capabilities.needs_task else None)
        if logits is None and self.learned:
            raise ValueError("predict gave None after a batch was learned from; from then on there is an answer")
        if not isinstance(logits, Tensor | None):
            raise TypeError(f"predict gave a {type(logits).__name__}; logits are a tensor")
        if logits is not None and self.ways is not None and logits.shape[-2:] != (len(x), self.ways):
            given, wanted = tuple(logits.shape), (len(x), self.ways)
            raise ValueError(f"predict gave a tensor of shape {given} for {len(x)} inputs; logits are {wanted}")
        if logits is not None and self.numbers:
            self.numbers = not bool(logits.isnan().any())
        return logits


def shown(learner: Learner, batch: Batch) -> Batch:
    """``batch`` as ``learner`` may see it: without its task, unless it declares that it needs it."""
    return batch if learner.capabilities.needs_task else batch.hide_task()


class Scored(NamedTuple):
    """Attributes: scores: as they go on; record: what the journal keeps of this position, JSON-able."""

    scores: State
    record: dict[str, Any]


class Protocol(ABC):
    """Measures the replicas of a pack along their streams and keeps each one's scores, themselves a `State`, so that
    they resume with it. What is learned, and when, is a drive's (`frisket.platform.run.drive`).

    Attributes:
        headline: the metric an experiment is judged by.
        by_label: whether it judges labels; otherwise it judges models of images.
        prunes: whether it judges what is left of a network once weights are taken out.
        of_episodes: whether it judges what is adapted to episodes.
        of_actions: whether it judges what is done in robot tasks.
        fewest: samples of a test set without which it cannot judge.
    """

    headline: str
    by_label: bool = True
    prunes: bool = False
    of_episodes: bool = False
    of_actions: bool = False
    fewest: int = 1

    def judgings(self, learner: Learner) -> Iterable[tuple[int, float]]:
        """Where ``learner`` is judged beside the batches of the stream, and how much: positions, and the test sets,
        episodes or worlds that the stream is asked for there, an expected number where the answers decide. It is what
        a plan counts (`frisket.platform.planning`); nothing for a protocol that judges batches alone."""
        return ()

    @abstractmethod
    def init(self) -> State:
        """Scores of a replica before its stream."""

    @abstractmethod
    def before(self, answers: Sequence[Answers], scores: Sequence[State], batches: Sequence[Batch]) -> list[Scored]:
        """Measure every replica before it learns from its batch."""

    def after(self, answers: Sequence[Answers], known: list[Scored], batches: Sequence[Batch]) -> list[Scored]:
        """Measure every replica after it has learned. ``known``: what `before` gave, with what the learner reports."""
        return known

    def chosen(self, state: State, scores: State) -> State:
        """What is kept of a replica once its stream has ended: ``state``, unless an earlier one was judged better."""
        return state

    def domain_masks(self, scores: State) -> MaskStore | None:
        """Beside the method's own masks, those it adapts to each of the stream's domains with, in their order, once the
        stream has ended; None where it decides none."""
        return None

    @abstractmethod
    def points(self, scores: State) -> tuple[Metrics, State]:
        """Metrics to plot at this position, and the scores with their recent window closed."""

    @abstractmethod
    def final(self, scores: State) -> Metrics:
        """The run's metrics, once the stream has ended."""


class Around(Protocol):
    """``inner``, and nothing else: what adds something to it begins here."""

    def __init__(self, inner: Protocol) -> None:
        self.inner = inner
        self.headline, self.by_label, self.prunes = inner.headline, inner.by_label, inner.prunes
        self.of_episodes, self.of_actions, self.fewest = inner.of_episodes, inner.of_actions, inner.fewest

    def judgings(self, learner: Learner) -> Iterable[tuple[int, float]]:
        return self.inner.judgings(learner)

    def init(self) -> State:
        return self.inner.init()

    def before(self, answers: Sequence[Answers], scores: Sequence[State], batches: Sequence[Batch]) -> list[Scored]:
        return self.inner.before(answers, scores, batches)

    def after(self, answers: Sequence[Answers], known: list[Scored], batches: Sequence[Batch]) -> list[Scored]:
        return self.inner.after(answers, known, batches)

    def chosen(self, state: State, scores: State) -> State:
        return self.inner.chosen(state, scores)

    def domain_masks(self, scores: State) -> MaskStore | None:
        return self.inner.domain_masks(scores)

    def points(self, scores: State) -> tuple[Metrics, State]:
        return self.inner.points(scores)

    def final(self, scores: State) -> Metrics:
        return self.inner.final(scores)


class Apart(Around):
    """Replicas of a pack that are each judged on the test sets of its own stream.

    Args:
        each: a protocol over the stream of every replica.
    """

    def __init__(self, each: Sequence[Protocol]) -> None:
        super().__init__(each[0])
        self._each = each

    def judgings(self, learner: Learner) -> Iterable[tuple[int, float]]:
        return ((position, pieces * len(self._each)) for position, pieces in self.inner.judgings(learner))

    def before(self, answers: Sequence[Answers], scores: Sequence[State], batches: Sequence[Batch]) -> list[Scored]:
        given = zip(self._each, answers, scores, batches, strict=True)
        return [one.before([answer], [score], [batch])[0] for one, answer, score, batch in given]

    def after(self, answers: Sequence[Answers], known: list[Scored], batches: Sequence[Batch]) -> list[Scored]:
        given = zip(self._each, answers, known, batches, strict=True)
        return [one.after([answer], [scored], [batch])[0] for one, answer, scored, batch in given]


@dataclass(frozen=True, kw_only=True)
class ProtocolKind:
    """What a module declares of a protocol: a row of its ``PROTOCOLS``.

    Attributes:
        name: what specifications call it.
        config: the configuration dataclass.
        build: ``(config, stream) -> Protocol``; raises `SpecError` for a stream it cannot measure on.
        headline: the metric an experiment is judged by.
        summary: one line.
        journalled: names of what it measures along the way; those with parts have them after a ``/``.
        final: names of what exists at the end alone.
        referred: ``(config, metrics of every seed of a reference run)`` to the configuration that measures against it;
            None for a protocol whose configuration has no ``reference``.
        intervals: ``(config, metrics of every seed)`` to the intervals that means over seeds lie in, by metric; None
            for a protocol that gives none.
    """

    name: str
    config: type[Any]
    build: Callable[[Any, Stream], Protocol]
    headline: str
    summary: str
    journalled: tuple[str, ...]
    final: tuple[str, ...] = ()
    referred: Callable[[Any, Sequence[Metrics]], Any] | None = None
    intervals: Callable[[Any, Sequence[Metrics]], Mapping[str, Interval]] | None = None
