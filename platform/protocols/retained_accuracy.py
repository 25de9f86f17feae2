"""What is retained of every task: the accuracy matrix and the four numbers read from it (lamaml spec, section 2.1).

R[i][j] is the accuracy on task j's test set after training on task i has ended, b_j the one before any training::

    RA  = 1/T sum_j R[T-1][j]                           retained accuracy (metric ra)
    BTI = 1/T sum_j (R[T-1][j] - R[j][j])               backward transfer and interference (bti); j = T-1 counts in T
    LA  = 1/T sum_j R[j][j]                             learning accuracy (la)
    FWT = 1/T sum_{j>=1} (R[j-1][j] - b_j)              forward transfer (fwt)

All test samples are scored; the released evaluator leaves one of 10,000 out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from frisket.algos.learner import Learner
from frisket.algos.networks.network import own_logits
from frisket.envs.stream import Stream
from frisket.platform.protocols import recent
from frisket.platform.protocols.online_accuracy import accuracy_of
from frisket.platform.protocols.protocol import Answers, ProtocolKind, Scored
from frisket.platform.protocols.task_matrix import TaskMatrix
from frisket.types import Batch, Metrics, State, Task


@dataclass(frozen=True, kw_only=True)
class RetainedAccuracyConfig:
    """Attributes:
    entries: ``all`` of the matrix, or those the four numbers are ``needed`` for: the diagonal, the entry right of it,
        the last row. With T tasks that is 3 T test sets instead of T squared; the others stay NaN.
    """

    entries: Literal["all", "needed"] = "all"


class RetainedAccuracy(TaskMatrix):
    """The accuracy matrix of a sequence of tasks.

    Scores: those of `TaskMatrix`; ``before`` [T], accuracies before any training; the window of
    `frisket.platform.protocols.recent`.

    Args:
        config: which entries to measure.
        stream: the tasks and their test sets.

    Raises:
        SpecError: ``stream`` is no sequence of tasks.
    """

    headline = "ra"
    kind = "retained-accuracy"
    recorded = "row"

    def __init__(self, config: RetainedAccuracyConfig, stream: Stream) -> None:
        super().__init__(stream)
        self.config = config

    def judgings(self, learner: Learner) -> Iterator[tuple[int, float]]:
        yield 0, self.stream.tasks
        yield from super().judgings(learner)

    def init(self) -> State:
        return {
            **super().init(),
            "before": torch.full((self.stream.tasks,), math.nan, dtype=torch.float64),
            **recent.window(),
        }

    def before(self, answers: Sequence[Answers], scores: Sequence[State], batches: Sequence[Batch]) -> list[Scored]:
        if batches[0].position == 0:
            untrained = self.judged(answers, range(self.stream.tasks), batches[0].x.device)
            scores = [{**one, "before": row} for one, row in zip(scores, untrained, strict=True)]
        return [self._score(*one) for one in zip(answers, scores, batches, strict=True)]

    def _score(self, answer: Answers, scores: State, batch: Batch) -> Scored:
        return recent.counted(scores, batch, self._accuracy(answer(batch.x, batch.task), batch.y))

    def points(self, scores: State) -> tuple[Metrics, State]:
        return recent.closed(scores, self.final(scores))

    def final(self, scores: State) -> Metrics:
        """RA, BTI, LA and FWT over the tasks finished so far, at the end all of them; before the first task has
        ended RA alone, of the untrained network. Where only the ``needed`` entries are measured, RA and BTI are not
        there before the end."""
        rows = int(scores["rows"])
        if not rows:
            return {"ra": float(scores["before"].mean())}
        metrics = retention(scores["matrix"][:rows, :rows], scores["before"][:rows])
        return {name: value for name, value in metrics.items() if not math.isnan(value)}

    def columns(self, row: int) -> range:
        tasks = self.stream.tasks
        if self.config.entries == "all" or row == tasks - 1:
            return range(tasks)
        return range(row, row + 2)

    def judge(self, answers: Sequence[Answers], x: Tensor, y: Tensor, task: Task) -> list[float]:
        return [self._accuracy(answer(x, task), y) for answer in answers]

    def _accuracy(self, logits: Tensor | None, y: Tensor) -> float:
        """Where tasks are judged among their own labels, only those count as answers."""
        return accuracy_of(None if logits is None else own_logits(logits, y, self.stream.own), y)


def retention(matrix: Tensor, before: Tensor) -> Metrics:
    """The four numbers of the module's equations.

    Args:
        matrix: R, [T, T]; only the diagonal, the entries right of it and the last row are read.
        before: b, [T].
    """
    tasks = len(matrix)
    learned, last = matrix.diagonal(), matrix[-1]
    ahead = matrix.diagonal(1) - before[1:]
    return {
        "ra": float(last.mean()),
        "bti": float((last - learned).sum() / tasks),
        "la": float(learned.mean()),
        "fwt": float(ahead.sum() / tasks),
    }


PROTOCOLS = (
    ProtocolKind(
        name="retained-accuracy",
        config=RetainedAccuracyConfig,
        build=RetainedAccuracy,
        headline=RetainedAccuracy.headline,
        summary="accuracy on every task's test set after every task: RA, BTI, LA, FWT",
        journalled=("ra", "bti", "la", "fwt"),
    ),
)
