"""A stream that is a sequence of tasks, each with a test set of its own."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from frisket.envs.stream import Stream


class TaskStream(Stream):
    """Tasks 0 .. tasks - 1, one after the other, the same number of batches each.

    Attributes:
        tasks: number of tasks T.
        own: labels per task when learning and judging are among the task's own labels, task t's being the block
            ``t own .. (t + 1) own - 1``; None for one head over all labels.
    """

    tasks: int
    own: int | None = None

    @property
    def steps_per_task(self) -> int:
        """Batches of one task."""
        return self.steps // self.tasks

    def task_index(self, position: int) -> int:
        """Which task ``position`` belongs to."""
        return position // self.steps_per_task

    def ends_task(self, position: int) -> bool:
        """Whether ``position`` is the last of its task."""
        return (position + 1) % self.steps_per_task == 0

    def labels(self, task: int) -> range:
        """The labels among which ``task`` is learned and judged."""
        return range(self.ways) if self.own is None else range(task * self.own, (task + 1) * self.own)

    @abstractmethod
    def test_set(self, task: int) -> tuple[Tensor, Tensor]:
        """``(x [n, C, H, W], y [n])`` of the samples ``task`` is judged on, never trained on."""
