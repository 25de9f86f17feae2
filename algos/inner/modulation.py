"""Where to learn: the elementwise step size of an inner loop, and how it is itself learned.

One inner step is ``phi <- phi - s o grad L(phi)``. A `Modulation` owns the meta-parameters ``m`` behind ``s``:

=====================  ==============================  ==========================================================
modulation             s                               ds/dm
=====================  ==============================  ==========================================================
`LearnedStep`          eta_k, one scalar per tensor    1 (C-MAML; the sign is free)
`FixedStep`            alpha_0                         nothing to learn
`BinaryMask`           alpha_0 * 1[m >= 0]             alpha_0, straight-through (sparse paper, Eq. 5 and 10)
`ReluRate`             max(m, 0)                       1, straight-through: a rate can come back from 0
=====================  ==============================  ==========================================================
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.networks.network import fan_in
from frisket.types import Params


class _Step(torch.autograd.Function):
    """1[m >= 0], with the identity as its derivative."""

    @staticmethod
    def forward(ctx: Any, m: Tensor) -> Tensor:
        return (m >= 0).to(m.dtype)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Tensor:
        return grad[0]


class Ramp(torch.autograd.Function):
    """max(m, 0), with the identity as its derivative everywhere."""

    @staticmethod
    def forward(ctx: Any, m: Tensor) -> Tensor:
        return m.clamp_min(0)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Tensor:
        return grad[0]


class Modulation(ABC):
    """The step size ``s`` of an inner loop as a function of its meta-parameters ``m``."""

    @abstractmethod
    def init(self, adaptable: Params, generator: torch.Generator) -> Params:
        """First values of ``m`` for the weights ``adaptable``; ``{}`` when there is nothing to learn."""

    @abstractmethod
    def rates(self, m: Params, adaptable: Params) -> Params:
        """``s`` for every adaptable tensor, broadcastable to it and differentiable in ``m``."""

    def masks(self, m: Params) -> MaskSet:
        """The weights that may change, for modulations that switch some off; else an empty MaskSet."""
        return MaskSet({})


class LearnedStep(Modulation):
    """One learned scalar eta_k per tensor, started at ``step_size`` (C-MAML)."""

    def __init__(self, step_size: float) -> None:
        self.step_size = step_size

    def init(self, adaptable: Params, generator: torch.Generator) -> Params:
        return {k: torch.full((), self.step_size, dtype=v.dtype) for k, v in adaptable.items()}

    def rates(self, m: Params, adaptable: Params) -> Params:
        return m


class FixedStep(Modulation):
    """The same constant ``alpha_0`` for every weight."""

    def __init__(self, alpha_0: float) -> None:
        self.alpha_0 = alpha_0

    def init(self, adaptable: Params, generator: torch.Generator) -> Params:
        return {}

    def rates(self, m: Params, adaptable: Params) -> Params:
        return {k: torch.full((), self.alpha_0, dtype=v.dtype, device=v.device) for k, v in adaptable.items()}


class BinaryMask(Modulation):
    """``alpha_0 * 1[m >= 0]`` (sparse-MAML; the mask is 1 at m = 0).

    Args:
        alpha_0: step size where the mask is open.
        shift: added to every fresh m; 0 starts half closed, a large one fully open.
    """

    def __init__(self, alpha_0: float, shift: float) -> None:
        self.alpha_0, self.shift = alpha_0, shift

    def init(self, adaptable: Params, generator: torch.Generator) -> Params:
        """Kaiming-uniform, ``sqrt(6 / fan_in)``, for matrices and kernels, U(-0.5, 0.5) for vectors; then each tensor's
        own mean is taken off, so that half of it starts closed (osaka spec, section 7)."""

        def draw(weight: Tensor) -> Tensor:
            bound = math.sqrt(6 / fan_in(weight)) if weight.dim() > 1 else 0.5
            m = torch.empty_like(weight).uniform_(-bound, bound, generator=generator)
            return m - m.mean() + self.shift

        return {k: draw(v) for k, v in adaptable.items()}

    def rates(self, m: Params, adaptable: Params) -> Params:
        return {k: self.alpha_0 * _Step.apply(v) for k, v in m.items()}

    def masks(self, m: Params) -> MaskSet:
        return MaskSet({k: v >= 0 for k, v in m.items()})


class ReluRate(Modulation):
    """``max(m, 0)`` as a learning rate per weight (sparse-ReLU-MAML), m started in U(low, high)."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def init(self, adaptable: Params, generator: torch.Generator) -> Params:
        return {k: torch.empty_like(v).uniform_(self.low, self.high, generator=generator) for k, v in adaptable.items()}

    def rates(self, m: Params, adaptable: Params) -> Params:
        return {k: Ramp.apply(v) for k, v in m.items()}

    def masks(self, m: Params) -> MaskSet:
        return MaskSet({k: v > 0 for k, v in m.items()})
