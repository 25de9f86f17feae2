"""Modulations of the look-ahead family: a weight's rate is a function of its own m, started at a constant.

=====================  ======================  ==============================================================
modulation             s                       ds/dm
=====================  ======================  ==============================================================
`PlainRelu`            max(m, 0)               1[m > 0]: a rate that reaches 0 stays there (La-MAML on MNIST)
`Raw`                  m                       1 (La-MAML on CIFAR-100 and TinyImageNet)
`StraightRelu`         max(m, 0)               1: a rate can come back from 0 (sparse-ReLU-La-MAML)
`DenseMask`            alpha_0 * 1[m >= 0]     alpha_0 * kappa, straight-through (sparse-La-MAML)
=====================  ======================  ==============================================================

The derivative is offered as numbers, `EntrywiseModulation.slopes`, so that a closed-form gradient needs no graph;
`rates` is plain arithmetic and has no derivative of its own.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from frisket.algos.inner.modulation import Modulation
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.parts.clip import spread
from frisket.types import Params


class EntrywiseModulation(Modulation):
    """A `Modulation` with ``s_i = f(m_i)`` and m started at ``start`` everywhere. ``m`` may be a pack's, [P, ...]."""

    start: float

    def init(self, adaptable: Params, generator: torch.Generator) -> Params:
        return {k: torch.full_like(v, self.start) for k, v in adaptable.items()}

    @abstractmethod
    def slopes(self, m: Params) -> Params:
        """ds/dm, entry by entry, as the method defines it (straight-through or not)."""


class PlainRelu(EntrywiseModulation):
    """``max(m, 0)`` and its own derivative, 0 at m = 0."""

    def __init__(self, start: float) -> None:
        self.start = start

    def rates(self, m: Params, adaptable: Params) -> Params:
        return {k: v.relu() for k, v in m.items()}

    def slopes(self, m: Params) -> Params:
        return {k: (v > 0).to(v.dtype) for k, v in m.items()}

    def masks(self, m: Params) -> MaskSet:
        return MaskSet({k: v > 0 for k, v in m.items()})


class Raw(PlainRelu):
    """``m`` itself: a negative rate climbs. Masks are those of `PlainRelu`, because the outer step rectifies."""

    def rates(self, m: Params, adaptable: Params) -> Params:
        return m

    def slopes(self, m: Params) -> Params:
        return {k: torch.ones_like(v) for k, v in m.items()}


class StraightRelu(PlainRelu):
    """``max(m, 0)``, with the identity as its derivative everywhere."""

    def slopes(self, m: Params) -> Params:
        return {k: torch.ones_like(v) for k, v in m.items()}


class DenseMask(EntrywiseModulation):
    """``alpha_0 * 1[m >= 0]``, started open at one value.

    Args:
        alpha_0: rate where the mask is open; for a pack one per replica, [P].
        start: first m; how far every weight is from closing.
        ste_scale: kappa, 1 in the equations and 1/2 in the paper's listing; for a pack [P].
    """

    def __init__(self, alpha_0: float | Tensor, start: float, ste_scale: float | Tensor) -> None:
        self.alpha_0, self.start, self.ste_scale = alpha_0, start, ste_scale

    def rates(self, m: Params, adaptable: Params) -> Params:
        return {k: spread(self.alpha_0, v) * (v >= 0).to(v.dtype) for k, v in m.items()}

    def slopes(self, m: Params) -> Params:
        return {k: spread(self.alpha_0 * self.ste_scale, v) * torch.ones_like(v) for k, v in m.items()}

    def masks(self, m: Params) -> MaskSet:
        return MaskSet({k: v >= 0 for k, v in m.items()})
