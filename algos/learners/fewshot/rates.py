"""Meta-SGD and exp-MAML: an initialisation and a learned rate of every weight (MetaSGD17; SPARSE21; maml_family spec,
section 2).

    phi <- phi - m o grad L(phi, support)              Meta-SGD; a rate may become negative, and climbs
    phi <- phi - c exp(m) o grad L(phi, support)       exp-MAML; no rate is ever 0
    m   <- m - Opt_gamma_m( grad_m L(phi, query) )

Symbols and arguments: K ``inner_steps``, gamma_m ``gamma_m``, gamma_theta ``outer_lr``, c ``lr_scale``.
"""

from __future__ import annotations

from dataclasses import dataclass

from frisket.algos.inner.first_m import AroundLog, Uniform
from frisket.algos.inner.modulation import ExpRate, Modulation, Signed
from frisket.algos.learner import Method
from frisket.algos.learners.fewshot.learner import LOGGED, EpisodicLearner, LearnedRatesConfig
from frisket.algos.networks.network import Network
from frisket.errors import require


@dataclass(frozen=True, kw_only=True)
class MetaSGDConfig(LearnedRatesConfig):
    """Attributes:
    rate_low, rate_high: bounds of m's first values.
    """

    rate_low: float = 0.005
    rate_high: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.rate_low <= self.rate_high, "rate_low", self.rate_low, f"at most rate_high = {self.rate_high}")

    def modulation(self, network: Network) -> Modulation:
        return Signed(Uniform(self.rate_low, self.rate_high))


@dataclass(frozen=True, kw_only=True)
class ExpMAMLConfig(LearnedRatesConfig):
    """Attributes:
    alpha: about what every rate is at first: exp(m), m within 0.05 of log alpha. [our default]
    lr_scale: c: 1 as released, alpha as Eq. 4 reads.
    """

    gamma_m: float = 0.0075
    alpha: float = 0.1
    lr_scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.alpha > 0, "alpha", self.alpha, "above 0")
        require(self.lr_scale > 0, "lr_scale", self.lr_scale, "above 0")

    def modulation(self, network: Network) -> Modulation:
        return ExpRate(AroundLog(self.alpha), self.lr_scale)


METHODS = (
    Method(
        name="meta-sgd",
        config=MetaSGDConfig,
        build=EpisodicLearner,
        summary="learns an initialisation and a rate of each weight, of either sign",
        page="meta-sgd",
        logged=LOGGED,
        quick={"inner_steps": 3, "outer_lr": 0.01, "meta_batch": 1, "rate_low": 0.1, "rate_high": 0.3},
        tried_on="conv4",
        meta=("theta", "m"),
    ),
    Method(
        name="exp-maml",
        config=ExpMAMLConfig,
        build=EpisodicLearner,
        summary="learns an initialisation and the logarithm of each weight's rate",
        page="meta-sgd",
        logged=LOGGED,
        quick={"inner_steps": 3, "outer_lr": 0.01, "meta_batch": 1, "alpha": 0.3},
        tried_on="conv4",
        meta=("theta", "m"),
    ),
)
