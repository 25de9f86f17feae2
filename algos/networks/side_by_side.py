"""K networks of `frisket.algos.networks.layer_norm_mlp` side by side, forward and back written out.

What is small is bound by the number of calls, not by what they compute: soft actor-critic sends 128 observations
through such networks eight times for an update, and back five times. Here every layer of all K networks is one product
of K matrices, nothing is recorded for automatic differentiation, and what nobody asks for is not computed. Values and
gradients are those of the networks one by one up to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from frisket.types import Params

_aten = torch.ops.aten


class Pass(NamedTuple):
    """What a pass has left for the way back, of K networks and N inputs.

    Attributes:
        outputs: [K, N, ways].
        first: the first layer's input [K, N, D], its product, that normalised [K, N, H], and mean and one over standard
            deviation [K, N, 1].
        layers: for every further layer its input, and both factors of its product as they were multiplied.
    """

    outputs: Tensor
    first: tuple[Tensor, ...]
    layers: tuple[tuple[Tensor, Tensor, Tensor], ...]

    def only(self, count: int) -> Pass:
        """The pass of the first ``count`` inputs."""
        first = tuple(one[:, :count] for one in self.first)
        layers = tuple((z[:, :count], x[:, :count], weight) for z, x, weight in self.layers)
        return Pass(self.outputs[:, :count], first, layers)


class SideBySide:
    """Networks of equal form.

    Args:
        depth: hidden layers.
        slope: of the leaky ReLU.
        epsilon: of LayerNorm.
        products: what is multiplied between two hidden layers is rounded to this before, forward and back; None: to
            nothing.
    """

    def __init__(self, depth: int, slope: float, epsilon: float, products: torch.dtype | None) -> None:
        self.slope, self.epsilon, self.products = slope, epsilon, products
        self.names = (*(f"fc{i}" for i in range(2, depth + 1)), "head")

    @torch.no_grad()
    def __call__(self, weights: Mapping[str, Tensor], x: Tensor) -> Pass:
        """Of ``weights`` [K, ...] and ``x`` [N, D], the same for all networks, or [R, N, D], each for K / R of them
        that stand together."""
        weight, bias, gain, shift = (weights[k] for k in ("fc1.weight", "fc1.bias", "norm1.weight", "norm1.bias"))
        each = x.view(-1, 1, *x.shape[-2:])
        x = each.expand(-1, len(weight) // len(each), -1, -1).flatten(0, 1)
        z = torch.baddbmm(bias[:, None], x, weight.mT)
        # with no gain and no shift at all it takes twice as long
        plain = torch.ones_like(gain[0]), torch.zeros_like(gain[0])
        h, mean, r = torch.native_layer_norm(z, z.shape[-1:], *plain, self.epsilon)
        first = x, z, h, mean, r
        z = _tanh_of_half_(torch.addcmul(2 * shift[:, None], h, gain[:, None], value=2))
        layers = []
        for name in self.names:
            weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
            if name == "head" or self.products is None:
                layers.append((z, z, weight))
                z = torch.baddbmm(bias[:, None], z, weight.mT)
            else:
                factors = z.to(self.products), weight.to(self.products)
                layers.append((z, *factors))
                z = torch.bmm(factors[0], factors[1].mT).to(z.dtype).add_(bias[:, None])
            if name != "head":
                F.leaky_relu_(z, self.slope)
        return Pass(z, first, tuple(layers))

    @torch.no_grad()
    def gradients(self, weights: Mapping[str, Tensor], passed: Pass, g: Tensor) -> Params:
        """The gradient by every weight, where ``g`` [K, N, ways] is that by the outputs."""
        found: Params = {}
        h = passed.first[2]
        for name, (z, x, weight) in self._back(passed):
            factor = g.to(weight.dtype)
            found[f"{name}.weight"], found[f"{name}.bias"] = torch.bmm(factor.mT, x).to(g.dtype), g.sum(1)
            g = self._before(name, torch.bmm(factor, weight).to(g.dtype), z)
        found["norm1.weight"], found["norm1.bias"] = (g * h).sum(1), g.sum(1)
        g = self._unnormalised(weights, passed, g)
        found["fc1.weight"], found["fc1.bias"] = torch.bmm(g.mT, passed.first[0]), g.sum(1)
        return found

    @torch.no_grad()
    def by_inputs(self, weights: Mapping[str, Tensor], passed: Pass, g: Tensor, first: int = 0) -> Tensor:
        """The gradient by the inputs from the number ``first`` on, [N, D - first], of all networks together."""
        return self._by_inputs(weights, passed, g, first).sum(0)

    def _by_inputs(self, weights: Mapping[str, Tensor], passed: Pass, g: Tensor, first: int) -> Tensor:
        """As `by_inputs`, of every network by itself, [K, N, D - first]."""
        for name, (z, _, weight) in self._back(passed):
            g = self._before(name, torch.bmm(g.to(weight.dtype), weight).to(g.dtype), z)
        return torch.bmm(self._unnormalised(weights, passed, g), weights["fc1.weight"][..., first:])

    @torch.no_grad()
    def by_inputs_of(
        self, weights: Mapping[str, Tensor], passed: Pass, g: Tensor, which: Tensor, first: int = 0
    ) -> Tensor:
        """As `by_inputs`, of R groups of networks that stand together: of every input of a group one of its networks
        alone has a gradient by its outputs, that of number ``which`` [R, N] in the group, and it is ``g`` [R, N, ways].
        What the others would have multiplied is zeros, and left out. [R, N, D - first]."""
        groups, inputs, ways = g.shape
        each = len(passed.outputs) // groups
        if g.device.type != "cpu":  # to count them would wait for the device
            whole = g.new_zeros(groups, each, inputs, ways)
            whole.scatter_(1, which[:, None, :, None].expand(-1, -1, -1, ways), g[:, None])
            return self._by_inputs(weights, passed, whole.flatten(0, 1), first).unflatten(0, (groups, each)).sum(1)
        found = g.new_empty(groups, inputs, weights["fc1.weight"].shape[-1] - first)
        for k in range(len(passed.outputs)):
            group = k // each
            rows = (which[group] == k % each).nonzero()[:, 0]
            own = {name: weights[name][k, None] for name in ("norm1.weight", "fc1.weight")}
            found[group, rows] = self.by_inputs(own, _way_back(passed, k, rows), g[group, rows][None], first)
        return found

    def _back(self, passed: Pass) -> list[tuple[str, tuple[Tensor, Tensor, Tensor]]]:
        return list(zip(self.names, passed.layers, strict=True))[::-1]

    def _before(self, name: str, g: Tensor, z: Tensor) -> Tensor:
        """The gradient before the function whose values ``z`` are; both derivatives follow from the value."""
        if name == self.names[0]:
            return _aten.tanh_backward(g, z)
        return _aten.leaky_relu_backward(g, z, self.slope, True)

    def _unnormalised(self, weights: Mapping[str, Tensor], passed: Pass, g: Tensor) -> Tensor:
        _, z, _, *moments = passed.first
        mean, r = (one.contiguous() for one in moments)  # torch takes them as if they were
        none = None, None, [True, False, False]
        return _aten.native_layer_norm_backward(g * weights["norm1.weight"][:, None], z, z.shape[-1:], mean, r, *none)[
            0
        ]


def _way_back(passed: Pass, network: int, rows: Tensor) -> Pass:
    """What `SideBySide.by_inputs` asks of ``passed``, for one of the networks and the inputs of these numbers; the rest
    stays as it is."""

    def taken(one: Tensor) -> Tensor:
        return one[network].index_select(0, rows)[None]

    x, z, h, mean, r = passed.first
    layers = tuple((taken(left), before, weight[network, None]) for left, before, weight in passed.layers)
    return Pass(passed.outputs, (x, taken(z), h, taken(mean), taken(r)), layers)


def _tanh_of_half_(x: Tensor) -> Tensor:
    """tanh of x / 2, within 3e-7, in place. torch's own takes four times as long on a CPU."""
    return torch.add(x.new_tensor(-1.0), x.sigmoid_(), alpha=2, out=x)
