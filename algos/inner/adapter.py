"""A small network that looks at a task as it is adapted to, and says how to go on (GEMS; gems spec, sections 2, 3).

    u_l = mean(theta_l), mean(G_l)              of every layer l; of all its tensors together, G the support's gradient
    x   = [u / rms(u); v]                       v the features of the support, where they are asked for
    o   = A_2 relu(A_1 x + a_1) + a_2

rms(u) is the root of a running mean of squares, one for every number of u, which outer steps move: 0.99 of it stays,
0.01 is the mean over what the adaptations of the meta-batch were seen at. As Adam's it is corrected for its start at 0;
before the first outer step it counts as 1. Nothing else moves it, and no gradient does.

The gradient of a softmax over linear outputs has the mean 0 over an output layer, whatever the task. Divided by its
rms, what rounding leaves of that would be noise as large as anything else, so it counts as 0. [our default]
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from frisket.algos.inner.modulation import Seen
from frisket.algos.networks.network import Network
from frisket.types import Params

Statistics = Literal["mean", "abs"]
Layers = Mapping[str, "tuple[str, ...]"]
"""A layer's name to those of its adaptable tensors."""

SQUARES, TIMES = "inputs.squares", "inputs.times"
"""Names in m of the running mean of squares of u, and of how many outer steps have moved it."""
SUM, SEEN = "squares", "seen"
"""Names among what is measured: the sum of u's squares, and how often it was seen."""
_ROUNDED = 1e-5
"""Share of the mean of absolute values below which a mean is what rounding has left of 0."""
_LEAST = 1e-12
"""What an rms is at least, so that a number that is always 0 stays 0."""
_NEAR_ZERO = 0.01
"""What the last layer's first weights are multiplied with: o is near its bias at first."""


def layers_of(network: Network) -> dict[str, tuple[str, ...]]:
    """The layers of ``network`` that adapt, in the order of their first tensors."""
    found: dict[str, tuple[str, ...]] = {}
    for name in network.adaptable:
        layer = network.layer_of(name)
        found[layer] = (*found.get(layer, ()), name)
    return found


class Adapter:
    """The network g; its weights are entries of a modulation's m.

    Args:
        layers: whose statistics it sees.
        first: o's first values, but for what little the first weights of the last layer make of the inputs.
        hidden: units of its hidden layer.
        statistics: ``mean``, or ``abs`` for those of the absolute values besides.
        features: F, how many features of the support it sees; 0 for none.
        momentum: share of the running mean of squares that stays at an outer step.
    """

    def __init__(
        self, layers: Layers, first: Sequence[float], *, hidden: int = 32, statistics: Statistics = "mean",
        features: int = 0, momentum: float = 0.99,
    ) -> None:  # fmt: skip
        self.layers, self.first, self.hidden, self.features, self.momentum = layers, first, hidden, features, momentum
        self.with_abs = statistics == "abs"
        self.numbers = len(layers) * (4 if self.with_abs else 2)

    def init(self, like: Tensor, generator: torch.Generator) -> Params:
        """First weights, of the type of ``like``: uniform within 1/sqrt(inputs), the last layer's near 0."""

        def uniform(*shape: int, inputs: int) -> Tensor:
            bound = 1 / math.sqrt(inputs)
            return like.new_empty(shape).uniform_(-bound, bound, generator=generator)

        inputs = self.numbers + self.features
        return {
            "hidden.weight": uniform(self.hidden, inputs, inputs=inputs),
            "hidden.bias": uniform(self.hidden, inputs=inputs),
            "output.weight": _NEAR_ZERO * uniform(len(self.first), self.hidden, inputs=self.hidden),
            "output.bias": like.new_tensor(self.first),
            SQUARES: like.new_zeros(self.numbers),
            TIMES: like.new_zeros(()),
        }

    def __call__(self, m: Params, seen: Seen) -> Tensor:
        """o, of the length of ``first``; a function of m alone, what is ``seen`` has no graph."""
        x = self.means(seen) / self.scale(m)
        if self.features:
            assert seen.features is not None
            x = torch.cat([x, seen.features])
        return F.linear(F.relu(F.linear(x, m["hidden.weight"], m["hidden.bias"])), m["output.weight"], m["output.bias"])

    def looked(self, seen: Seen) -> Seen:
        """``seen`` with its `means`."""
        return seen._replace(means=self.means(seen))

    def means(self, seen: Seen) -> Tensor:
        """u: the layers' means of theta, then those of G, and then those of their absolute values if they are asked
        for."""
        if seen.means is not None:
            return seen.means
        names = [name for tensors in self.layers.values() for name in tensors]
        both = torch.cat([of[k].flatten() for of in (seen.phi, seen.grads) for k in names]).view(2, -1)
        sizes = [sum(seen.phi[k].numel() for k in tensors) for tensors in self.layers.values()]
        mean, size = (
            torch.stack([part.mean(1) for part in one.split(sizes, 1)], 1).flatten() for one in (both, both.abs())
        )
        mean = torch.where(mean.abs() > _ROUNDED * size, mean, 0)
        return torch.cat([mean, size]) if self.with_abs else mean

    def scale(self, m: Params) -> Tensor:
        """rms(u)."""
        known = 1 - self.momentum ** m[TIMES].detach()
        rms = (m[SQUARES].detach() / known.clamp(min=_LEAST)).sqrt().clamp(min=_LEAST)
        return torch.where(known > 0, rms, torch.ones_like(rms))

    def measured(self, seen: Seen, before: Params) -> Params:
        """What `settled` needs, summed up: ``before``, {} at first, with ``seen``."""
        u = self.means(seen)
        now = {SUM: u * u, SEEN: u.new_ones(())}
        return {k: before[k] + v if k in before else v for k, v in now.items()}

    def settled(self, m: Params, measured: Params) -> Params:
        """``m`` with the running mean of squares moved by what was ``measured``."""
        mean = measured[SUM] / measured[SEEN]
        squares = self.momentum * m[SQUARES] + (1 - self.momentum) * mean
        return {**m, SQUARES: squares, TIMES: m[TIMES] + 1}
