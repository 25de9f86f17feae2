"""One optimiser step per batch, with any optimiser, on any network with or without Powerpropagation: what learners that
take tasks one after the other share.

A step goes by virtual target (`frisket.algos.parts.virtual_target.step`), a task's end comes with its last batch. What
a network says is a task's own (`Network.private`) is then put away for the task, and drawn anew for the next one.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod

import torch

from frisket.algos.inner.start import weights_start
from frisket.algos.learner import require_task
from frisket.algos.learners.tasks.weights import TaskWeightsLearner
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.masks.protection import copy_of, no_copies, with_copy
from frisket.algos.networks.network import Network
from frisket.algos.networks.powerprop import Effective, as_powerprop
from frisket.algos.parts import virtual_target
from frisket.algos.parts.optimiser import OptimiserConfig, build_optimiser
from frisket.errors import require
from frisket.rng import torch_generator
from frisket.types import Batch, Data, Metrics, Params, State, Task, TaskEnd


class TaskLearner(TaskWeightsLearner, ABC):
    """Subclasses say how one batch is learned and what the end of a task changes.

    State: ``seed, step``; ``theta``, the network's parameters (phi under Powerpropagation); ``optimiser``; of a network
    with private parameters ``starts`` [T], where the tasks that have ended began, and ``own``, their private parameters
    [T, ...]; a method adds to it.

    Args:
        config: the optimiser.
        network: what learns.
        fresh_optimiser: the optimiser starts afresh with every task.

    Raises:
        SpecError: the optimiser is to go on over private parameters, which do not.
    """

    def __init__(self, config: OptimiserConfig, network: Network, *, fresh_optimiser: bool = False) -> None:
        self.config, self.network = config, as_powerprop(network)
        self.optimiser, self.fresh_optimiser = build_optimiser(config), fresh_optimiser
        if network.private or fresh_optimiser:
            self.capabilities = dataclasses.replace(self.capabilities, needs_task=True, ends_tasks=True)
        fits = fresh_optimiser or not network.private
        require(fits, "fresh_optimiser", False, "true with a network whose tasks have parameters of their own")

    @abstractmethod
    def learn(self, state: State, data: Data) -> tuple[State, Metrics]:
        """The state after one step on ``data``, and what it measured."""

    def finish(self, state: State, end: TaskEnd) -> State:
        """The state once a task has ended; only a method that declares ``ends_tasks`` is asked."""
        return {**state, "optimiser": self.optimiser.init(state["theta"])} if self.fresh_optimiser else state

    def init(self, seed: int, warm_start: State | None = None) -> State:
        start = weights_start(self.network, seed, warm_start)
        state = {**start, "optimiser": self.optimiser.init(start["theta"])}
        if not self.network.private:
            return state
        own = no_copies(start["theta"], self.network.private)
        return {**state, "starts": torch.zeros(0, dtype=torch.int64), "own": own}

    @torch.no_grad()
    def weights_for(self, state: State, task: Task | None = None) -> Params:
        """theta; of a task that has ended, with its own private parameters."""
        phi = state["theta"]
        if self.network.private and task is not None and task.start in (starts := self.starts(state)):
            phi = {**phi, **copy_of(state["own"], starts.index(task.start))}
        return self.network.effective(phi).theta

    @torch.no_grad()
    def observe(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        if self.capabilities.needs_task:
            require_task(self, batch)
        state, metrics = self.learn(state, self.data(state, batch))
        if self.capabilities.ends_tasks and batch.end is not None:
            state = self.finish(state, batch.end)
            if batch.task is not None and self.network.private:
                state = self._put_away(state, batch.task)
        return {**state, "step": state["step"] + 1}, metrics

    def _put_away(self, state: State, task: Task) -> State:
        """The state with the private parameters kept for ``task``, which has ended, and drawn anew."""
        theta, ended = state["theta"], len(state["starts"])
        drawn = self.network.init(torch_generator(int(state["seed"]), "refill", ended))
        return {
            **state,
            "theta": {k: drawn[k].to(v) if k in self.network.private else v for k, v in theta.items()},
            "starts": torch.cat([state["starts"], state["starts"].new_tensor([task.start])]),
            "own": with_copy(state["own"], theta),
        }

    def masks(self, state: State) -> MaskSet:
        return MaskSet({})

    def stepped(self, state: State, effective: Effective, grads: Params) -> tuple[Params, State]:
        """``(theta, optimiser)`` of ``state`` after a step.

        Args:
            effective: `Powerprop.effective` of the weights before it.
            grads: gradient by what is ``effective``, of all weights.
        """
        return virtual_target.step(
            self.optimiser, state["theta"], grads, effective, state["optimiser"], lr=self.config.lr
        )
