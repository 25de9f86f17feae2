"""Learners that answer every task with one set of weights, and what they keep for each task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor

from frisket.algos.learner import Learner
from frisket.algos.networks.powerprop import Powerprop
from frisket.types import Batch, Data, Params, State, Task


class TaskWeightsLearner(Learner, ABC):
    """A learner over one network, whose answer to a task are the outputs under the task's weights.

    Attributes: network: what learns, its parameters being phi; ``network.network`` computes with theta.
    """

    network: Powerprop

    def data(self, state: State, batch: Batch, *key: str | int) -> Data:
        """``batch`` as the network's loss takes it; ``key`` tells apart the times a batch is shown."""
        target = self.network.target(batch.x, batch.y, int(state["seed"]), batch.position, *key)
        return Data(batch.x, target)

    @abstractmethod
    def weights_for(self, state: State, task: Task | None = None) -> Params:
        """theta: the effective weights that ``task`` is answered with, without a graph."""

    @torch.no_grad()
    def predict(self, state: State, x: Tensor, task: Task | None = None) -> Tensor | None:
        """The network's outputs under `weights_for` ``task``."""
        return self.network.network(self.weights_for(state, task), x)


def no_copies(theta: Params, names: Iterable[str]) -> Params:
    """What is kept for each task [T, ...] before the first has ended: nothing yet of the parameters ``names``."""
    return {k: theta[k].new_zeros(0, *theta[k].shape) for k in names}


def with_copy(own: Params, theta: Params) -> Params:
    """``own`` [T, ...] with the present values of its parameters as those of one task more."""
    return {k: torch.cat([v, theta[k][None].to(v)]) for k, v in own.items()}


def copy_of(own: Params, index: int) -> Params:
    """What is kept for the ended task number ``index``."""
    return {k: v[index] for k, v in own.items()}
