"""Where to learn: the elementwise step size of an inner loop, and how it is itself learned.

One inner step is ``phi <- phi - s o grad L(phi)``. A `Modulation` owns the meta-parameters ``m`` behind ``s``. It is
asked for s at the inner steps (`Modulation.rates`) and carries dL/ds back to dL/dm (`Modulation.pull_back`), by a
derivative that it defines itself:

=====================  ==============================  ==========================================================
modulation             s                               ds/dm
=====================  ==============================  ==========================================================
`LearnedStep`          eta_k, one scalar per tensor    1 (C-MAML; the sign is free)
`FixedStep`            alpha_0                         nothing to learn
`BinaryMask`           alpha_0 * 1[m >= 0]             alpha_0 kappa, straight-through (sparse paper, Eq. 5 and 10)
`StraightRelu`         max(m, 0)                       1, straight-through: a rate can come back from 0
`PlainRelu`            max(m, 0)                       1[m > 0]: a rate that reaches 0 stays there (La-MAML on MNIST)
`Raw`                  m                               1 (La-MAML on CIFAR-100 and TinyImageNet)
=====================  ==============================  ==========================================================

What has one m per weight starts it as a `Start` says: at a constant, uniform, or centred so that half is closed.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.networks.network import fan_in
from frisket.algos.parts.clip import spread
from frisket.algos.parts.gradients import leaves
from frisket.types import Params

Start: TypeAlias = Callable[[Tensor, torch.Generator], Tensor]
"""First values of the m of one tensor of weights, of its shape."""


class Constant(NamedTuple):
    """A `Start` at ``value`` everywhere."""

    value: float

    def __call__(self, weight: Tensor, generator: torch.Generator) -> Tensor:
        return torch.full_like(weight, self.value)


class Uniform(NamedTuple):
    """A `Start` in U(low, high)."""

    low: float
    high: float

    def __call__(self, weight: Tensor, generator: torch.Generator) -> Tensor:
        return torch.empty_like(weight).uniform_(self.low, self.high, generator=generator)


class Centred(NamedTuple):
    """A `Start` that is Kaiming-uniform, ``sqrt(6 / fan_in)``, for matrices and kernels, U(-0.5, 0.5) for vectors; then
    each tensor's own mean is taken off, so that half of it starts closed (osaka spec, section 7), and ``shift`` is
    added: 0 starts half closed, a large one fully open."""

    shift: float

    def __call__(self, weight: Tensor, generator: torch.Generator) -> Tensor:
        bound = math.sqrt(6 / fan_in(weight)) if weight.dim() > 1 else 0.5
        m = torch.empty_like(weight).uniform_(-bound, bound, generator=generator)
        return m - m.mean() + self.shift


class Modulation(ABC):
    """The step size ``s`` of an inner loop as a function of its meta-parameters ``m``.

    Attributes:
        by_step: whether s may differ between the steps of one inner loop; it is then asked for, and its gradient kept,
            at every step. Otherwise it is asked for once, at step 0.
        switches_off: whether it keeps some weights from changing, which `masks` tells.
    """

    by_step: bool = False
    switches_off: bool = False

    @abstractmethod
    def init(self, adaptable: Params, generator: torch.Generator) -> Params:
        """First values of ``m`` for the weights ``adaptable``; ``{}`` when there is nothing to learn."""

    @abstractmethod
    def rates(self, m: Params, phi: Params, step: int) -> Params:
        """``s`` for every adaptable tensor, broadcastable to it.

        Args:
            m: meta-parameters.
            phi: the fast weights at that step. What s owes to them counts as constant in every derivative.
            step: number of the inner step, from 0.
        """

    def pull_back(self, m: Params, phi: Params, step: int, rate_grads: Params) -> Params:
        """dL/dm from dL/ds; by default by automatic differentiation of `rates`.

        Args:
            m, phi, step: what s was asked for.
            rate_grads: dL/ds, of the shapes of ``phi``; where ``by_step`` is False the sum over all steps.
        """
        if not m:
            return {}
        with torch.enable_grad():
            m = leaves(m)
            rates = self.rates(m, phi, step)
        # A rate shared by a whole tensor collects the sum over it: the inner product - <g_out, G> of a learned step.
        into = [g.sum_to_size(rates[k].shape) for k, g in rate_grads.items()]
        grads = torch.autograd.grad([rates[k] for k in rate_grads], list(m.values()), into)
        return dict(zip(m, grads, strict=True))

    def masks(self, m: Params) -> MaskSet:
        """The weights that may change, for modulations that switch some off; else an empty MaskSet."""
        return MaskSet({})


class LearnedStep(Modulation):
    """One learned scalar eta_k per tensor, started at ``step_size`` (C-MAML)."""

    def __init__(self, step_size: float) -> None:
        self.step_size = step_size

    def init(self, adaptable: Params, generator: torch.Generator) -> Params:
        return {k: torch.full((), self.step_size, dtype=v.dtype) for k, v in adaptable.items()}

    def rates(self, m: Params, phi: Params, step: int) -> Params:
        return m


class FixedStep(Modulation):
    """The same constant ``alpha_0`` for every weight."""

    def __init__(self, alpha_0: float) -> None:
        self.alpha_0 = alpha_0

    def init(self, adaptable: Params, generator: torch.Generator) -> Params:
        return {}

    def rates(self, m: Params, phi: Params, step: int) -> Params:
        return {k: torch.full((), self.alpha_0, dtype=v.dtype, device=v.device) for k, v in phi.items()}


class EntrywiseModulation(Modulation):
    """A `Modulation` with ``s_i = f(m_i)`` and a closed derivative, so that neither needs a graph. ``m`` may be a
    pack's, [P, ...].

    Args:
        start: first values of m.
    """

    switches_off = True

    def __init__(self, start: Start) -> None:
        self.start = start

    def init(self, adaptable: Params, generator: torch.Generator) -> Params:
        return {k: self.start(v, generator) for k, v in adaptable.items()}


class PlainRelu(EntrywiseModulation):
    """``max(m, 0)`` and its own derivative, 0 at m = 0."""

    def rates(self, m: Params, phi: Params, step: int) -> Params:
        return {k: v.relu() for k, v in m.items()}

    def pull_back(self, m: Params, phi: Params, step: int, rate_grads: Params) -> Params:
        return {k: g * (m[k] > 0).to(m[k].dtype) for k, g in rate_grads.items()}

    def masks(self, m: Params) -> MaskSet:
        return MaskSet({k: v > 0 for k, v in m.items()})


class StraightRelu(PlainRelu):
    """``max(m, 0)`` as a rate per weight, with the identity as its derivative everywhere."""

    def pull_back(self, m: Params, phi: Params, step: int, rate_grads: Params) -> Params:
        return rate_grads


class Raw(StraightRelu):
    """``m`` itself: a negative rate climbs. Masks are those of `PlainRelu`, because the outer step rectifies."""

    def rates(self, m: Params, phi: Params, step: int) -> Params:
        return m


class BinaryMask(EntrywiseModulation):
    """``alpha_0 * 1[m >= 0]`` (sparse-MAML; the mask is 1 at m = 0).

    Args:
        alpha_0: step size where the mask is open; for a pack one per replica, [P].
        start: first values of m.
        ste_scale: kappa, 1 in the equations and 1/2 in a paper's listing; for a pack [P].
    """

    def __init__(self, alpha_0: float | Tensor, start: Start, ste_scale: float | Tensor = 1.0) -> None:
        super().__init__(start)
        self.alpha_0, self.ste_scale = alpha_0, ste_scale

    def rates(self, m: Params, phi: Params, step: int) -> Params:
        return {k: spread(self.alpha_0, v) * (v >= 0).to(v.dtype) for k, v in m.items()}

    def pull_back(self, m: Params, phi: Params, step: int, rate_grads: Params) -> Params:
        return {k: g * spread(self.alpha_0 * self.ste_scale, g) for k, g in rate_grads.items()}

    def masks(self, m: Params) -> MaskSet:
        return MaskSet({k: v >= 0 for k, v in m.items()})
