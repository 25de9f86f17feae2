"""Steps of a fully connected network on new samples, beside the gradients of T remembered sets, for P replicas.

Of a layer with inputs a and deltas d, the gradient of a mean loss over samples is ``g = sum_n d_n a_n^T`` for its
weights and ``sum_n d_n`` for its biases (d_n divided by their number). So with the samples of everything as rows, new
ones and those of the sets, two gradients are multiplied without being formed, summed over layers::

    g . h = sum_nm (D D^T o (A A^T + 1))_nm          n among the samples of g, m among those of h; the 1 is the bias

and a step along a mixture of gradients is one along rows, each with its weight w_n::

    theta <- theta - lr sum_n w_n d_n a_n^T

The first layer's inputs are the samples themselves, so its A A^T + 1, nine tenths of the work, is taken once for a
whole batch of new samples, and its weights are written once: with z_n the layer's output for sample n, a step is seen
as::

    z_n <- z_n - lr sum_m (a_n . a_m + 1) w_m d_m

T gradients of Q numbers would take T Q numbers and T^2 Q multiplications a step. Products are taken in float64: the
past gradients of many tasks are nearly dependent, and a quadratic programme over a Gram matrix with float32 noise in
its small eigenvalues has solutions of any size.

P replicas, T sets of M samples, N new samples, R = T M + N rows, I inputs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from frisket.algos.networks.mlp import MLP, outer
from frisket.types import Data, Params


class Products(NamedTuple):
    """Attributes:
    new: g . g_t of the new samples' gradient g with every set's, [P, T] float64.
    square: gives g . g, [P] float64.
    past: gives g_t . g_s, [P, T, T] float64.
    """

    new: Tensor
    square: Callable[[], Tensor]
    past: Callable[[], Tensor]


Mix = Callable[[Products], "tuple[Tensor, Tensor | None]"]
"""What is to be stepped along, ``a g + sum_t v_t g_t``: gives a [P] and v [P, T], both float64; None for v = 0."""


class RowWalk:
    """Steps on one batch; `end` has the weights after them.

    Args:
        network, theta: where they begin; weights [P, ...], left as they are.
        sets: x [P, T, M, ...], y [P, T, M]; T may be 0.
        held: samples of each set that count, its first ones, [T]; at least 1.
        new: the batch, x [P, N, ...], y [P, N].
    """

    def __init__(self, network: MLP, theta: Params, sets: Data, held: Tensor, new: Data) -> None:
        self._network, self._theta = network, theta
        self._sets = count, size = sets.y.shape[1:]
        self._past = slice(count * size)
        self._x = torch.cat([sets.x.flatten(1, 2).flatten(2), new.x.flatten(2)], 1)
        self._y = torch.cat([sets.y.flatten(1), new.y], 1)
        counted = torch.arange(size, device=held.device) < held[:, None]
        self._share = (counted.to(self._x) / held[:, None]).view(-1, 1)
        exact = self._x.double()
        self._exact = torch.baddbmm(exact.new_ones(1), exact, exact.mT)
        self._kernel = self._exact.to(self._x)
        self._z = network.first(theta, self._x)
        self._late = {k: v.clone() for k, v in theta.items() if not k.startswith(f"{network.layers[0]}.")}
        self._moved = torch.zeros_like(self._z)

    def step(self, start: int, end: int, lr: Tensor, mix: Mix) -> Tensor:
        """One step, with rates ``lr`` [P], on the new samples ``start`` to ``end``; their mean loss before it, [P]."""
        past, count = self._past, self._past.stop
        new = slice(count + start, count + end)
        z, y = (torch.cat([of[:, past], of[:, new]], 1) for of in (self._z, self._y))
        run = self._network.backward(self._late, z, y)
        share = torch.cat([self._share, self._share.new_full((end - start, 1), 1 / (end - start))])
        rows = _Rows(tuple(delta * share for delta in run.deltas), run.inputs)
        exact, own = rows.double(), slice(count, None)
        ours, theirs = exact.part(own), exact.part(past)

        def of_sets() -> Tensor:
            each = theirs.products(theirs, self._exact[:, past, past])
            return each.unflatten(2, self._sets).unflatten(1, self._sets).sum((2, 4))

        with_sets = theirs.products(ours, self._exact[:, past, new]).sum(2).unflatten(1, self._sets).sum(2)
        square = functools.partial(ours.products, ours, self._exact[:, new, new])
        scale, v = mix(Products(with_sets, lambda: square().sum((1, 2)), of_sets))
        self._move(new, rows.part(own), lr * scale.to(lr))
        if v is not None:
            self._move(past, rows.part(past), lr[:, None] * v.repeat_interleave(self._sets[1], 1).to(lr))
        return run.losses[:, count:].mean(1)

    def _move(self, place: slice, rows: _Rows, by: Tensor) -> None:
        """Step along ``rows``, which are those in ``place``, each ``by`` so much, [P] or [P, rows]."""
        by = by.view(len(by), -1, 1)
        first, *later = (delta * by for delta in rows.deltas)
        for layer, given, along in zip(self._network.layers[1:], rows.inputs, later, strict=True):
            self._late[f"{layer}.weight"].baddbmm_(along.mT, given, alpha=-1)
            self._late[f"{layer}.bias"].sub_(along.sum(1))
        self._z.baddbmm_(self._kernel[:, :, place], first, alpha=-1)
        self._moved[:, place] += first

    def end(self) -> Params:
        """The weights after the steps."""
        weight, bias = (f"{self._network.layers[0]}.{name}" for name in ("weight", "bias"))
        first = self._theta[weight] - outer(self._moved, self._x), self._theta[bias] - self._moved.sum(1)
        after = {weight: first[0], bias: first[1], **self._late}
        return {k: after[k] for k in self._theta}


class _Rows(NamedTuple):
    """Attributes: deltas: of all layers, [P, R, O] each; inputs: of the later ones, [P, R, I] each."""

    deltas: tuple[Tensor, ...]
    inputs: tuple[Tensor, ...]

    def part(self, place: slice) -> _Rows:
        """Those in ``place``."""
        return _Rows(tuple(d[:, place] for d in self.deltas), tuple(a[:, place] for a in self.inputs))

    def double(self) -> _Rows:
        """The same in float64."""
        return _Rows(tuple(d.double() for d in self.deltas), tuple(a.double() for a in self.inputs))

    def products(self, others: _Rows, first: Tensor) -> Tensor:
        """What the gradients of single rows give with those of ``others``, summed over layers, [P, R, R']; ``first`` is
        the kernel of the first layer."""
        taught = [d @ e.mT for d, e in zip(self.deltas, others.deltas, strict=True)]
        given = [a @ b.mT + 1 for a, b in zip(self.inputs, others.inputs, strict=True)]
        return functools.reduce(torch.add, (d * a for d, a in zip(taught, [first, *given], strict=True)))
