"""Top-KAST: always sparse forward, nearly as sparse backward (TOPKAST20; powerprop sheet, section 5).

    A = the largest D of the weights by abs(theta), tensor by tensor;  O = the largest D_b, which holds A
    gradient + lambda theta on A,  + lambda theta / D on O minus A

Weights in O but not in A are out of use and move by the gradient as if they were in; those outside O do not move. The
penalty is stronger on the ones out of use, so that a weight must earn its place.

Symbols and arguments: D ``kept``, D_b ``backward_kept`` (1: all weights move, "0 % backward sparsity"), lambda
``penalty``.

>>> import torch
>>> from frisket.algos.networks.mlp import MLP, MLPConfig
>>> from frisket.types import Batch
>>> network = MLP(MLPConfig(hidden=(8,)), in_channels=1, size=4, ways=2)
>>> learner = TopKAST(TopKASTConfig(kept=0.25, backward_kept=0.5, every=1), network)
>>> batch = Batch(torch.rand(4, 1, 4, 4), torch.tensor([0, 0, 1, 1]), position=0)
>>> state, _ = learner.observe(learner.init(seed=0), batch)
>>> int(state["active"]["fc1.weight"].sum()), int(state["open"]["fc1.weight"].sum())
(32, 64)
"""

from __future__ import annotations

from dataclasses import dataclass

from frisket.algos.learner import Method
from frisket.algos.learners.sparse.learner import LOGGED, Sets, SparseConfig, SparseLearner
from frisket.algos.masks.select import ones
from frisket.algos.networks.network import Network
from frisket.errors import require
from frisket.types import Params, State


@dataclass(frozen=True, kw_only=True)
class TopKASTConfig(SparseConfig):
    """Top-KAST; further fields are those of `SparseConfig`.

    Attributes:
        backward_kept: D_b, fraction of the weights that move.
        penalty: lambda.
    """

    backward_kept: float = 1.0
    penalty: float = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        allowed = f"at least kept = {self.kept} and at most 1"
        require(self.kept <= self.backward_kept <= 1, "backward_kept", self.backward_kept, allowed)
        require(self.penalty >= 0, "penalty", self.penalty, "at least 0")


class TopKAST(SparseLearner):
    """Top-KAST. State: that of `SparseLearner`."""

    config: TopKASTConfig

    def __init__(self, config: TopKASTConfig, network: Network) -> None:
        super().__init__(config, network)

    def first_sets(self, phi: Params, seed: int) -> Sets:
        ranking = self.ranking(phi)
        return Sets(ranking.keep(self.config.kept), ranking.keep(self.config.backward_kept))

    def renewed(self, state: State, grads: Params, step: int) -> State:
        active, open_ = self.first_sets(state["theta"], 0)
        return {**state, "active": active, "open": open_}

    def regularised(self, grads: Params, theta: Params, state: State) -> Params:
        strong = self.config.penalty / self.config.kept
        pulls = {}
        for k, mask in state["active"].items():
            active, moving = (ones(one, theta[k].dtype) for one in (mask, state["open"][k]))
            pulls[k] = (self.config.penalty * active).add_(1 - active, alpha=strong).mul_(moving)
        return {k: g + pulls[k] * theta[k] if k in pulls else g for k, g in grads.items()}


METHODS = (
    Method(
        name="top-kast",
        config=TopKASTConfig,
        build=TopKAST,
        summary="the largest weights are used, more are learned",
        page="sparse-training",
        logged={**LOGGED},
        quick={"lr": 0.01, "every": 2},
    ),
)
