"""A part of the weights for every task to adapt, its size decided layer by layer (MMSUP; gems spec, section 3).

    s_l = s_max sigmoid(o_l),  o = g(theta, G^0, v)        once for a task; or s_l given
    mask = 1 at the round((1 - s_l) n) largest abs(theta)  of each of layer l's weight tensors, of n weights
    rate = alpha mask                                      constant during the task

Weights are ranked within their tensor; biases and batch norm are too few to rank and always adapt. [our default] A
mask's derivative by s_l stands for that of its mean, which is -1: ``even``, -1 at every entry, or ``threshold``, more
for those near the threshold (a sigmoid of the distance, a tenth of the standard deviation wide) and -1 on average.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from frisket.algos.inner.adapter import Adapter, Layers
from frisket.algos.inner.modulation import Modulation, Seen
from frisket.algos.masks.ranking import largest
from frisket.types import Metrics, Params

Score = Literal["weight", "weight_times_gradient"]
Spread = Literal["even", "threshold"]

_WIDTH = 0.1
"""Of the sigmoid about the threshold, in standard deviations of what is ranked."""
_LEAST = 1e-12


class Subnet(Modulation):
    """Not for packs.

    Args:
        layers: of the network.
        alpha: the rate inside.
        sparsity: what gives s_l: g, with an output for every layer, or their values.
        most: s_max.
        k_kept: whether s_l is what is kept of layer l, not what is frozen.
        score: what is ranked: abs(theta) or abs(theta o G^0).
        spread: how the derivative of a mask is spread over its entries.
    """

    switches_off = True
    by_task = True
    holds_start = True

    def __init__(
        self, layers: Layers, alpha: float, sparsity: Adapter | Sequence[float], *, most: float = 0.95,
        k_kept: bool = False, score: Score = "weight", spread: Spread = "even",
    ) -> None:  # fmt: skip
        self.layers, self.alpha, self.most, self.k_kept = layers, alpha, most, k_kept
        self.score, self.spread = score, spread
        self.adapter = sparsity if isinstance(sparsity, Adapter) else None
        self.given = () if isinstance(sparsity, Adapter) else tuple(sparsity)
        self.features = self.adapter is not None and self.adapter.features > 0

    def init(self, adaptable: Params, generator: torch.Generator) -> Params:
        return {} if self.adapter is None else self.adapter.init(next(iter(adaptable.values())), generator)

    def looked(self, seen: Seen) -> Seen:
        return seen if self.adapter is None else self.adapter.looked(seen)

    def frozen(self, m: Params, seen: Seen) -> Tensor:
        """What share of each layer's ranked weights stays as it is, [L]."""
        if self.adapter is None:
            s = next(iter(seen.phi.values())).new_tensor(self.given, dtype=torch.float64)
        else:
            s = self.most * self.adapter(m, seen).sigmoid()
        return 1 - s if self.k_kept else s

    def decided(self, m: Params, seen: Seen) -> tuple[Tensor, Tensor | None] | None:
        """The share of each layer's ranked weights that adapts, [L]; the rate is given."""
        return None if self.adapter is None else (1 - self.frozen(m, seen), None)

    def rates(self, m: Params, seen: Seen) -> Params:
        return self._spread(self.frozen(m, seen), seen)

    def _spread(self, frozen: Tensor, seen: Seen) -> Params:
        rates = dict[str, Tensor]()
        for share, names in zip(frozen.unbind(), self.layers.values(), strict=True):
            for k in names:
                ranked = seen.phi[k].dim() > 1
                mask = self._mask(self._scores(k, seen), share) if ranked else torch.ones_like(seen.phi[k])
                rates[k] = self.alpha * mask
        return rates

    def answer(self, m: Params, seen: Seen, before: Params) -> tuple[Params, Params]:
        frozen, like = self.frozen(m, seen), next(iter(seen.phi.values()))
        known = {} if self.adapter is None else self.adapter.measured(seen, before)
        return self._spread(frozen, seen), {**known, "frozen": frozen.mean().to(like.dtype)}

    def _scores(self, name: str, seen: Seen) -> Tensor:
        weight = seen.phi[name]
        return (weight * seen.grads[name] if self.score == "weight_times_gradient" else weight).abs()

    def _mask(self, scores: Tensor, frozen: Tensor) -> Tensor:
        """1 at the largest ``scores``, 0 at a share ``frozen`` (scalar) of them, with its derivative by that."""
        count = int(((1 - frozen.detach().double()) * scores.numel()).round().nan_to_num())  # NaN where it diverged
        inside, threshold = largest(scores, count)
        mask = inside.to(scores.dtype)
        if not frozen.requires_grad:
            return mask
        below = (frozen.detach() - frozen).to(scores.dtype)
        if self.spread == "even":
            return mask + below
        near = ((scores - threshold) / (_WIDTH * scores.std()).clamp(min=_LEAST)).sigmoid()
        slopes = near * (1 - near)
        return mask + below * slopes / slopes.mean()

    def settled(self, m: Params, measured: Params) -> Params:
        return self.adapter.settled(m, measured) if self.adapter is not None else m

    def metrics(self, measured: Params, tasks: Tensor) -> Metrics:
        """``frozen``, the share of a layer's weights that stays as it is, mean over tasks and layers."""
        return {"frozen": float(measured["frozen"] / tasks)}
