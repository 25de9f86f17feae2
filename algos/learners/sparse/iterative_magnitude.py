"""Iterative magnitude pruning: weights are taken out while the network trains (powerprop sheet, section 5).

    A = the largest weights by abs(theta), as many as the schedule keeps at step t;  O = A
    kept_t = 1 - s_f (1 - (1 - (t - t0) / (t1 - t0))^3)

Before t0 all weights are in use, from t1 on the fraction 1 - s_f. A weight that is out keeps its value, so it can come
back when A is chosen anew.

Symbols and arguments: 1 - s_f ``kept``, t0 ``first``, t1 ``last``.

>>> import torch
>>> from frisket.algos.networks.mlp import MLP, MLPConfig
>>> from frisket.types import Batch
>>> network = MLP(MLPConfig(hidden=(8,)), in_channels=1, size=4, ways=2)
>>> learner = IterativeMagnitude(IterativeMagnitudeConfig(kept=0.25, first=0, last=4, every=2), network)
>>> state = learner.init(seed=0)
>>> for t in range(4):
...     state, _ = learner.observe(state, Batch(torch.rand(4, 1, 4, 4), torch.tensor([0, 0, 1, 1]), position=t))
>>> int(state["active"]["fc1.weight"].sum()), int(state["active"]["fc2.weight"].sum())
(32, 8)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from frisket.algos.learner import Method
from frisket.algos.learners.sparse.learner import LOGGED, Sets, SparseConfig, SparseLearner
from frisket.algos.masks.ranking import cubic_kept
from frisket.algos.networks.network import Network
from frisket.errors import require
from frisket.types import Params, State


@dataclass(frozen=True, kw_only=True)
class IterativeMagnitudeConfig(SparseConfig):
    """Iterative magnitude pruning; further fields are those of `SparseConfig`.

    Attributes:
        first: t0, the step up to which all weights are in use.
        last: t1, the step from which ``kept`` of them are.
    """

    first: int = 1000
    last: int = 10_000

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.first < self.last, "first", self.first, f"at least 0 and below last = {self.last}")


class IterativeMagnitude(SparseLearner):
    """Iterative magnitude pruning. State: that of `SparseLearner`."""

    config: IterativeMagnitudeConfig

    def __init__(self, config: IterativeMagnitudeConfig, network: Network) -> None:
        super().__init__(config, network)

    def first_sets(self, phi: Params, seed: int) -> Sets:
        everything = {k: torch.ones_like(v, dtype=torch.bool) for k, v in phi.items()}
        return Sets(everything, everything)

    def renewed(self, state: State, grads: Params, step: int) -> State:
        kept = cubic_kept(step, self.config.first, self.config.last, self.config.kept)
        masks = self.ranking(state["theta"]).keep(kept)
        return {**state, "active": masks, "open": masks}


METHODS = (
    Method(
        name="iterative-magnitude",
        config=IterativeMagnitudeConfig,
        build=IterativeMagnitude,
        summary="the smallest weights are taken out while the network trains",
        page="sparse-training",
        logged={**LOGGED},
        quick={"lr": 0.01, "every": 2, "first": 0, "last": 20},
    ),
)
