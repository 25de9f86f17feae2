"""MAML, and what adapts less of it: ANIL the output layer, BOIL all but it (MAML17, ANIL20, BOIL21; maml_family spec,
section 2).

    phi <- phi - alpha grad L(phi, support), K times from theta;   theta <- theta - Opt( grad_theta L(phi, query) )

`maml` goes through the inner steps with the derivative (second order), `fomaml` takes the gradient at phi for that at
theta (first order); the other two take either.

Symbols and arguments: K ``inner_steps``, alpha ``alpha``, gamma_theta ``outer_lr``.

>>> import torch
>>> from frisket.algos.networks.conv4 import Conv4, Conv4Config
>>> from frisket.types import Batch
>>> learner = anil(MAMLConfig(inner_steps=1), Conv4(Conv4Config(channels=2), in_channels=1, size=16, ways=2))
>>> episode = Batch(torch.rand(6, 1, 16, 16), torch.tensor([0, 1, 0, 0, 1, 1]), position=0, support=2)
>>> state = learner.init(seed=0)
>>> state, metrics = learner.apply(state, learner.gradients(state, [episode]))
>>> learner.predict(learner.adapted(state, episode), torch.rand(3, 1, 16, 16)).shape
torch.Size([3, 2])
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from frisket.algos.inner.modulation import FixedStep, Modulation
from frisket.algos.learner import Method
from frisket.algos.learners.fewshot.learner import LOGGED, EpisodicConfig, EpisodicLearner
from frisket.algos.networks.network import Adapting, Network
from frisket.errors import require


@dataclass(frozen=True, kw_only=True)
class FOMAMLConfig(EpisodicConfig):
    """Attributes: alpha: the constant inner step size."""

    alpha: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.alpha > 0, "alpha", self.alpha, "above 0")

    def modulation(self, network: Network) -> Modulation:
        return FixedStep(self.alpha)


@dataclass(frozen=True, kw_only=True)
class MAMLConfig(FOMAMLConfig):
    """As `FOMAMLConfig`, of second order."""

    order: Literal[1, 2] = 2


def anil(config: FOMAMLConfig, network: Network) -> EpisodicLearner:
    """ANIL: the output layer alone adapts."""
    return EpisodicLearner(config, Adapting(network, network.head))


def boil(config: FOMAMLConfig, network: Network) -> EpisodicLearner:
    """BOIL: everything adapts that adapts in MAML, but the output layer."""
    return EpisodicLearner(config, Adapting(network, tuple(k for k in network.adaptable if k not in network.head)))


def _row(
    name: str, build: Callable[[Any, Network], EpisodicLearner], config: type[FOMAMLConfig], summary: str
) -> Method:
    return Method(
        name=name, config=config, build=build, summary=summary, page="few-shot-maml",
        logged=LOGGED,
        quick={"inner_steps": 3, "alpha": 0.3, "outer_lr": 0.01, "meta_batch": 1}, tried_on="conv4", meta=("theta",),
    )  # fmt: skip


METHODS = (
    _row("maml", EpisodicLearner, MAMLConfig, "learns an initialisation that a few steps adapt to a task"),
    _row("fomaml", EpisodicLearner, FOMAMLConfig, "MAML with the first-order meta-gradient"),
    _row("anil", anil, FOMAMLConfig, "MAML that adapts the output layer alone"),
    _row("boil", boil, FOMAMLConfig, "MAML that adapts all but the output layer"),
)
