"""MMSUP, the multi-modal meta-supermask: an initialisation, and an adapter that says once for a task how much of each
layer adapts to it (GEMS, Algorithm 2; gems spec, section 3).

    G_i <- the largest weights of every layer l, a share 1 - s_l of them,  s = g(theta, its gradients on the support)
    phi <- phi - alpha G_i o grad L(phi, support), M times from theta
    theta <- theta - Opt( mean_i G_i o grad_theta L(phi_i, query_i) )             what is in no G_i stays
    g     <- g - Opt( grad_g sum_i L(phi_i, query_i) )                            straight-through in the masks

Symbols and arguments: M ``inner_steps``, alpha ``alpha``, beta ``gamma_m``, eta ``outer_lr``, s ``sparsity``, s_max
``sparsity_most``.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

from frisket.algos.inner.adapter import layers_of
from frisket.algos.inner.modulation import Modulation
from frisket.algos.inner.outer import OuterStep
from frisket.algos.inner.subnet import Score, Spread, Subnet
from frisket.algos.learner import Method
from frisket.algos.learners.fewshot.adapter import AdapterConfig
from frisket.algos.learners.fewshot.learner import LOGGED, EpisodicLearner
from frisket.algos.networks.network import Network
from frisket.algos.parts.optimiser import SGD
from frisket.errors import SpecError, require


@dataclass(frozen=True, kw_only=True)
class MMSUPConfig(AdapterConfig):
    """Attributes:
    sparsity: s, the share of each layer's weights that a task leaves as it is: ``learned``, by the adapter, or without
        one a number for all layers, or a list of them, one for each.
    sparsity_start: what every learned s is at first, but for what little the adapter sees.
    sparsity_most: s_max, what a learned s stays below.
    k_means_kept: whether s is the share that adapts and not the one that stays.
    score: weights are ranked within their tensor by their magnitude (``weight``), or by that of their product with the
        support's gradient (``weight_times_gradient``).
    spread: the derivative of a mask by its layer's s is -1 at every weight (``even``), or -1 on average and largest
        at the threshold (``threshold``).
    outer: what theta goes along: ``query``, the mean over tasks of the queries' gradient within each task's part, or
        ``eq7``, the support's gradient at the last inner step in its place, a step of plain SGD with rate alpha.
    """

    reduction: Literal["sum", "mean"] = "mean"
    features: Literal["pooled", "none"] = "none"
    sparsity: Literal["learned"] | float | tuple[float, ...] = "learned"
    sparsity_start: float = 0.1
    sparsity_most: float = 0.95
    k_means_kept: bool = False
    score: Score = "weight"
    spread: Spread = "even"
    outer: Literal["query", "eq7"] = "query"

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.sparsity if isinstance(self.sparsity, tuple) else (self.sparsity,)
        shares = given and all(s == "learned" or 0 <= s <= 1 for s in given)
        fix = "learned, or a share from 0 to 1, or one for each layer"
        require(bool(shares), "sparsity", self.sparsity, fix)
        require(0 < self.sparsity_most <= 1, "sparsity_most", self.sparsity_most, "above 0 and at most 1")
        below = 0 < self.sparsity_start < self.sparsity_most
        allowed = f"above 0 and below sparsity_most = {self.sparsity_most}"
        require(below, "sparsity_start", self.sparsity_start, allowed)
        fix = "query with order: 2; eq7 takes no derivative through the inner steps, so it goes with order: 1"
        require(self.outer == "query" or self.order == 1, "outer", self.outer, fix)
        fix = "query with reduction: sum; eq7 is a mean over tasks"
        require(self.outer == "query" or self.reduction == "mean", "outer", self.outer, fix)

    def modulation(self, network: Network) -> Modulation:
        layers = layers_of(network)
        if isinstance(self.sparsity, str):
            odds = self.sparsity_start / (self.sparsity_most - self.sparsity_start)
            sparsity = self.adapter(network, [math.log(odds)] * len(layers))
        else:
            sparsity = self.sparsity if isinstance(self.sparsity, tuple) else (self.sparsity,) * len(layers)
            if len(sparsity) != len(layers):
                fix = f"must have {len(layers)} shares, for the layers {', '.join(layers)}"
                raise SpecError("learner.sparsity", list(sparsity), fix)
        return Subnet(
            layers, self.alpha, sparsity, most=self.sparsity_most, k_kept=self.k_means_kept, score=self.score,
            spread=self.spread,
        )  # fmt: skip

    def outer_step(self, network: Network) -> OuterStep:
        step = super().outer_step(network)
        if self.outer == "query":
            return step
        return dataclasses.replace(step, along="support", start_optimiser=SGD(), lr=self.alpha)


METHODS = (
    Method(
        name="mmsup",
        config=MMSUPConfig,
        build=EpisodicLearner,
        summary="learns an initialisation, and to say how many of each layer's largest weights a task adapts",
        page="mmsup",
        logged={
            **LOGGED,
            "frozen": "share of a layer's weights that a task leaves as it is, mean over tasks and layers",
            "shared": "of the weights that any task of a meta-batch adapts, the share that all of them adapt",
        },
        quick={"inner_steps": 3, "alpha": 0.3, "outer_lr": 0.01, "meta_batch": 1},
        tried_on="conv4",
        meta=("theta", "m"),
    ),
)
