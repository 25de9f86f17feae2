"""PackNet on an actor: every task keeps a fixed share of the weights the tasks before it left over (PACKNET18;
continual_world spec, section 6).

Protection and retraining are those of `frisket.algos.learners.robots.protecting`, the shares those of
`frisket.algos.masks.search`: with the number of tasks T known, task k = 1 .. T takes ``1 / (T - k + 1)`` of what is
free of every kernel, the largest, which leaves every task 1/T. Free weights start a task at 0, as in the released code.

Where we differ from that code: a kernel keeps exactly the number the share asks for, where the code compares with a
cutoff; the last task is pruned and retrained as the others are, which changes nothing of what it owns.

>>> from frisket.algos.contract.toys import line_batch
>>> from frisket.algos.networks.layer_norm_mlp import LayerNormMLP, LayerNormMLPConfig
>>> network = LayerNormMLP(LayerNormMLPConfig(hidden=(8,)), inputs=1, ways=2)
>>> learner = SACPackNet(SACPackNetConfig(tasks=2, memory_slots=100, retrain_steps=0), network)
>>> state = learner.init(seed=0)
>>> for position in range(3):  # the third ends a task
...     state, metrics = learner.observe(state, line_batch(position, (1, 1, 1)))
>>> metrics["kept"], metrics["capacity_free"]
(0.5, 0.5)
"""

from __future__ import annotations

from dataclasses import dataclass

from frisket.algos.learner import Method
from frisket.algos.learners.robots.learner import QUICK
from frisket.algos.learners.robots.protecting import LOGGED, ProtectingRobotConfig, ProtectingRobotLearner
from frisket.algos.masks.protection import Refill
from frisket.algos.masks.search import Chosen, Room, Shares, largest_free
from frisket.algos.networks.network import Network
from frisket.types import State, Task, TaskEnd


@dataclass(frozen=True, kw_only=True)
class SACPackNetConfig(Shares, ProtectingRobotConfig):
    """PackNet on an actor; the fields are those of `Shares` and `ProtectingRobotConfig`."""

    refill: Refill = "zero"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_shares()


class SACPackNet(ProtectingRobotLearner):
    """PackNet on an actor. State: that of `ProtectingRobotLearner`."""

    config: SACPackNetConfig

    def __init__(self, config: SACPackNetConfig, network: Network) -> None:
        super().__init__(config, network)
        self.most_tasks = config.tasks

    def choose(self, state: State, task: Task, end: TaskEnd) -> Chosen:
        theta = {name: state["theta"][name] for name in state["free"]}
        return Chosen(largest_free(theta, state["free"], self.config.share(len(state["starts"]))), {})

    def room(self, state: State) -> Room:
        return self.config.room([v.numel() for v in state["free"].values()])


METHODS = (
    Method(
        name="sac-packnet",
        config=SACPackNetConfig,
        build=SACPackNet,
        summary="soft actor-critic whose tasks own a share of the actor's weights each and use all older ones",
        page="continual-world",
        logged=LOGGED,
        quick={**QUICK, "retrain_steps": 4},
        tried_on="layer-norm-mlp",
    ),
)
