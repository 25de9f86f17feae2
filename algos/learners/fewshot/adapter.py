"""What methods have in common whose inner loop an adapter steers (`frisket.algos.inner.adapter`)."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from frisket.algos.inner.adapter import Adapter, Statistics, layers_of
from frisket.algos.learners.fewshot.learner import LearnedRatesConfig
from frisket.algos.networks.network import Network
from frisket.errors import require


@dataclass(frozen=True, kw_only=True)
class AdapterConfig(LearnedRatesConfig, ABC):
    """Attributes:
    alpha: inner step size; of `bmp` what the adapter's is at first, before it sees anything.
    gamma_m: beta, rate of the adapter.
    hidden: units of the adapter's hidden layer.
    statistics: what the adapter sees of each layer's weights and gradients: ``mean``, or ``abs``, the mean of the
        absolute values too.
    features: ``pooled``, the adapter sees what comes out of the last block, its mean over the picture and the support;
        ``none`` for a network without blocks, or an adapter that does not.
    rms_momentum: share of the running mean of squares, which the statistics are divided by the root of, that stays at
        an outer step.
    """

    alpha: float = 0.01
    order: Literal[1, 2] = 2
    hidden: int = 32
    statistics: Statistics = "mean"
    features: Literal["pooled", "none"] = "pooled"
    rms_momentum: float = 0.99

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.alpha > 0, "alpha", self.alpha, "above 0")
        require(self.hidden >= 1, "hidden", self.hidden, "at least 1")
        require(0 <= self.rms_momentum < 1, "rms_momentum", self.rms_momentum, "in [0, 1)")

    def adapter(self, network: Network, first: Sequence[float]) -> Adapter:
        """The adapter for ``network``, its outputs' first values ``first``.

        Raises:
            SpecError: it is to see features, and the network gives none.
        """
        width = 0
        if self.features == "pooled":
            fix = "none: the network has no blocks to pool"
            require(network.pooled is not None, "learner.features", self.features, fix)
            width = network.pooled or 0
        return Adapter(
            layers_of(network), first, hidden=self.hidden, statistics=self.statistics, features=width,
            momentum=self.rms_momentum,
        )  # fmt: skip
