"""Replicas of a baseline as one program: `PackedLearner` says what a method must do for it, `PlainPack` leads them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from frisket.algos.learner import Learner, Pack, require_task
from frisket.algos.learners.replay.learner import Measured, PlainLearner
from frisket.algos.networks.mlp import MLP
from frisket.algos.networks.network import Network
from frisket.algos.pack import in_parts, packed_numbers
from frisket.algos.parts.tree import lifted, picked, stacked
from frisket.errors import require
from frisket.types import Batch, Data, Metrics, Params, State, Task

TOGETHER = 40
"""Replicas that learn from a batch at a time on a CPU. Their steps are small, so that many share the cost of a call; a
walk over the samples has up to four times the weights beside the state."""


class PackedLearner(PlainLearner):
    """A baseline that has packs. All that is learned is learned by the pack of one, so a replica alone and a replica in
    a pack are the same method; the numbers differ by float32 rounding."""

    def begin(self, state: State, data: Data) -> State:
        """The state at the start of a task, before it learns from the first batch of it, ``data``: of methods that need
        the task and have the running one's start in their state, under ``task``, [P]."""
        return state

    @abstractmethod
    def learn(self, state: State, data: Data, hyper: Params) -> tuple[State, Measured]:
        """The state after learning from a batch, and what was measured, [P] each.

        Args:
            state: the pack's.
            data: x [P, N, ...], y [P, N].
            hyper: the fields `packed` of the configuration, [P] each.
        """

    def pack(self, others: Sequence[Learner], *, steps: int = 0, may_compile: bool = False) -> Pack[Any]:
        return PlainPack([self, *(one for one in others if isinstance(one, PackedLearner))])

    def observe(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        packed, (metrics,) = self._alone.observe(lifted(state), [batch])
        return picked(packed, 0), metrics

    @cached_property
    def _alone(self) -> PlainPack:
        return PlainPack([self])


class PlainPack(Pack[PackedLearner]):
    """A pack. State: that of its learners, with a leading replica dimension.

    Args:
        learners: P learners which differ in `packed_fields` only.
    """

    def __init__(self, learners: Sequence[PackedLearner]) -> None:
        self.learners, self._hyper = learners, packed_numbers(learners)

    @torch.no_grad()
    def observe(self, state: State, batches: Sequence[Batch]) -> tuple[State, list[Metrics]]:
        together = TOGETHER if batches[0].y.device.type == "cpu" else None
        return in_parts(state, batches, self._learn, together)

    def _learn(self, state: State, batches: Sequence[Batch], part: slice) -> tuple[State, list[Metrics]]:
        """`observe` of the replicas ``part`` alone."""
        method = self.learners[0]
        before = torch.stack([method.loss_of_answer(self.replica(state, i), one) for i, one in enumerate(batches)])
        data = Data(torch.stack([batch.x for batch in batches]), torch.stack([batch.y for batch in batches]))
        if method.capabilities.needs_task:
            tasks = [require_task(method, batch) for batch in batches]
            state = self._at_task(state, tasks, data) if "task" in state else state
        like = next(iter(state["theta"].values()))
        state, measured = method.learn(state, data, {k: v[part].to(like) for k, v in self._hyper.items()})
        columns = {k: v.tolist() for k, v in {"loss_before": before, **measured}.items()}
        metrics = [{k: v[i] for k, v in columns.items()} for i in range(len(batches))]
        return {**state, "step": state["step"] + 1}, metrics

    def _at_task(self, state: State, tasks: Sequence[Task], data: Data) -> State:
        """``state``, begun anew where the task is another one than the batch before had."""
        starts = torch.tensor([task.start for task in tasks])
        fix = "1: in this stream the replicas' tasks do not begin together"
        require(bool((starts == starts[0]).all()), "pack", len(tasks), fix)
        if torch.equal(state["task"], starts):
            return state
        return self.learners[0].begin({**state, "task": starts}, data)


def gradients_each(network: Network, theta: Params, data: Data) -> tuple[Tensor, Params]:
    """``(loss [P], gradient)`` of the mean loss of every replica's weights, [P, ...] each, on x [P, N, ...], y [P, N].

    Networks other than the fully connected one take their replicas one after the other.
    """
    if isinstance(network, MLP):
        return network.loss_and_gradients(theta, data.x, data.y)
    each = [network.loss_and_gradients(picked(theta, i), x, y) for i, (x, y) in enumerate(zip(*data, strict=True))]
    return torch.stack([loss for loss, _ in each]), stacked([grads for _, grads in each])


def pieces(data: Data, size: int) -> Iterator[Data]:
    """A pack's batch x [P, N, ...], y [P, N], ``size`` samples of each replica at a time."""
    yield from map(Data, data.x.split(size, 1), data.y.split(size, 1))
