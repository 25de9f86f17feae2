"""A stream that is a sequence of tasks, each with a test set of its own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from frisket.envs.stream import Stream
from frisket.types import TaskEnd


class TaskStream(Stream):
    """Tasks 0 .. tasks - 1, one after the other. All have the same number of batches, unless a stream overrides
    `start` and `task_index`.

    Attributes:
        tasks: number of tasks T.
        own: labels per task when learning and judging are among the task's own labels, task t's being the block
            ``t own .. (t + 1) own - 1``; None for one head over all labels.
    """

    tasks: int
    own: int | None = None

    @property
    def steps_per_task(self) -> int:
        """Batches of one task, where all have the same number."""
        return self.steps // self.tasks

    def start(self, task: int) -> int:
        """The position at which ``task`` begins; of ``tasks``, the end of the stream."""
        return task * self.steps_per_task

    def task_index(self, position: int) -> int:
        """Which task ``position`` belongs to."""
        return position // self.steps_per_task

    def ends_task(self, position: int) -> bool:
        """Whether ``position`` is the last of its task."""
        return position + 1 == self.start(self.task_index(position) + 1)

    def labels(self, task: int) -> range:
        """The labels among which ``task`` is learned and judged."""
        return range(self.ways) if self.own is None else range(task * self.own, (task + 1) * self.own)

    def end(self, position: int) -> TaskEnd | None:
        """What the batch at ``position`` says of its task's end; None where the task goes on."""
        if not self.ends_task(position):
            return None
        index = self.task_index(position)
        start = self.start(index)
        return TaskEnd(position + 1 - start, lambda i: self.batch(start + i), lambda: self.validation_set(index))

    @abstractmethod
    def test_set(self, task: int) -> tuple[Tensor, Tensor]:
        """``(x [n, C, H, W], y [n])`` of the samples ``task`` is judged on, never trained on."""

    def test_batches(self, task: int) -> Iterator[tuple[Tensor, Tensor]]:
        """`test_set` in one piece or several, for streams whose test pictures do not fit into memory at once."""
        yield self.test_set(task)

    def validation_set(self, task: int) -> tuple[Tensor, Tensor]:
        """As `test_set`, of training samples that are kept back; empty where none are."""
        return torch.zeros(0, *self.shape), torch.zeros(0, dtype=torch.int64)
