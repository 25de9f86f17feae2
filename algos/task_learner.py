"""One optimiser step per batch, with any optimiser, on any network with or without Powerpropagation: what learners that
take tasks one after the other share.

A step goes by virtual target (`frisket.algos.powerprop.step`), a task's end comes with its last batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from frisket.algos import powerprop
from frisket.algos.inner import Data
from frisket.algos.learner import Learner, require_task
from frisket.algos.masks import MaskSet
from frisket.algos.networks.network import Network
from frisket.algos.optimiser import OptimiserConfig, build_optimiser
from frisket.algos.powerprop import Effective, as_powerprop
from frisket.algos.start import weights_start
from frisket.types import Batch, Metrics, Params, State, Task, TaskEnd


class TaskLearner(Learner, ABC):
    """Subclasses say how one batch is learned and what the end of a task changes.

    State: ``seed, step``; ``theta``, the network's parameters (phi under Powerpropagation); ``optimiser``; a method
    adds to it.

    Args:
        config: the optimiser.
        network: what learns.
    """

    def __init__(self, config: OptimiserConfig, network: Network) -> None:
        self.config, self.network = config, as_powerprop(network)
        self.optimiser = build_optimiser(config)

    @abstractmethod
    def learn(self, state: State, data: Data) -> tuple[State, Metrics]:
        """The state after one step on ``data``, and what it measured."""

    def finish(self, state: State, end: TaskEnd) -> State:
        """The state once a task has ended; only a method that declares ``ends_tasks`` is asked."""
        return state

    def init(self, seed: int, warm_start: State | None = None) -> State:
        start = weights_start(self.network, seed, warm_start)
        return {**start, "optimiser": self.optimiser.init(start["theta"])}

    @torch.no_grad()
    def predict(self, state: State, x: Tensor, task: Task | None = None) -> Tensor | None:
        """Logits under theta."""
        return self.network.network(self.network.effective(state["theta"]).theta, x)

    @torch.no_grad()
    def observe(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        if self.capabilities.needs_task:
            require_task(self, batch)
        state, metrics = self.learn(state, Data(batch.x, batch.y))
        if self.capabilities.ends_tasks and batch.end is not None:
            state = self.finish(state, batch.end)
        return {**state, "step": state["step"] + 1}, metrics

    def masks(self, state: State) -> MaskSet:
        return MaskSet({})

    def stepped(self, state: State, effective: Effective, grads: Params) -> tuple[Params, State]:
        """``(theta, optimiser)`` of ``state`` after a step.

        Args:
            effective: `Powerprop.effective` of the weights before it.
            grads: gradient by what is ``effective``, of all weights.
        """
        return powerprop.step(self.optimiser, state["theta"], grads, effective, state["optimiser"], lr=self.config.lr)
