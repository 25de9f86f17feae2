"""Sync-La-MAML: La-MAML whose weights take a scalar outer rate (lamaml spec, section 4).

    alpha <- alpha - eta clip_c(G_alpha)
    theta <- theta - beta clip_c(G_theta)                          alpha never touches the outer step

Symbols and arguments: beta ``outer_lr``, eta ``alpha_lr``, first alpha ``alpha_init``.

>>> import torch
>>> from frisket.algos.networks.mlp import MLP, MLPConfig
>>> from frisket.types import Batch
>>> learner = SyncLaMAML(SyncLaMAMLConfig(glances=1), MLP(MLPConfig(hidden=(8,)), in_channels=1, size=4, ways=2))
>>> state = learner.init(seed=0)
>>> batch = Batch(torch.rand(4, 1, 4, 4), torch.tensor([0, 0, 1, 1]), position=0)
>>> state, metrics = learner.observe(state, batch)
>>> sorted(metrics)
['loss_before', 'outer_loss']
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from frisket.algos.learner import Method
from frisket.algos.learners.look_ahead.gradient import LookAhead
from frisket.algos.learners.look_ahead.la_maml import LearnedRateConfig
from frisket.algos.learners.look_ahead.learner import LOGGED, LookAheadLearner, descend_replicas
from frisket.algos.networks.network import Network
from frisket.errors import require
from frisket.types import Params


@dataclass(frozen=True, kw_only=True)
class SyncLaMAMLConfig(LearnedRateConfig):
    """Sync-La-MAML. Attributes: outer_lr: beta, plain SGD rate of theta."""

    packed: ClassVar[tuple[str, ...]] = (*LearnedRateConfig.packed, "outer_lr")

    outer_lr: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.outer_lr > 0, "outer_lr", self.outer_lr, "above 0")


class SyncLaMAML(LookAheadLearner):
    """Sync-La-MAML. State: as `LookAheadLearner`, ``m`` being alpha."""

    config: SyncLaMAMLConfig

    def __init__(self, config: SyncLaMAMLConfig, network: Network) -> None:
        super().__init__(config, network)

    def outer(self, theta: Params, m: Params, ahead: LookAhead, along: Params, hyper: Params) -> tuple[Params, Params]:
        return (
            descend_replicas(theta, hyper["outer_lr"], ahead.theta),
            descend_replicas(m, hyper["alpha_lr"], along),
        )


METHODS = (
    Method(
        name="sync-la-maml",
        config=SyncLaMAMLConfig,
        build=SyncLaMAML,
        summary="La-MAML whose weights move at one scalar rate",
        page="la-maml",
        logged={**LOGGED},
        quick={"alpha_init": 0.02, "alpha_lr": 0.002, "outer_lr": 0.03},
        meta=("theta", "m"),
    ),
)
