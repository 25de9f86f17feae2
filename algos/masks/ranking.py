"""Which weights to keep: magnitude pruning and the budgets of its layers (powerprop sheet, sections 4, 5 and 7).

Weights are ranked by magnitude; of equal ones the earlier in flat order ranks higher, so a mask keeps exactly as many
as it is to keep. Budgets of a kept fraction p, per tensor:

=========== =========================================================================================================
scope       keeps
=========== =========================================================================================================
``global``  floor(p M) of all M weights, in one ranking
``layer``   int(p size) of every tensor; the output layer min(1, 2 p), half as sparse (the Powerpropagation notebook)
``uniform`` int(p size) of every tensor but the first, which stays dense (RIGL20)
``erk``     int(d size) with densities d proportional to (sum of a kernel's dimensions) / (their product), scaled to
            keep p of all; where d would pass 1 the tensor is dense and the others are scaled anew (RIGL20)
=========== =========================================================================================================

>>> import torch
>>> weights = {"first": torch.tensor([[0.1, -4.0], [2.0, 0.3]]), "last": torch.tensor([[1.0, 0.2]])}
>>> ranking = Ranking(weights, "layer", output=("last",))
>>> [mask.tolist() for mask in ranking.keep(0.5).values()]
[[[False, True], [True, False]], [[True, True]]]
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from frisket.errors import MaskError, require
from frisket.types import Params

Scope = Literal["global", "layer", "uniform", "erk"]


def require_kept(fraction: float, field: str = "kept") -> None:
    """Raise `SpecError` unless ``fraction`` is one that can be kept."""
    require(0 < fraction <= 1, field, fraction, "above 0 (nothing would be left) and at most 1")


class Ranking:
    """Weights in order of magnitude, to be cut at any kept fraction.

    Args:
        weights: what is pruned, [..] each.
        scope: how a kept fraction is divided among the tensors.
        output: names of the output layer's weights, for ``layer``.
    """

    def __init__(self, weights: Params, scope: Scope = "global", output: Collection[str] = ()) -> None:
        self.shapes = {k: v.shape for k, v in weights.items()}
        self._scope: Scope = scope
        self._output = output
        self._sizes = {k: v.numel() for k, v in weights.items()}
        flat = {k: v.detach().reshape(-1) for k, v in weights.items()}
        if scope == "global":
            self._orders = {"": descending(torch.cat(list(flat.values())))}
        else:
            self._orders = {k: descending(v) for k, v in flat.items()}

    def keep(self, fraction: float) -> Params:
        """The mask of the largest weights, boolean tensors of the weights' shapes.

        Raises:
            SpecError: ``fraction`` is outside (0, 1].
            MaskError: so few weights that the fraction keeps none.
        """
        require_kept(fraction)
        if self._scope == "global":
            counts = {"": math.floor(fraction * sum(self._sizes.values()))}
        elif self._scope == "layer":
            counts = layer_counts(self._sizes, fraction, self._output)
        elif self._scope == "uniform":
            counts = uniform_counts(self._sizes, fraction)
        else:
            counts = erk_counts(self.shapes, fraction)
        if not any(counts.values()):
            raise MaskError("kept", fraction, f"keeps none of {sum(self._sizes.values())} weights; keep more")
        masks = {}
        for name, order in self._orders.items():
            masks[name] = torch.zeros(len(order), dtype=torch.bool, device=order.device)
            masks[name][order[: counts[name]]] = True
        if self._scope == "global":
            masks = dict(zip(self._sizes, masks[""].split(list(self._sizes.values())), strict=True))
        return {k: mask.view(self.shapes[k]) for k, mask in masks.items()}


def descending(values: Tensor) -> Tensor:
    """Indices of ``values`` [n] from the largest magnitude to the smallest; of equal ones, the first first."""
    return values.abs().argsort(descending=True, stable=True)


def largest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Which ``count`` of ``values``, of any shape, are the largest, of equal ones the first; and the least of these (of
    none the largest there is), a scalar. The others are not ranked."""
    flat = values.detach().flatten()
    least = _smallest(flat, flat.numel() - max(count, 1) + 1)
    if count == 0:
        return torch.zeros_like(values, dtype=torch.bool), least
    inside = flat >= least
    if int(inside.sum()) != count:  # several are equal to the least, or nothing is, being NaN
        above, equal = flat > least, flat == least
        inside = above | (equal & (equal.cumsum(0) <= count - above.sum()))
    return inside.view_as(values), least


def _smallest(flat: Tensor, k: int) -> Tensor:
    """The ``k``-th smallest of ``flat`` [n], from 1; NaN is above all."""
    if flat.device.type == "cpu" and flat.dtype in (torch.float32, torch.float64):
        # compares many at once: 25 us for 36,864 numbers, where torch's takes 400
        return flat.new_tensor(np.partition(flat.numpy(), k - 1)[k - 1])
    return flat.kthvalue(k).values


def layer_counts(sizes: Mapping[str, int], fraction: float, output: Collection[str] = ()) -> dict[str, int]:
    """How many weights of each tensor the budget ``layer`` keeps."""
    return {k: int(min(1.0, 2 * fraction if k in output else fraction) * n) for k, n in sizes.items()}


def uniform_counts(sizes: Mapping[str, int], fraction: float) -> dict[str, int]:
    """How many weights of each tensor the budget ``uniform`` keeps; the tensors in the network's order."""
    return {k: n if i == 0 else int(fraction * n) for i, (k, n) in enumerate(sizes.items())}


def erk_counts(shapes: Mapping[str, tuple[int, ...]], fraction: float) -> dict[str, int]:
    """How many weights of each tensor the budget ``erk`` keeps."""
    sizes = {k: math.prod(shape) for k, shape in shapes.items()}
    raw = {k: sum(shape) / math.prod(shape) for k, shape in shapes.items()}
    dense: set[str] = set()
    while True:
        thin = [k for k in shapes if k not in dense]
        left = fraction * sum(sizes.values()) - sum(sizes[k] for k in dense)
        scale = left / sum(raw[k] * sizes[k] for k in thin) if thin else 0.0
        over = {k for k in thin if scale * raw[k] > 1}
        if not over:
            return {k: sizes[k] if k in dense else int(scale * raw[k] * sizes[k]) for k in shapes}
        dense |= over


def cubic_kept(step: int, first: int, last: int, final: float) -> float:
    """Kept fraction of iterative magnitude pruning: ``1 - s_f (1 - (1 - (t - t0) / (t1 - t0))^3)``.

    Args:
        step: t.
        first: t0, up to which everything is kept.
        last: t1, from which ``final`` is kept.
        final: 1 - s_f, the fraction kept in the end.
    """
    require_kept(final, "final")
    require(first < last, "last", last, f"above first = {first}")
    done = min(max((step - first) / (last - first), 0.0), 1.0)
    return 1 - (1 - final) * (1 - (1 - done) ** 3)
