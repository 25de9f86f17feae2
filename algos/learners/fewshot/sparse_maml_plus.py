"""sparse-MAML+: sparse-MAML whose convolutions' masks are generated from noise (SPARSE21, section 3; maml_family spec,
sections 4 and 5).

    m_conv <- A (z o sigma + mu) + b + shift           z drawn afresh for every task that is adapted to
    phi    <- phi - alpha 1[m >= 0] o grad L(phi, support)

Batch norm and the output layer have an m of their own; the biases of the convolutions have none and always adapt, as
released, unless ``mask_conv_bias``.

Symbols and arguments: K ``inner_steps``, alpha ``alpha``, E ``noise``, gamma_m ``gamma_m``, gamma_theta ``outer_lr``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from frisket.algos.inner.first_m import Centred
from frisket.algos.inner.generated import Generated, kernel_biases
from frisket.algos.inner.modulation import BinaryMask, Modulation, nothing
from frisket.algos.learner import Method
from frisket.algos.learners.fewshot.learner import LOGGED, EpisodicLearner, LearnedRatesConfig
from frisket.algos.networks.network import Network
from frisket.errors import require


@dataclass(frozen=True, kw_only=True)
class SparseMAMLPlusConfig(LearnedRatesConfig):
    """Attributes:
    alpha: inner step size where the mask is open.
    gamma_m: rate of A, b, mu, sigma and of the m that are not generated.
    noise: E, numbers in a draw; A has so many for every weight of a convolution (frisket.algos.inner.generated).
    mask_shift: added to every m that is generated, and to the first values of the others.
    mask_conv_bias: give the biases of convolutions an m of their own.
    """

    alpha: float = 0.1
    gamma_m: float = 0.0075
    noise: int = 1600
    mask_shift: float = 0.0
    mask_conv_bias: bool = False
    optimiser: Literal["adam", "nesterov"] = "nesterov"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.alpha > 0, "alpha", self.alpha, "above 0")
        require(self.noise >= 1, "noise", self.noise, "at least 1")

    def modulation(self, network: Network) -> Modulation:
        always = nothing if self.mask_conv_bias else kernel_biases
        return Generated(BinaryMask(self.alpha, Centred(self.mask_shift), always=always), self.mask_shift, self.noise)


METHODS = (
    Method(
        name="sparse-maml-plus",
        config=SparseMAMLPlusConfig,
        build=EpisodicLearner,
        summary="sparse-MAML with convolution masks generated from noise",
        page="sparse-maml",
        logged=LOGGED,
        quick={"inner_steps": 3, "alpha": 0.3, "outer_lr": 0.01, "meta_batch": 1, "noise": 8, "optimiser": "adam"},
        tried_on="conv4",
        meta=("theta", "m"),
    ),
)
