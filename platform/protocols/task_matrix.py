"""Protocols that judge every task again and again: R[i][j], the score on task j after training on task i has ended."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from frisket.algos.learner import Learner
from frisket.envs.stream import Stream
from frisket.envs.task_stream import TaskStream
from frisket.errors import SpecError
from frisket.heap import give_back_freed_memory
from frisket.platform.protocols.protocol import Answers, Protocol, Scored
from frisket.types import Batch, State, Task


class TaskMatrix(Protocol):
    """The score matrix of a sequence of tasks.

    Scores: ``matrix`` [T, T] float64, NaN where not measured; ``rows``, tasks finished.

    Attributes:
        kind: the protocol's name in specifications.
        recorded: what a row is called in the journal, where an entry that was not measured is null.

    Args:
        stream: the tasks and their test sets.

    Raises:
        SpecError: ``stream`` is no sequence of tasks.
    """

    kind: ClassVar[str]
    recorded: ClassVar[str]

    def __init__(self, stream: Stream) -> None:
        if not isinstance(stream, TaskStream):
            fix = "needs a stream of tasks with test sets: rotations, permutations, split-classes, incremental, ..."
            raise SpecError("protocol.kind", self.kind, fix)
        self.stream = stream

    @abstractmethod
    def columns(self, row: int) -> range:
        """Tasks to be judged on after task ``row``."""

    @abstractmethod
    def judge(self, answers: Sequence[Answers], x: Tensor, y: Tensor, task: Task) -> list[float]:
        """The score of every replica on ``task``, whose test set is ``x`` [n, C, H, W], ``y`` [n]."""

    def judgings(self, learner: Learner) -> Iterator[tuple[int, float]]:
        for task in range(self.stream.tasks):
            yield self.stream.start(task + 1) - 1, len(self.columns(task))

    def init(self) -> State:
        tasks = self.stream.tasks
        nothing = torch.full((tasks, tasks), math.nan, dtype=torch.float64)
        return {"matrix": nothing, "rows": torch.zeros((), dtype=torch.int64)}

    def after(self, answers: Sequence[Answers], known: list[Scored], batches: Sequence[Batch]) -> list[Scored]:
        position = batches[0].position
        if not self.stream.ends_task(position):
            return known
        row = self.stream.task_index(position)
        found = self.judged(answers, self.columns(row), batches[0].x.device)
        return [self._with_row(*one, row) for one in zip(known, found, strict=True)]

    def judged(self, answers: Sequence[Answers], tasks: range, device: torch.device) -> Tensor:
        """``[P, T]``: the score of every replica on each of ``tasks``, NaN elsewhere."""
        result = torch.full((len(answers), self.stream.tasks), math.nan, dtype=torch.float64)
        for j in tasks:
            result[:, j] = torch.tensor(self._judged_on(j, answers, device), dtype=torch.float64)
        give_back_freed_memory()  # test sets are larger than anything a step takes
        return result

    def _judged_on(self, index: int, answers: Sequence[Answers], device: torch.device) -> list[float]:
        """`judge` on one task; its test set is gone before the next one is made."""
        x, y = (t.to(device) for t in self.stream.test_set(index))
        task = Task(self.stream.domains[0], tuple(range(self.stream.ways)), self.stream.start(index))
        return self.judge(answers, x, y, task)

    @classmethod
    def read(cls, steps: Iterable[Mapping[str, Any]]) -> np.ndarray | None:
        """``[rows, T]``: the rows in the records of a journal's positions, NaN where not measured; None without any."""
        rows = [step[cls.recorded] for step in steps if cls.recorded in step]
        return np.array(rows, float) if rows else None  # null becomes NaN

    def _with_row(self, known: Scored, scores: Tensor, row: int) -> Scored:
        matrix = known.scores["matrix"].clone()
        matrix[row] = scores
        shown = [None if math.isnan(v) else v for v in scores.tolist()]
        kept = {**known.scores, "matrix": matrix, "rows": torch.tensor(row + 1)}
        return Scored(kept, {**known.record, self.recorded: shown})
