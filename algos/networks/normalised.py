"""Networks that answer from statistics collected in training: batch norm as large pictures are classified with it.

Conv4 normalises by the statistics of whatever batch it is given, always. A `Normalised` network can do that too, and
then it is a network like any other (`__call__`). In addition it offers what a learner needs that trains long and is
judged on single pictures:

    training     logits by the batch's own statistics, and running ones moved a little towards them
    answering    logits by the running ones: a picture's answer does not depend on its neighbours

The running statistics are no parameters. They are a plain dict that the learner keeps in its state, so nothing prunes,
decays or steps them, and a learner that knows nothing of them is unchanged.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from frisket.algos.networks.layers import EPSILON, batch_norm, max_pool
from frisket.algos.networks.network import Network
from frisket.algos.networks.normed_pool import normed_pool
from frisket.types import Params


class Normalised(Network):
    """A `Network` with batch norm and running statistics, ``NAME.mean`` and ``NAME.variance`` of each norm."""

    normalised = True

    @abstractmethod
    def statistics(self) -> Params:
        """Running statistics before training: means 0, variances 1, [channels] each, on the CPU."""

    @abstractmethod
    def training(self, params: Params, statistics: Params, x: Tensor) -> tuple[Tensor, Params]:
        """``(logits [N, ways], statistics)`` of inputs ``x`` [N, C, H, W]; the statistics given stay as they are."""

    @abstractmethod
    def answering(self, params: Params, statistics: Params, x: Tensor) -> Tensor:
        """Logits [N, ways] of inputs ``x`` [N, C, H, W], each by itself."""


class Norm:
    """One forward pass's way to normalise.

    Args:
        params: gains ``NAME.weight`` and shifts ``NAME.bias``.
        statistics: running ones, replaced entry by entry while `moving`; None to go by the batch alone.
        moving: go by the batch and move ``statistics`` towards it; else go by ``statistics``.
        rate: share of the batch's in the running statistics after a move; its variance is the unbiased one.
        named: the name of a norm to that of its parameters and statistics; the same by default.
    """

    def __init__(
        self, params: Params, statistics: Params | None, *, moving: bool, rate: float,
        named: Callable[[str], str] = str,
    ) -> None:  # fmt: skip
        self.params, self.statistics, self.moving, self.rate, self.named = params, statistics, moving, rate, named

    def __call__(self, name: str, x: Tensor) -> Tensor:
        """x [N, C, H, W], normalised."""
        return self._by(batch_norm, name, x)

    def pooled(self, name: str, x: Tensor) -> Tensor:
        """ReLU of the largest of every 2 x 2 of what `__call__` gives, [N, C, H / 2, W / 2]."""
        if self.statistics is None or self.moving:
            return self._by(normed_pool, name, x)
        return F.relu(max_pool(self(name, x)))

    def _by(self, routine: Callable[..., Tensor], name: str, x: Tensor) -> Tensor:
        """What ``routine`` makes of x by its batch's statistics, where these count, else x normalised by others."""
        name = self.named(name)
        gain, shift = self.params[f"{name}.weight"], self.params[f"{name}.bias"]
        if self.statistics is None:
            return routine(x, gain, shift)
        mean, variance = self.statistics[f"{name}.mean"], self.statistics[f"{name}.variance"]
        if self.moving:  # they are moved in place
            mean, variance = mean.clone(), variance.clone()
            self.statistics[f"{name}.mean"], self.statistics[f"{name}.variance"] = mean, variance
            return routine(x, gain, shift, mean, variance, self.rate)
        return F.batch_norm(x, mean, variance, gain, shift, False, self.rate, EPSILON)


def fresh_statistics(gains: Params) -> Params:
    """Means 0 and variances 1 for norms with these ``gains``, by the norms' names."""
    found: Params = {}
    for name, gain in gains.items():
        found[f"{name}.mean"], found[f"{name}.variance"] = torch.zeros_like(gain), torch.ones_like(gain)
    return found
