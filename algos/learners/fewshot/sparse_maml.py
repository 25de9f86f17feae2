"""sparse-MAML and sparse-ReLU-MAML: an initialisation, and where to learn from it (SPARSE21, Eq. 4 and 5; maml_family
spec, sections 2 to 5).

    phi <- phi - alpha 1[m >= 0] o grad L(phi, support)            sparse-MAML, straight-through in m
    phi <- phi - max(m, 0) o grad L(phi, support)                  sparse-ReLU-MAML, straight-through or plain
    m   <- m - Opt_gamma_m( grad_m L(phi, query) )

theta goes on as in FOMAML, its gradient ungated.

Symbols and arguments: K ``inner_steps``, alpha ``alpha``, gamma_m ``gamma_m``, gamma_theta ``outer_lr``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from frisket.algos.inner.modulation import BinaryMask, Centred, Modulation, PlainRelu, StraightRelu, Uniform
from frisket.algos.learner import Method
from frisket.algos.learners.fewshot.learner import LOGGED, EpisodicConfig, EpisodicLearner
from frisket.errors import require


@dataclass(frozen=True, kw_only=True)
class SparseMAMLConfig(EpisodicConfig):
    """Attributes:
    alpha: inner step size where the mask is open.
    gamma_m: rate of m.
    mask_shift: added to every first m; 0 starts half closed, a negative one more.
    ste_scale: derivative of the mask by m, over alpha: 1 in the equations, 0.5 as released.
    """

    alpha: float = 0.1
    gamma_m: float = 0.0075
    mask_shift: float = 0.0
    ste_scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.alpha > 0, "alpha", self.alpha, "above 0")
        require(self.gamma_m >= 0, "gamma_m", self.gamma_m, "at least 0")
        require(self.ste_scale > 0, "ste_scale", self.ste_scale, "above 0")

    def modulation(self) -> Modulation:
        return BinaryMask(self.alpha, Centred(self.mask_shift), self.ste_scale)

    @property
    def modulation_lr(self) -> float:
        return self.gamma_m


@dataclass(frozen=True, kw_only=True)
class SparseReluMAMLConfig(EpisodicConfig):
    """Attributes:
    gamma_m: rate of m.
    rate_low, rate_high: bounds of m's first values (0.005 and 0.1 as released; printed: 0.05 and 0.1).
    derivative: of max(m, 0) by m: ``straight``, 1 everywhere, or ``plain``, 0 where m is not above 0.
    """

    gamma_m: float = 0.001
    rate_low: float = 0.005
    rate_high: float = 0.1
    derivative: Literal["straight", "plain"] = "straight"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.gamma_m >= 0, "gamma_m", self.gamma_m, "at least 0")
        require(self.rate_low <= self.rate_high, "rate_low", self.rate_low, f"at most rate_high = {self.rate_high}")

    def modulation(self) -> Modulation:
        start = Uniform(self.rate_low, self.rate_high)
        return StraightRelu(start) if self.derivative == "straight" else PlainRelu(start)

    @property
    def modulation_lr(self) -> float:
        return self.gamma_m


METHODS = (
    Method(
        name="sparse-maml",
        config=SparseMAMLConfig,
        build=EpisodicLearner,
        summary="learns an initialisation and a mask of what adapts",
        page="sparse-maml",
        logged=LOGGED,
        quick={"inner_steps": 3, "alpha": 0.3, "outer_lr": 0.01, "meta_batch": 1},
        tried_on="conv4",
        meta=("theta", "m"),
    ),
    Method(
        name="sparse-relu-maml",
        config=SparseReluMAMLConfig,
        build=EpisodicLearner,
        summary="learns an initialisation and a rate of each weight, 0 for many",
        page="sparse-maml",
        logged=LOGGED,
        quick={"inner_steps": 3, "outer_lr": 0.01, "meta_batch": 1, "rate_low": 0.1, "rate_high": 0.3},
        tried_on="conv4",
        meta=("theta", "m"),
    ),
)
