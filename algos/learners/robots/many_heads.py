"""Methods that learn from transitions of several tasks at once (continual_world spec, section 5): what they share.

The output layers of all tasks are in one network, for actor and critics, and a transition says which is its own: the
task's number is the last of its observation in memory, which chooses the output layer and nothing else
(`frisket.algos.networks.layer_norm_mlp.ManyHeads`). There is an entropy coefficient for each task. Tasks are numbered
as they are met.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from frisket.algos.learners.robots.learner import RobotLearner, RobotLearnerConfig
from frisket.algos.networks.layer_norm_mlp import ManyHeads
from frisket.algos.networks.network import Network
from frisket.algos.networks.powerprop import Powerprop
from frisket.errors import SpecError, require
from frisket.types import Metrics, Params, State, Task, TaskEnd

if TYPE_CHECKING:
    from frisket.algos.sac.many_heads import ManyHeadsSAC


@dataclass(frozen=True, kw_only=True)
class ManyHeadsConfig(RobotLearnerConfig):
    """Attributes: tasks: T, output layers, of which every task takes one."""

    tasks: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.tasks >= 1, "tasks", self.tasks, "at least 1")


class ManyHeadsLearner(RobotLearner):
    """State: that of `RobotLearner`, with all output layers in ``theta`` and ``critics``, ``log_eta`` [T], nothing in
    ``own``; ``met``, what the tasks that have a number are known by (`mark`), in its order; ``number``, the running
    one's.

    Raises:
        SpecError: as `RobotLearner`.
    """

    def __init__(self, config: ManyHeadsConfig, network: Network) -> None:
        super().__init__(config, network)
        self.config, self.entropies, self.most_tasks = config, config.tasks, config.tasks
        self.single, inputs, tasks = self.plain, self.plain.inputs, config.tasks
        self.plain: ManyHeads = ManyHeads(self.single, tasks=tasks, column=inputs)
        self.critic = ManyHeads(self.critic, tasks=tasks, column=inputs)
        self.network = Powerprop(self.plain, self.network.alpha)
        self.seen = inputs + 1
        self.require_room()

    @property
    def computes(self) -> Network:
        return self.single

    @property
    def own(self) -> tuple[str, ...]:
        return ()

    @property
    def agent(self) -> type[ManyHeadsSAC]:
        from frisket.algos.sac.many_heads import ManyHeadsSAC

        return ManyHeadsSAC

    def init(self, seed: int, warm_start: State | None = None) -> State:
        none = torch.zeros(0, dtype=torch.int64)
        return {**super().init(seed, warm_start), "met": none, "number": torch.zeros((), dtype=torch.int64)}

    def mark(self, task: Task) -> int:
        """What ``task`` is known by."""
        return task.start

    @torch.no_grad()
    def weights_for(self, state: State, task: Task | None = None) -> Params:
        """Those of the actor, with the output layer of ``task``; the newest's of a task that has not begun."""
        met, theta = state["met"].tolist(), self.network.effective(state["theta"]).theta
        number = met.index(self.mark(task)) if task is not None and self.mark(task) in met else max(len(met) - 1, 0)
        return {**theta, **self.plain.head_of(theta, number)}

    def noted(self, state: State, seen: Tensor) -> Tensor:
        return torch.cat([seen, torch.full_like(seen[:, :1], float(state["number"]))], 1)

    def end(self, state: State, task: Task, end: TaskEnd) -> tuple[State, Metrics]:
        return self.ended(state, task, {}), {}

    def told(self, state: State, task: Task) -> State:
        """``state`` with ``task`` as the running one, which has a number from now on."""
        met, mark = state["met"].tolist(), self.mark(task)
        if mark not in met:
            if len(met) == self.config.tasks:
                fix = "at least the number of the stream's tasks, each of which takes an output layer"
                raise SpecError("learner.tasks", self.config.tasks, f"must be {fix}")
            met = [*met, mark]
        numbers = {"met": met, "number": met.index(mark), "running": task.start}
        return {**state, **{name: state[name].new_tensor(value) for name, value in numbers.items()}}

    def fresh(self, state: State) -> State:
        """``state`` as a task begins with it, but for the memory."""
        fresh = {**state, "acted": torch.zeros_like(state["acted"])}
        return {**fresh, "optimiser": self._fresh_optimisers(fresh)}
