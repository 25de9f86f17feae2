"""Gradients of a fully connected network on T sets of M samples, multiplied with one another without being formed.

Of a layer with inputs a and deltas d, a set's gradient is ``g_t = sum_n d_n a_n^T`` for its weights and ``sum_n d_n``
for its biases (n: the set's samples, d_n divided by their number). So with the rows of all sets in A [T M, I] and
D [T M, O], summed over layers::

    g_t . G      = sum_n d_n^T (G a_n + G_bias)
    g_t . g_s    = sum_nm (D D^T o (A A^T + 1))_nm          n in t, m in s; the 1 is the bias
    sum_t v_t g_t = (v D)^T A

T gradients of P numbers take T P numbers and T^2 P multiplications; these take T M rows and (T M)^2 I of them.

Products are taken in float64: the past gradients of many tasks are nearly dependent, and a quadratic programme over a
Gram matrix with float32 noise in its small eigenvalues has solutions of any size.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from frisket.algos.networks.mlp import MLP, outer
from frisket.types import Params


class RowGradients:
    """The gradients of the mean loss on each set, T of them.

    Args:
        network, theta: at which they are taken.
        x: the sets, [T, M, ...].
        y: labels, [T, M].
        held: samples of each set that count, its first ones, [T]; at least 1.
    """

    def __init__(self, network: MLP, theta: Params, x: Tensor, y: Tensor, held: Tensor) -> None:
        self._layers, (self._sets, most) = network.layers, y.shape
        flat = x.flatten(0, 1).flatten(1)
        run = network.backward(theta, network.first(theta, flat), y.flatten())
        held = held.to(y.device)
        counted = torch.arange(most, device=y.device) < held[:, None]
        share = (counted.to(flat) / held[:, None]).view(-1, 1)
        self._dtype = flat.dtype
        self._inputs = tuple(a.double() for a in (flat, *run.inputs))
        self._deltas = tuple((delta * share).double() for delta in run.deltas)

    def products(self, grads: Params) -> Tensor:
        """``g_t . grads``, [T] float64."""
        grads = {k: g.double() for k, g in grads.items()}
        rows = torch.stack(
            [
                (torch.addmm(grads[f"{layer}.bias"], a, grads[f"{layer}.weight"].T) * d).sum(1)
                for layer, a, d in zip(self._layers, self._inputs, self._deltas, strict=True)
            ]
        )
        return rows.sum(0).view(self._sets, -1).sum(1)

    def gram(self) -> Tensor:
        """``g_t . g_s``, [T, T] float64."""
        layers = zip(self._inputs, self._deltas, strict=True)
        rows = functools.reduce(torch.add, [(d @ d.T) * (a @ a.T + 1) for a, d in layers])
        return rows.unflatten(0, (self._sets, -1)).unflatten(2, (self._sets, -1)).sum((1, 3))

    def mixture(self, v: Tensor) -> Params:
        """``sum_t v_t g_t`` for ``v`` [T] float64, in the network's own type."""
        weights = v.repeat_interleave(len(self._inputs[0]) // self._sets)[:, None]
        mixed: Params = {}
        for layer, a, d in zip(self._layers, self._inputs, self._deltas, strict=True):
            mixed[f"{layer}.weight"], mixed[f"{layer}.bias"] = outer(d * weights, a), (d * weights).sum(0)
        return {k: g.to(self._dtype) for k, g in mixed.items()}
