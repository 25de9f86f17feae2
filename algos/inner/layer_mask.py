"""Which layers learn and how fast, decided at every inner step by an adapter (BMP; gems spec, section 2).

    (o_1 .. o_L, r) = g(theta^k, G^k, v^k)          `frisket.algos.inner.adapter`
    s_l             = alpha^k 1[o_l >= 0]           for all tensors of layer l
    alpha^k         = alpha_0 2 sigmoid(r)          or alpha_0 softplus(r + log(e - 1)), which has no upper bound

The bit's derivative by o_l is 1 (straight-through), or that of sigmoid(o_l). alpha_0 = alpha e^a, with a learned from
0 on: no outer step makes a rate negative. [our default]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from frisket.algos.inner.adapter import SEEN, Adapter
from frisket.algos.inner.modulation import Modulation, Seen
from frisket.types import Metrics, Params

Straight = Literal["identity", "sigmoid"]
RateForm = Literal["sigmoid", "softplus"]

RATE = "rate"
"""Name in m of a, scalar."""
_ONE = math.log(math.e - 1)
"""Where softplus is 1."""


class LayerMask(Modulation):
    """Not for packs.

    Args:
        adapter: g, with an output for every layer and one for the rate.
        alpha: alpha_0 at first.
        straight: what stands for the derivative of a bit.
        rate_form: how the rate comes from r.
    """

    by_step = True
    switches_off = True
    by_task = True

    def __init__(
        self, adapter: Adapter, alpha: float, straight: Straight = "identity", rate_form: RateForm = "sigmoid"
    ) -> None:
        self.adapter, self.alpha, self.straight, self.rate_form = adapter, alpha, straight, rate_form
        self.features = adapter.features > 0

    def init(self, adaptable: Params, generator: torch.Generator) -> Params:
        like = next(iter(adaptable.values()))
        return {**self.adapter.init(like, generator), RATE: like.new_zeros(())}

    def looked(self, seen: Seen) -> Seen:
        return self.adapter.looked(seen)

    def decided(self, m: Params, seen: Seen) -> tuple[Tensor, Tensor]:
        """The bits [L], 0 or 1, and alpha^k, scalar; with the derivatives by m that they are said to have."""
        outputs = self.adapter(m, seen)
        scores, rate = outputs[:-1], outputs[-1]
        slope = scores if self.straight == "identity" else scores.sigmoid()
        bits = (scores >= 0).to(scores.dtype) + (slope - slope.detach())
        factor = 2 * rate.sigmoid() if self.rate_form == "sigmoid" else F.softplus(rate + _ONE)
        return bits, self.alpha * m[RATE].exp() * factor

    def rates(self, m: Params, seen: Seen) -> Params:
        return self._spread(*self.decided(m, seen))

    def _spread(self, bits: Tensor, alpha: Tensor) -> Params:
        layers: Sequence[tuple[str, ...]] = list(self.adapter.layers.values())
        return {k: rate for rate, names in zip((bits * alpha).unbind(), layers, strict=True) for k in names}

    def answer(self, m: Params, seen: Seen, before: Params) -> tuple[Params, Params]:
        bits, alpha = self.decided(m, seen)
        shut = (bits == 0).all().to(bits.dtype)
        return self._spread(bits, alpha), {
            **self.adapter.measured(seen, before),
            "open": before.get("open", 0) + bits.mean(),
            "rate": before.get("rate", 0) + alpha,
            "shut": before.get("shut", 1) * shut,
        }

    def settled(self, m: Params, measured: Params) -> Params:
        return self.adapter.settled(m, measured)

    def metrics(self, measured: Params, tasks: Tensor) -> Metrics:
        """``open_layers`` and ``task_lr``, means over tasks and inner steps; ``not_adapted``, the share of the tasks
        none of whose steps had an open layer."""
        seen = measured[SEEN]
        means = {"open_layers": measured["open"] / seen, "task_lr": measured["rate"] / seen}
        return {k: float(v) for k, v in {**means, "not_adapted": measured["shut"] / tasks}.items()}
