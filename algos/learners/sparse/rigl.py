"""RigL, and its comparison row, a static mask: sparse from the first step on (RIGL20; powerprop sheet, section 5).

A starts as a random choice of weights, ``kept`` of each tensor by its budget, and O = A. RigL renews it every
``every`` steps, up to step t1: of the n active weights of a tensor it drops the ``f_t n`` smallest by abs(theta) and
takes in, from those now out of use, as many with the largest gradients; these start at 0.

    f_t = f_0 / 2 (1 + cos(pi t / t1))

The static mask stays as it was drawn. A weight at 0 never moves under Powerpropagation, so RigL refuses it.

Symbols and arguments: f_0 ``drop``, t1 ``last``.

>>> import torch
>>> from frisket.algos.networks.mlp import MLP, MLPConfig
>>> from frisket.types import Batch
>>> network = MLP(MLPConfig(hidden=(8,)), in_channels=1, size=4, ways=2)
>>> learner = RigL(RigLConfig(kept=0.25, every=1), network)
>>> first = learner.init(seed=0)
>>> state, _ = learner.observe(first, Batch(torch.rand(4, 1, 4, 4), torch.tensor([0, 0, 1, 1]), position=0))
>>> [int(s["active"]["fc1.weight"].sum()) for s in (first, state)]
[32, 32]
>>> bool((first["active"]["fc1.weight"] == state["active"]["fc1.weight"]).all())
False
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from frisket.algos.learner import Method
from frisket.algos.learners.sparse.learner import LOGGED, Sets, SparseConfig, SparseLearner
from frisket.algos.masks.ranking import descending
from frisket.algos.masks.select import cleared
from frisket.algos.networks.network import Network
from frisket.errors import require
from frisket.rng import torch_generator
from frisket.types import Params, State


@dataclass(frozen=True, kw_only=True)
class StaticSparseConfig(SparseConfig):
    """A static mask; all fields are those of `SparseConfig`, ``every`` without effect."""


class StaticSparse(SparseLearner):
    """A random mask that stays. State: that of `SparseLearner`."""

    def __init__(self, config: StaticSparseConfig, network: Network) -> None:
        super().__init__(config, network)

    def first_sets(self, phi: Params, seed: int) -> Sets:
        generator = torch_generator(seed, "mask")
        drawn = {k: torch.rand(v.shape, generator=generator) for k, v in phi.items()}
        masks = self.ranking(drawn).keep(self.config.kept)
        return Sets(masks, masks)

    def renewed(self, state: State, grads: Params, step: int) -> State:
        return state


@dataclass(frozen=True, kw_only=True)
class RigLConfig(StaticSparseConfig):
    """RigL; further fields are those of `SparseConfig`.

    Attributes:
        drop: f_0, share of the active weights that is exchanged at first.
        last: t1, the step after which the mask stays.
    """

    drop: float = 0.3
    last: int = 25_000

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.drop <= 1, "drop", self.drop, "in [0, 1]")
        require(self.last >= 1, "last", self.last, "at least 1")


class RigL(StaticSparse):
    """RigL. State: that of `SparseLearner`."""

    config: RigLConfig

    def __init__(self, config: RigLConfig, network: Network) -> None:
        super().__init__(config, network)
        alpha = self.network.alpha
        require(alpha == 1, "powerprop_alpha", alpha, "1: RigL takes weights in at 0, where they could not move")

    def renewed(self, state: State, grads: Params, step: int) -> State:
        if step > self.config.last:
            return state
        share = self.config.drop / 2 * (1 + math.cos(math.pi * step / self.config.last))
        theta, masks = dict(state["theta"]), {}
        for k, mask in state["active"].items():
            masks[k] = exchanged(mask, theta[k], grads[k], share)
            theta[k] = cleared(masks[k] & mask, theta[k])
        return {**state, "theta": theta, "active": masks, "open": masks}


def exchanged(mask: Tensor, theta: Tensor, grad: Tensor, share: float) -> Tensor:
    """``mask`` with the ``share`` of its weights that are smallest replaced by as many with the largest gradients among
    those out of use; all tensors of one shape."""
    active = mask.reshape(-1).nonzero()[:, 0]
    count = min(int(share * len(active)), mask.numel() - len(active))
    order = descending(theta.reshape(-1)[active])
    kept = torch.zeros(mask.numel(), dtype=torch.bool, device=mask.device)
    kept[active[order[: len(active) - count]]] = True
    outside = (~mask).reshape(-1).nonzero()[:, 0]
    kept[outside[descending(grad.reshape(-1)[outside])[:count]]] = True
    return kept.view_as(mask)


METHODS = (
    Method(
        name="rigl",
        config=RigLConfig,
        build=RigL,
        summary="a sparse mask that exchanges small weights for steep ones",
        page="sparse-training",
        logged={**LOGGED},
        quick={"lr": 0.01, "every": 2, "last": 20},
    ),
    Method(
        name="static-sparse",
        config=StaticSparseConfig,
        build=StaticSparse,
        summary="a random sparse mask that stays",
        page="sparse-training",
        logged={**LOGGED},
        quick={"lr": 0.01},
    ),
)
