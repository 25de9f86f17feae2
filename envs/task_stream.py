"""A stream that is a sequence of tasks, each seen once and each with a test set of its own."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from frisket.envs.stream import Stream


class TaskStream(Stream):
    """Tasks 0 .. tasks - 1, one after the other, the same number of batches each.

    Attributes:
        tasks: number of tasks T.
    """

    tasks: int

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

    @abstractmethod
    def test_set(self, task: int) -> tuple[Tensor, Tensor]:
        """``(x [n, C, H, W], y [n])`` of the samples ``task`` is judged on, never trained on."""
