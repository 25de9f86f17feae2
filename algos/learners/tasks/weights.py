"""Learners that answer every task with one set of weights, with or without Powerpropagation."""

from __future__ import annotations

from abc import ABC

from frisket.algos.learner import TaskWeights
from frisket.algos.networks.network import Network
from frisket.algos.networks.powerprop import Powerprop
from frisket.types import Batch, Data, State


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
