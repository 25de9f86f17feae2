"""The interface every protocol has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from frisket.algos.learner import Learner
from frisket.types import Batch, Metrics, State


class Outcome(NamedTuple):
    """Attributes: state, scores: as they go on; record: what the journal keeps of this position, JSON-able."""

    state: State
    scores: State
    record: dict[str, Any]


class Protocol(ABC):
    """Leads a learner over a stream and keeps the scores, themselves a `State`, so that they resume with it.

    Attributes:
        headline: the metric an experiment is judged by.
    """

    headline: str

    @abstractmethod
    def init(self) -> State:
        """Scores before the stream."""

    @abstractmethod
    def step(self, learner: Learner, state: State, scores: State, batch: Batch) -> Outcome:
        """Measure and learn at one position of the stream."""

    @abstractmethod
    def points(self, scores: State) -> tuple[Metrics, State]:
        """Metrics to plot at this position, and the scores with their recent window closed."""

    @abstractmethod
    def final(self, scores: State) -> Metrics:
        """The run's metrics, once the stream has ended."""
