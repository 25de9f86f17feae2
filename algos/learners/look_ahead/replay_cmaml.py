"""C-MAML of the La-MAML paper: look-ahead with replay at constant rates (lamaml spec, section 4).

    phi_{k+1} = phi_k - alpha grad L(phi_k, chunk_k)               alpha a constant
    theta <- theta - beta clip_c(G_theta)

Not to be confused with OSAKA's C-MAML (`frisket.algos.learners.online.cmaml`), which has no memory and detects task
switches.

Symbols and arguments: alpha ``alpha_init``, beta ``outer_lr``.

>>> import torch
>>> from frisket.algos.networks.mlp import MLP, MLPConfig
>>> from frisket.types import Batch
>>> learner = ReplayCMAML(ReplayCMAMLConfig(glances=1), MLP(MLPConfig(hidden=(8,)), in_channels=1, size=4, ways=2))
>>> state = learner.init(seed=0)
>>> batch = Batch(torch.rand(4, 1, 4, 4), torch.tensor([0, 0, 1, 1]), position=0)
>>> state, metrics = learner.observe(state, batch)
>>> int(state["memory"]["age"])
4
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from frisket.algos.inner.first_m import Constant
from frisket.algos.inner.modulation import EntrywiseModulation, Raw
from frisket.algos.learner import Capabilities, Method
from frisket.algos.learners.look_ahead.gradient import LookAhead
from frisket.algos.learners.look_ahead.learner import LOGGED, LookAheadConfig, LookAheadLearner, descend_replicas
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.networks.network import Network
from frisket.errors import require
from frisket.types import Params, State


@dataclass(frozen=True, kw_only=True)
class ReplayCMAMLConfig(LookAheadConfig):
    """Replay C-MAML.

    Attributes:
        alpha_init: alpha, the rate of the inner loop; 0 takes no inner steps, which is ER.
        outer_lr: beta, plain SGD rate of theta.
    """

    packed: ClassVar[tuple[str, ...]] = ("alpha_init", "outer_lr")

    alpha_init: float = 0.1
    outer_lr: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.alpha_init >= 0, "alpha_init", self.alpha_init, "at least 0")
        require(self.outer_lr > 0, "outer_lr", self.outer_lr, "above 0")

    def modulation(self, hyper: Params) -> EntrywiseModulation:
        return Raw(Constant(self.alpha_init))


class ReplayCMAML(LookAheadLearner):
    """Replay C-MAML. State: as `LookAheadLearner`, ``m`` being the constant rates."""

    config: ReplayCMAMLConfig
    capabilities = Capabilities(replay=True, meta_learns=True)

    def __init__(self, config: ReplayCMAMLConfig, network: Network) -> None:
        super().__init__(config, network)

    def masks(self, state: State) -> MaskSet:
        return MaskSet({})

    def outer(self, theta: Params, m: Params, ahead: LookAhead, along: Params, hyper: Params) -> tuple[Params, Params]:
        return descend_replicas(theta, hyper["outer_lr"], ahead.theta), m


METHODS = (
    Method(
        name="replay-cmaml",
        config=ReplayCMAMLConfig,
        build=ReplayCMAML,
        summary="looks ahead with replay at constant rates",
        page="la-maml",
        logged={**LOGGED},
        quick={"alpha_init": 0.02, "outer_lr": 0.03},
        meta=("theta", "m"),
    ),
)
