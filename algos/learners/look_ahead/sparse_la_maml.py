"""sparse-La-MAML and its ReLU form: which weights learn is learned by looking ahead (SPARSE21, Algorithm 1; lamaml
spec, section 10).

    phi_{k+1} = phi_k - s(m) o grad L(phi_k, chunk_k)              s(m) = alpha_0 1[m >= 0], or max(m, 0)
    m     <- m - gamma_m clip_c(G_m)                               straight-through: a closed weight can open again
    theta <- theta - s(m_new) o clip_c(G_theta)

The mask's first values are not published. A dense, constant start, ``m_init`` = 0.3, is what reproduces the published
accuracies and the sparsity of the layers; a half-closed start does not.

Symbols and arguments: alpha_0 ``alpha_0``, gamma_m ``gamma_m``, first m ``m_init`` (ReLU form: ``alpha_init``), scale
of the straight-through derivative kappa ``ste_scale`` (1 in the equations, 1/2 in the paper's listing).

>>> import torch
>>> from frisket.algos.networks.mlp import MLP, MLPConfig
>>> from frisket.types import Batch
>>> learner = SparseLaMAML(SparseLaMAMLConfig(glances=1), MLP(MLPConfig(hidden=(8,)), in_channels=1, size=4, ways=2))
>>> state = learner.init(seed=0)
>>> batch = Batch(torch.rand(4, 1, 4, 4), torch.tensor([0, 0, 1, 1]), position=0)
>>> state, metrics = learner.observe(state, batch)
>>> learner.masks(state)
MaskSet(4 tensors, 154 weights, sparsity 0.000)
"""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar

from frisket.algos.inner.first_m import Constant
from frisket.algos.inner.modulation import BinaryMask, EntrywiseModulation, Seen, StraightRelu
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
class LearnedMaskConfig(LookAheadConfig, ABC):
    """Attributes: gamma_m: plain SGD rate of m."""

    gamma_m: float = 1.7

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.gamma_m >= 0, "gamma_m", self.gamma_m, "at least 0")


@dataclass(frozen=True, kw_only=True)
class SparseLaMAMLConfig(LearnedMaskConfig):
    """sparse-La-MAML.

    Attributes:
        alpha_0: rate where the mask is open.
        m_init: first value of every m.
        ste_scale: kappa.
    """

    packed: ClassVar[tuple[str, ...]] = ("gamma_m", "alpha_0", "m_init", "ste_scale")

    alpha_0: float = 0.1
    m_init: float = 0.3
    ste_scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.alpha_0 > 0, "alpha_0", self.alpha_0, "above 0")
        require(self.ste_scale > 0, "ste_scale", self.ste_scale, "above 0")

    def modulation(self, hyper: Params) -> EntrywiseModulation:
        return BinaryMask(hyper["alpha_0"], Constant(self.m_init), hyper["ste_scale"])


@dataclass(frozen=True, kw_only=True)
class SparseReluLaMAMLConfig(LearnedMaskConfig):
    """sparse-ReLU-La-MAML. Attributes: gamma_m: rate of m; alpha_init: first value of every m."""

    packed: ClassVar[tuple[str, ...]] = ("gamma_m", "alpha_init")

    gamma_m: float = 0.3
    alpha_init: float = 0.15

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.alpha_init > 0, "alpha_init", self.alpha_init, "above 0")

    def modulation(self, hyper: Params) -> EntrywiseModulation:
        return StraightRelu(Constant(self.alpha_init))


class SparseLaMAML(LookAheadLearner):
    """sparse-La-MAML over either modulation. State: as `LookAheadLearner`."""

    config: LearnedMaskConfig

    def __init__(self, config: LearnedMaskConfig, network: Network) -> None:
        super().__init__(config, network)

    def outer(self, theta: Params, m: Params, ahead: LookAhead, along: Params, hyper: Params) -> tuple[Params, Params]:
        m = descend_replicas(m, hyper["gamma_m"], along)
        return step_down(theta, self.config.modulation(hyper).rates(m, Seen(theta)), ahead.theta), m


METHODS = (
    Method(
        name="sparse-la-maml",
        config=SparseLaMAMLConfig,
        build=SparseLaMAML,
        summary="looks ahead with replay, learned binary mask",
        page="sparse-la-maml",
        logged={**LOGGED},
        quick={"alpha_0": 0.02, "gamma_m": 0.1},
        meta=("theta", "m"),
    ),
    Method(
        name="sparse-relu-la-maml",
        config=SparseReluLaMAMLConfig,
        build=SparseLaMAML,
        summary="looks ahead with replay, learned rate per weight which may come back from 0",
        page="sparse-la-maml",
        logged={**LOGGED},
        quick={"alpha_init": 0.02, "gamma_m": 0.002},
        meta=("theta", "m"),
    ),
)
