"""La-ER: rates learned by looking ahead, weights moved by plain experience replay (lamaml spec, section 4).

    alpha <- alpha - eta clip_c(G_alpha)                           G_alpha of the last inner step's loss alone
    theta <- theta - max(alpha_new, 0) o clip_c(grad L(theta; b_m))

The inner loop uses raw alpha and clamped gradients, and the batch is pushed after its last glance.

Symbols and arguments: first alpha ``alpha_init``, eta ``alpha_lr``.

>>> import torch
>>> from frisket.algos.networks.mlp import MLP, MLPConfig
>>> from frisket.types import Batch
>>> learner = LaER(LaERConfig(), MLP(MLPConfig(hidden=(8,)), in_channels=1, size=4, ways=2))
>>> state = learner.init(seed=0)
>>> batch = Batch(torch.rand(4, 1, 4, 4), torch.tensor([0, 0, 1, 1]), position=0)
>>> state, metrics = learner.observe(state, batch)
>>> int(state["memory"]["age"])
4
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from frisket.algos.learner import Method
from frisket.algos.learners.look_ahead.gradient import LookAhead, MetaLoss
from frisket.algos.learners.look_ahead.la_maml import LearnedRateConfig
from frisket.algos.learners.look_ahead.learner import LOGGED, LookAheadLearner, descend_replicas, step_down
from frisket.algos.networks.network import Network
from frisket.types import Params


@dataclass(frozen=True, kw_only=True)
class LaERConfig(LearnedRateConfig):
    """La-ER: the same fields, with the released code's values for it."""

    alpha_init: float = 0.1
    alpha_lr: float = 0.1
    glances: int = 1
    inner_rate: Literal["relu", "raw"] = "raw"
    inner_clamp: float | None = 2.0
    meta_loss: MetaLoss = "last"


class LaER(LookAheadLearner):
    """La-ER. State: as `LookAheadLearner`, ``m`` being alpha."""

    config: LaERConfig
    push_after_first_glance = False

    def __init__(self, config: LaERConfig, network: Network) -> None:
        super().__init__(config, network)

    def outer(self, theta: Params, m: Params, ahead: LookAhead, along: Params, hyper: Params) -> tuple[Params, Params]:
        m = descend_replicas(m, hyper["alpha_lr"], along)
        return step_down(theta, {k: v.relu() for k, v in m.items()}, ahead.plain()), m


METHODS = (
    Method(
        name="la-er",
        config=LaERConfig,
        build=LaER,
        summary="La-MAML's learned rates under experience replay",
        page="la-maml",
        logged={**LOGGED},
        quick={"alpha_init": 0.02, "alpha_lr": 0.002, "glances": 5},
        meta=("theta", "m"),
    ),
)
