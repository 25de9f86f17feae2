"""Online Laplace, also Laplace propagation or online EWC (powerprop sheet, sections 8 and 9).

F_t is that of `frisket.algos.learners.tasks.ewc_fisher`, but all of them hold the weights near the latest task's end
theta*:

    loss + lambda/2 sum_i (sum_t F_t,i) (theta_i - theta*_i)^2

so that what a task moved away from an older task's end is accepted, where EWC would pull it back.

Symbols and arguments: lambda ``strength``.

>>> import torch
>>> from frisket.algos.networks.mlp import MLP, MLPConfig
>>> from frisket.types import Batch, Task, TaskEnd
>>> learner = online_laplace(OnlineLaplaceConfig(), MLP(MLPConfig(hidden=(8,)), in_channels=1, size=4, ways=2))
>>> x, y, task = torch.rand(4, 1, 4, 4), torch.tensor([0, 0, 1, 1]), Task("first", (0, 1), start=0)
>>> end = TaskEnd(1, lambda i: Batch(x, y, i, task), lambda: (x, y))
>>> state, _ = learner.observe(learner.init(seed=0), Batch(x, y, position=0, task=task, end=end))
>>> bool((state["penalty"]["anchor"]["fc2.bias"] == state["theta"]["fc2.bias"]).all())
True
"""

from __future__ import annotations

from dataclasses import dataclass

from frisket.algos.learner import Method
from frisket.algos.learners.tasks.regularised import LOGGED, FisherConfig, RegularisedLearner
from frisket.algos.networks.network import Network
from frisket.algos.parts.importance import LaplacePenalty


@dataclass(frozen=True, kw_only=True)
class OnlineLaplaceConfig(FisherConfig):
    """Online Laplace; further fields are those of `FisherConfig`. Attributes: strength: lambda."""

    strength: float = 250.0


def online_laplace(config: OnlineLaplaceConfig, network: Network) -> RegularisedLearner:
    """The learner."""
    return RegularisedLearner(config, network, LaplacePenalty(config.strength), config.fisher_batches)


METHODS = (
    Method(
        name="online-laplace",
        config=OnlineLaplaceConfig,
        build=online_laplace,
        summary="as ewc-fisher, about the latest weights alone",
        page="online-laplace",
        logged={**LOGGED},
        quick={"lr": 0.01},
    ),
)
