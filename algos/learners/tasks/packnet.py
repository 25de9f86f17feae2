"""PackNet: every task keeps a fixed share of the weights the tasks before it left over (PACKNET18; powerprop sheet,
section 6).

Training, protection and retraining are those of `frisket.algos.learners.tasks.protecting`. When task k has been
trained on, every tensor is pruned by itself: of the weights no earlier task owns, the share q with the smallest
magnitudes goes back to 0 and stays free; the others are task k's from then on. A task answers with its own weights and
all older ones:

    F_k = not B  or  (the largest (1 - q) |B| of abs(theta) where B)          tensor by tensor

q comes from ``prune``, task by task, its last entry for all tasks after; or, with the number of tasks T known, from
``q_k = (T - k) / (T - k + 1)``, k = 1 .. T, which leaves every task 1/T of each tensor.

Where we differ from the released code: the first task is trained from a random start, not a pre-trained network, so
biases and batch norm are trained in it and frozen before it is pruned; a tensor keeps exactly the number the share asks
for, where the code compares with a cutoff.

>>> import torch
>>> from frisket.algos.networks.mlp import MLP, MLPConfig
>>> from frisket.types import Batch, Task, TaskEnd
>>> learner = PackNet(PackNetConfig(tasks=2), MLP(MLPConfig(hidden=(8,)), in_channels=1, size=4, ways=2))
>>> x, y, task = torch.rand(4, 1, 4, 4), torch.tensor([0, 0, 1, 1]), Task("first", (0, 1), start=0)
>>> end = TaskEnd(1, lambda i: Batch(x, y, i, task), lambda: (x, y))
>>> state, metrics = learner.observe(learner.init(seed=0), Batch(x, y, position=0, task=task, end=end))
>>> metrics["kept"], metrics["capacity_free"]
(0.5, 0.5)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from frisket.algos.learner import Method
from frisket.algos.learners.tasks.protecting import ProtectingConfig, ProtectingLearner
from frisket.algos.masks.search import Chosen, Room, Shares, largest_free
from frisket.algos.networks.network import Network
from frisket.types import State, TaskEnd


@dataclass(frozen=True, kw_only=True)
class PackNetConfig(Shares, ProtectingConfig):
    """PackNet; further fields are those of `Shares` and `ProtectingConfig`."""

    head: Literal["masked", "per_task"] = "per_task"
    refill: Literal["redraw", "zero"] = "zero"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_shares()


class PackNet(ProtectingLearner):
    """PackNet. State: that of `ProtectingLearner`."""

    config: PackNetConfig

    def __init__(self, config: PackNetConfig, network: Network) -> None:
        super().__init__(config, network)

    def choose(self, state: State, end: TaskEnd) -> Chosen:
        theta = {name: state["theta"][name] for name in state["free"]}
        return Chosen(largest_free(theta, state["free"], self.config.share(len(state["starts"]))), {})

    def room(self, state: State) -> Room:
        return self.config.room([v.numel() for v in state["free"].values()])


METHODS = (
    Method(
        name="packnet",
        config=PackNetConfig,
        build=PackNet,
        summary="every task owns a share of the weights and uses all older ones",
        page="packnet",
        logged={
            "loss_before": "mean cross-entropy of the batch before learning from it",
            "kept": "at a task's end: fraction of the weights it answers with",
            "reused": "at a task's end: fraction of those that older tasks own",
            "capacity_free": "at a task's end: fraction of the weights that no task owns",
        },
        quick={"lr": 0.01},
    ),
)
