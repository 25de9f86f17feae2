"""SI, synaptic intelligence (powerprop sheet, sections 8 and 9).

Over the steps of a task every weight adds up what it took off the loss; at the task's end, theta* being the weights now
and theta*_old those it began with,

    omega <- omega - dL/dtheta o (theta_new - theta_old)         at every step, L without the penalty
    Omega <- Omega + omega / ((theta* - theta*_old)^2 + xi);   omega <- 0

and later tasks are learned with ``loss + c/2 sum_i Omega_i (theta_i - theta*_i)^2``. No sample is looked at again.
Under Powerpropagation theta is phi throughout.

Omega is below 0 where a weight's way led upwards, and such a weight is then driven away from theta*; ``floor`` = 0 lets
it go free instead.

Symbols and arguments: c ``strength``, xi ``damping``.

>>> import torch
>>> from frisket.algos.networks.mlp import MLP, MLPConfig
>>> from frisket.types import Batch, Task
>>> learner = si(SIConfig(), MLP(MLPConfig(hidden=(8,)), in_channels=1, size=4, ways=2))
>>> x, y, task = torch.rand(4, 1, 4, 4), torch.tensor([0, 0, 1, 1]), Task("first", (0, 1), start=0)
>>> state, _ = learner.observe(learner.init(seed=0), Batch(x, y, position=0, task=task))
>>> bool((state["penalty"]["path"]["fc2.bias"] > 0).all())
True
"""

from __future__ import annotations

from dataclasses import dataclass

from frisket.algos.learner import Method
from frisket.algos.learners.tasks.regularised import LOGGED, PenaltyConfig, RegularisedLearner
from frisket.algos.networks.network import Network
from frisket.algos.parts.importance import SIPenalty
from frisket.errors import require


@dataclass(frozen=True, kw_only=True)
class SIConfig(PenaltyConfig):
    """SI; further fields are those of `PenaltyConfig`.

    Attributes:
        strength: c.
        damping: xi.
        floor: least Omega, after every task; null for none, as published.
    """

    strength: float = 10.0
    damping: float = 1e-6
    floor: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.damping > 0, "damping", self.damping, "above 0")


def si(config: SIConfig, network: Network) -> RegularisedLearner:
    """The learner."""
    return RegularisedLearner(config, network, SIPenalty(config.strength, config.damping, config.floor))


METHODS = (
    Method(
        name="si",
        config=SIConfig,
        build=si,
        summary="synaptic intelligence: weights are held as much as they lowered the loss",
        page="si",
        logged={**LOGGED},
        quick={"lr": 0.01},
    ),
)
