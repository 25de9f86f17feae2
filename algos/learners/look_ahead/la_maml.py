"""La-MAML: a learned rate for every weight, and the weight waits for its new rate (lamaml spec, section 3).

    phi_{k+1} = phi_k - s o grad L(phi_k, chunk_k)                 s = max(alpha, 0)   (`inner_rate` raw: alpha)
    alpha <- alpha - eta clip_c(G_alpha)
    theta <- theta - max(alpha_new, 0) o clip_c(G_theta)           the look-ahead: the new alpha moves theta

On MNIST G_alpha carries 1[alpha > 0], so a rate that falls to 0 is closed for ever, and its weight with it.

Symbols and arguments: first alpha ``alpha_init``, eta ``alpha_lr``; the rest in `LookAheadConfig`. What the paper
writes and the released code does otherwise: ``meta_loss: sum``, ``reservoir: textbook``; ``inner_rate: raw`` and an
``inner_clamp`` are the code's CIFAR settings.

>>> import torch
>>> from frisket.algos.networks.mlp import MLP, MLPConfig
>>> from frisket.types import Batch
>>> learner = LaMAML(LaMAMLConfig(glances=1), MLP(MLPConfig(hidden=(8,)), in_channels=1, size=4, ways=2))
>>> state = learner.init(seed=0)
>>> state, metrics = learner.observe(state, Batch(torch.rand(4, 1, 4, 4), torch.tensor([0, 0, 1, 1]), position=0))
>>> sorted(metrics)
['loss_before', 'outer_loss']
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from frisket.algos.inner.first_m import Constant
from frisket.algos.inner.modulation import EntrywiseModulation, PlainRelu, Raw
from frisket.algos.learner import Method
from frisket.algos.learners.look_ahead.gradient import LookAhead
from frisket.algos.learners.look_ahead.learner import (
    LOGGED,
    LookAheadConfig,
    LookAheadLearner,
    descend_replicas,
    step_down,
)
from frisket.algos.networks.network import Network
from frisket.errors import require
from frisket.types import Params


@dataclass(frozen=True, kw_only=True)
class LearnedRateConfig(LookAheadConfig):
    """A learned rate per weight.

    Attributes:
        alpha_init: first value of every alpha.
        alpha_lr: eta, plain SGD rate of alpha.
        inner_rate: ``relu`` (MNIST) or ``raw`` (CIFAR-100, TinyImageNet).
    """

    packed: ClassVar[tuple[str, ...]] = ("alpha_init", "alpha_lr")

    alpha_init: float = 0.15
    alpha_lr: float = 0.3
    inner_rate: Literal["relu", "raw"] = "relu"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.alpha_init > 0, "alpha_init", self.alpha_init, "above 0")
        require(self.alpha_lr >= 0, "alpha_lr", self.alpha_lr, "at least 0")

    def modulation(self, hyper: Params) -> EntrywiseModulation:
        return PlainRelu(Constant(self.alpha_init)) if self.inner_rate == "relu" else Raw(Constant(self.alpha_init))


@dataclass(frozen=True, kw_only=True)
class LaMAMLConfig(LearnedRateConfig):
    """La-MAML; all fields are those of its bases."""


class LaMAML(LookAheadLearner):
    """La-MAML. State: as `LookAheadLearner`, ``m`` being alpha."""

    config: LaMAMLConfig

    def __init__(self, config: LaMAMLConfig, network: Network) -> None:
        super().__init__(config, network)

    def outer(self, theta: Params, m: Params, ahead: LookAhead, along: Params, hyper: Params) -> tuple[Params, Params]:
        m = descend_replicas(m, hyper["alpha_lr"], along)
        return step_down(theta, {k: v.relu() for k, v in m.items()}, ahead.theta), m


METHODS = (
    Method(
        name="la-maml",
        config=LaMAMLConfig,
        build=LaMAML,
        summary="looks ahead with replay, one learned rate per weight",
        page="la-maml",
        logged={**LOGGED},
        quick={"alpha_init": 0.02, "alpha_lr": 0.002},
        meta=("theta", "m"),
    ),
)
