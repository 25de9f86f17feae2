"""Learners that answer every task with one set of weights, and what they keep for each task."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterable

import torch

from frisket.algos.learner import TaskWeights
from frisket.algos.networks.network import Network
from frisket.algos.networks.powerprop import Powerprop
from frisket.types import Batch, Data, Params, State


class TaskWeightsLearner(TaskWeights, ABC):
    """`TaskWeights` over a network with or without Powerpropagation.

    State: among others ``starts`` [T], where the tasks that have ended began, if anything is kept for them.

    Attributes: network: what learns, its parameters being phi; ``network.network`` computes with theta.
    """

    network: Powerprop

    @property
    def computes(self) -> Network:
        return self.network.network

    def starts(self, state: State) -> list[int]:
        return state["starts"].tolist() if "starts" in state else []

    def data(self, state: State, batch: Batch, *key: str | int) -> Data:
        """``batch`` as the network's loss takes it; ``key`` tells apart the times a batch is shown."""
        target = self.network.target(batch.x, batch.y, int(state["seed"]), batch.position, *key)
        return Data(batch.x, target)


def no_copies(theta: Params, names: Iterable[str]) -> Params:
    """What is kept for each task [T, ...] before the first has ended: nothing yet of the parameters ``names``."""
    return {k: theta[k].new_zeros(0, *theta[k].shape) for k in names}


def with_copy(own: Params, theta: Params) -> Params:
    """``own`` [T, ...] with the present values of its parameters as those of one task more."""
    return {k: torch.cat([v, theta[k][None].to(v)]) for k, v in own.items()}


def copy_of(own: Params, index: int) -> Params:
    """What is kept for the ended task number ``index``."""
    return {k: v[index] for k, v in own.items()}
