"""EWC, elastic weight consolidation, with the Fisher information of its paper (powerprop sheet, sections 8 and 9).

When task t ends with the weights theta*_t, F_t is the mean over its samples of the squared gradient of the label's
log-likelihood. Later tasks are learned with

    loss + lambda/2 sum_t sum_i F_t,i (theta_i - theta*_t,i)^2

of which only one precision and one anchor per weight have to be kept (`frisket.algos.parts.importance.EWCPenalty`).
Under Powerpropagation theta is phi throughout, and F_t is J^2 times that of the effective weights.

`replay-ewc` is another method of that name: F there is the square of a mean gradient over a few samples, without the
1/2.

Symbols and arguments: lambda ``strength``.

>>> import torch
>>> from frisket.algos.networks.mlp import MLP, MLPConfig
>>> from frisket.types import Batch, Task, TaskEnd
>>> learner = ewc_fisher(EWCFisherConfig(), MLP(MLPConfig(hidden=(8,)), in_channels=1, size=4, ways=2))
>>> x, y, task = torch.rand(4, 1, 4, 4), torch.tensor([0, 0, 1, 1]), Task("first", (0, 1), start=0)
>>> end = TaskEnd(1, lambda i: Batch(x, y, i, task), lambda: (x, y))
>>> state, _ = learner.observe(learner.init(seed=0), Batch(x, y, position=0, task=task, end=end))
>>> bool((state["penalty"]["precision"]["fc2.bias"] > 0).all())
True
"""

from __future__ import annotations

from dataclasses import dataclass

from frisket.algos.learner import Method
from frisket.algos.learners.tasks.regularised import LOGGED, FisherConfig, RegularisedLearner
from frisket.algos.networks.network import Network
from frisket.algos.parts.importance import EWCPenalty


@dataclass(frozen=True, kw_only=True)
class EWCFisherConfig(FisherConfig):
    """EWC; further fields are those of `FisherConfig`. Attributes: strength: lambda."""

    strength: float = 150.0


def ewc_fisher(config: EWCFisherConfig, network: Network) -> RegularisedLearner:
    """The learner."""
    return RegularisedLearner(config, network, EWCPenalty(config.strength), config.fisher_batches)


METHODS = (
    Method(
        name="ewc-fisher",
        config=EWCFisherConfig,
        build=ewc_fisher,
        summary="EWC with the mean of squared gradients, as its paper has it",
        page="ewc-fisher",
        logged={**LOGGED},
        quick={"lr": 0.01},
    ),
)
