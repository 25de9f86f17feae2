"""Prune and protect, on an actor (continual_world spec, sections 6 and 7): what PackNet and EfficientPackNet share.

The mechanism is that of the supervised methods (`frisket.algos.masks.protection`), over the actor's shared kernels; the
critics and the output layers are as `frisket.algos.learners.robots.learner` has them. B are the weights no task uses
yet, F_t those task t answers with. When a task has ended:

    F_t = the masks a method chooses (`ProtectingRobotLearner.choose`)
    retrain: ``retrain_steps`` updates on the task's memory, nothing new being seen, with the weights F_t alone; of the
        actor's kernels what F_t and B have moves, and its output layer; fresh optimisers before
    B <- B and not F_t; the weights still free start afresh

Biases and LayerNorm are learned in the first task and frozen before its retraining. A protected weight keeps its bits,
and task t answers with ``psi(phi) o F_t`` and its own output layer for ever after.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import ClassVar

import torch

from frisket.algos.learner import Capabilities, KeepsTasks
from frisket.algos.learners.robots.learner import LOGGED as LOGGED_BY_ALL
from frisket.algos.learners.robots.learner import RobotLearner, RobotLearnerConfig
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.masks.protection import Protection, Refill, copy_of
from frisket.algos.masks.search import Chosen
from frisket.algos.networks.network import Network
from frisket.algos.parts.kept_tasks import KeptTasks, answering
from frisket.errors import require
from frisket.types import Metrics, Params, State, Task, TaskEnd

LOGGED: Mapping[str, str] = MappingProxyType(
    {
        **LOGGED_BY_ALL,
        "kept": "at a task's end: fraction of the weights its mask keeps",
        "reused": "at a task's end: fraction of those that older tasks use too",
        "capacity_free": "at a task's end: fraction of the weights that no task uses",
    }
)
"""What these learners report."""


@dataclass(frozen=True, kw_only=True)
class ProtectingRobotConfig(RobotLearnerConfig):
    """Attributes:
    refill: what free weights start a task with: ``redraw`` their initial distribution, or ``zero``.
    retrain_steps: updates after a task's masks are chosen.
    """

    packed: ClassVar[tuple[str, ...]] = ("log_eta",)
    repeated: ClassVar[str] = "retrain_steps"

    refill: Refill = "redraw"
    retrain_steps: int = 100_000

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.retrain_steps >= 0, "retrain_steps", self.retrain_steps, "at least 0")


class ProtectingRobotLearner(RobotLearner, KeepsTasks):
    """What prune-and-protect methods of robots share; subclasses choose the masks.

    State: that of `RobotLearner`, and ``free, store`` of the `Protection`, whose ``own`` are the output layers.

    Raises:
        SpecError: free weights are to start from 0 in a network in which a weight at 0 never moves.
    """

    capabilities = Capabilities(needs_task=True, masks=True, ends_tasks=True, replay=True, acts=True)

    def __init__(self, config: ProtectingRobotConfig, network: Network) -> None:
        super().__init__(config, network)
        self.config = config
        movable = self.network.alpha == 1 or config.refill == "redraw"
        require(movable, "refill", config.refill, "redraw: with powerprop_alpha above 1 a weight at 0 never moves")

    @abstractmethod
    def choose(self, state: State, task: Task, end: TaskEnd) -> Chosen:
        """F_t of the task that has just been learned."""

    @cached_property
    def protection(self) -> Protection:
        """What keeps the weights of finished tasks."""
        return Protection(self.network.kernels, refill=self.config.refill, afresh=self.network.private)

    def tasks(self, state: State) -> KeptTasks:
        effective, own = self.network.effective, state["own"]
        return KeptTasks(
            network=self.plain,
            theta=effective(state["theta"]).theta,
            store=self.protection.store(state),
            own=lambda index: copy_of(own, index),
        )

    def init(self, seed: int, warm_start: State | None = None) -> State:
        state = super().init(seed, warm_start)
        return {**state, **self.protection.init(state["theta"], self.network.private)}

    @torch.no_grad()
    def weights_for(self, state: State, task: Task | None = None) -> Params:
        """Those of the task's own sub-network once it has ended, and of the whole network while it runs. A task that
        has not begun, or no task, is answered by the newest one."""
        index = answering(self.starts(state), task, running=int(state["running"]) >= 0)
        return self.network.effective(state["theta"]).theta if index is None else self.tasks(state).weights(index)

    def masks(self, state: State) -> MaskSet:
        """B: open where no task uses the weight."""
        return MaskSet(state["free"])

    def moving(self, state: State) -> list[str]:
        return self._unfrozen(state) if len(state["starts"]) else super().moving(state)

    def _unfrozen(self, state: State) -> list[str]:
        """Names of what moves once biases and LayerNorm are frozen."""
        return [k for k in state["theta"] if k in self.network.kernels or k in self.network.private]

    def open(self, state: State) -> Params:
        return self.protection.open(state)

    def _begin(self, state: State, task: Task) -> State:
        self.protection.require_free(state)
        return super()._begin(state, task)

    def end(self, state: State, task: Task, end: TaskEnd) -> tuple[State, Metrics]:
        chosen, metrics = self.choose(state, task, end)
        state = self._retrained(state, chosen)
        closed = self.protection.close(state, state["theta"], chosen, self.redrawn(state))
        return self.ended(state, task, {"theta": closed.weights, **closed.kept}), {**metrics, **closed.shares}

    def _retrained(self, state: State, masks: Params) -> State:
        if not self.config.retrain_steps or not int(state["memory"]["pushed"]):
            return state
        state = {**state, "optimiser": self._fresh_optimisers(state)}
        open_ = self.protection.open(state, within=masks)
        agent = self._bound(state, open_=open_, active=masks, moving=self._unfrozen(state))
        agent.train(self.config.retrain_steps, self.config.batch)
        return self._released(state, agent)
