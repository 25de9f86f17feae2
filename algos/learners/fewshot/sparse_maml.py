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

from frisket.algos.inner.first_m import Centred, Share, Start, Uniform
from frisket.algos.inner.modulation import BinaryMask, Modulation, PlainRelu, StraightRelu
from frisket.algos.learner import Method
from frisket.algos.learners.fewshot.learner import LOGGED, EpisodicLearner, LearnedRatesConfig
from frisket.algos.networks.network import Network
from frisket.errors import require


@dataclass(frozen=True, kw_only=True)
class SparseMAMLConfig(LearnedRatesConfig):
    """Attributes:
    alpha: inner step size where the mask is open.
    mask_start: first values of m: ``kaiming``, of each tensor within its own bound, or ``uniform``, of all within 0.5
        (the ResNet runs); both centred.
    mask_shift: added to every first m; 0 starts half closed, a negative one more.
    closed: share that is closed at first, the same in every tensor, in place of ``mask_shift``; null for that.
    ste_scale: derivative of the mask by m, over alpha: 1 in the equations, 0.5 as released.
    """

    alpha: float = 0.1
    gamma_m: float = 0.0075
    mask_start: Literal["kaiming", "uniform"] = "kaiming"
    mask_shift: float = 0.0
    closed: float | None = None
    ste_scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.alpha > 0, "alpha", self.alpha, "above 0")
        require(self.ste_scale > 0, "ste_scale", self.ste_scale, "above 0")
        share = self.closed is None or 0 <= self.closed <= 1
        require(share, "closed", self.closed, "a share, 0 to 1, or null for mask_shift")
        alone = self.closed is None or self.mask_shift == 0
        require(alone, "mask_shift", self.mask_shift, "0 where closed says how much starts closed")

    @property
    def start(self) -> Start:
        """First values of m."""
        bound = 0.5 if self.mask_start == "uniform" else None
        return Centred(self.mask_shift, bound) if self.closed is None else Share(self.closed, bound)

    def modulation(self, network: Network) -> Modulation:
        return BinaryMask(self.alpha, self.start, self.ste_scale)


@dataclass(frozen=True, kw_only=True)
class SparseReluMAMLConfig(LearnedRatesConfig):
    """Attributes:
    rate_low, rate_high: bounds of m's first values (0.005 and 0.1 as released; printed: 0.05 and 0.1; where both are
        alpha, as on ResNet, every m starts there).
    lr_scale: what max(m, 0) is multiplied with: 1 as released, alpha as Eq. 4 reads.
    derivative: of max(m, 0) by m: ``straight``, 1 everywhere, or ``plain``, 0 where m is not above 0.
    """

    rate_low: float = 0.005
    rate_high: float = 0.1
    lr_scale: float = 1.0
    derivative: Literal["straight", "plain"] = "straight"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.rate_low <= self.rate_high, "rate_low", self.rate_low, f"at most rate_high = {self.rate_high}")
        require(self.lr_scale > 0, "lr_scale", self.lr_scale, "above 0")

    def modulation(self, network: Network) -> Modulation:
        kind = StraightRelu if self.derivative == "straight" else PlainRelu
        return kind(Uniform(self.rate_low, self.rate_high), self.lr_scale)


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
