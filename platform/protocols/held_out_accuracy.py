"""Accuracy on the test pictures of a stream of one task, judged piece by piece (powerprop sheet, section 5).

    accuracy         share of the test pictures answered rightly at the last judging, top-1
    loss             their mean cross-entropy

The network is judged every ``every`` steps and when the stream ends. A few pictures of every batch are answered before
their labels are seen as well; that is what the picture of the run shows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from frisket.algos.learner import Learner
from frisket.envs.stream import Stream
from frisket.envs.task_stream import TaskStream
from frisket.errors import SpecError, require
from frisket.platform.protocols import recent
from frisket.platform.protocols.online_accuracy import accuracy_of
from frisket.platform.protocols.protocol import Answers, Protocol, ProtocolKind, Scored
from frisket.types import Batch, Metrics, State, Task


@dataclass(frozen=True, kw_only=True)
class HeldOutAccuracyConfig:
    """Attributes:
    every: steps from one judging to the next; null for the end alone.
    online: most pictures of a batch that are answered before their labels are seen.
    """

    every: int | None = None
    online: int = 64

    def __post_init__(self) -> None:
        require(self.every is None or self.every >= 1, "every", self.every, "at least 1, or null for the end alone")
        require(self.online >= 1, "online", self.online, "at least 1")


class HeldOutAccuracy(Protocol):
    """Test accuracy along one task.

    Scores: ``accuracy`` and ``loss`` of the last judging, NaN before the first; ``online`` and ``online_steps``,
    accuracy on batches before their labels are seen since the last points.

    Raises:
        SpecError: ``stream`` is no stream of one task with test pictures.
    """

    headline = "accuracy"

    def __init__(self, config: HeldOutAccuracyConfig, stream: Stream) -> None:
        if not isinstance(stream, TaskStream) or stream.tasks != 1:
            fix = "needs a stream of one task with test pictures: pictures"
            raise SpecError("protocol.kind", "held-out-accuracy", fix)
        self.config, self.stream = config, stream

    def judgings(self, learner: Learner) -> Iterator[tuple[int, float]]:
        every, last = self.config.every or self.stream.steps, self.stream.steps - 1
        yield from ((position, 1) for position in range(every - 1, last, every))
        yield last, 1

    def init(self) -> State:
        nothing, unknown = torch.zeros((), dtype=torch.float64), torch.full((), math.nan, dtype=torch.float64)
        return {"accuracy": unknown, "loss": unknown.clone(), "online": nothing, "online_steps": nothing.clone()}

    def before(self, answers: Sequence[Answers], scores: Sequence[State], batches: Sequence[Batch]) -> list[Scored]:
        return [self._score(*one) for one in zip(answers, scores, batches, strict=True)]

    def after(self, answers: Sequence[Answers], known: list[Scored], batches: Sequence[Batch]) -> list[Scored]:
        done = batches[0].position + 1
        due = self.config.every is not None and done % self.config.every == 0
        if not due and done < self.stream.steps:
            return known
        return [self._judged(answer, one, batches[0].x.device) for answer, one in zip(answers, known, strict=True)]

    def points(self, scores: State) -> tuple[Metrics, State]:
        steps = int(scores["online_steps"])
        points = {"recent/accuracy": float(scores["online"]) / steps} if steps else {}
        closed = {k: torch.zeros_like(scores[k]) for k in ("online", "online_steps")}
        judged = {} if scores["accuracy"].isnan() else self.final(scores)
        return {**points, **judged}, {**scores, **closed}

    def final(self, scores: State) -> Metrics:
        """Accuracy and loss of the last judging; before the first an accuracy of 0."""
        if scores["accuracy"].isnan():
            return {"accuracy": 0.0}
        return {k: float(scores[k]) for k in ("accuracy", "loss")}

    def _score(self, answer: Answers, scores: State, batch: Batch) -> Scored:
        task, few = batch.task, self.config.online
        assert task is not None
        online = accuracy_of(answer(batch.x[:few], task), batch.y[:few])
        scores = {**scores, "online": scores["online"] + online, "online_steps": scores["online_steps"] + 1}
        return Scored(scores, recent.record(online, task, batch))

    def _judged(self, answer: Answers, known: Scored, device: torch.device) -> Scored:
        task = Task(self.stream.domains[0], tuple(range(self.stream.ways)), 0)
        right, loss, seen = 0.0, 0.0, 0
        for pieces in self.stream.test_batches(0):
            x, y = (piece.to(device) for piece in pieces)
            logits = answer(x, task)
            right += accuracy_of(logits, y) * len(y)
            loss += math.nan if logits is None else float(F.cross_entropy(logits, y, reduction="sum"))
            seen += len(y)
        found = {"accuracy": right / seen, "loss": loss / seen}
        scores = {k: torch.tensor(v, dtype=torch.float64) for k, v in found.items()}
        return Scored({**known.scores, **scores}, {**known.record, "test_accuracy": found["accuracy"]})


PROTOCOLS = (
    ProtocolKind(
        name="held-out-accuracy",
        config=HeldOutAccuracyConfig,
        build=HeldOutAccuracy,
        headline=HeldOutAccuracy.headline,
        summary="accuracy on the test pictures of one task, judged piece by piece",
        journalled=("accuracy", "loss"),
    ),
)
