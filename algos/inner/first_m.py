"""First values of a modulation's m, where it has one per weight.

A `Start` says them for one tensor of weights. The papers' starts are a constant, uniform bounds, and draws whose own
mean is taken off (`Centred`); a scan over how much is closed at first uses `Share`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from frisket.algos.networks.network import fan_in

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


class AroundLog(NamedTuple):
    """A `Start` in ``log(rate)`` + U(-width, width), for rates that are ``exp(m)``. [our default]"""

    rate: float
    width: float = 0.05

    def __call__(self, weight: Tensor, generator: torch.Generator) -> Tensor:
        middle = math.log(self.rate)
        return Uniform(middle - self.width, middle + self.width)(weight, generator)


class Centred(NamedTuple):
    """A `Start` that is uniform within `bound_of`; then each tensor's own mean is taken off, so that half of it starts
    closed (osaka spec, section 7), and ``shift`` is added: 0 starts half closed, a large one fully open.

    Attributes:
        shift: added to every m.
        bound: one bound for all tensors (0.5 on ResNet); None for each tensor's own.
    """

    shift: float
    bound: float | None = None

    def __call__(self, weight: Tensor, generator: torch.Generator) -> Tensor:
        bound = bound_of(weight, self.bound)
        m = torch.empty_like(weight).uniform_(-bound, bound, generator=generator)
        return m - m.mean() + self.shift


class Share(NamedTuple):
    """A `Start` of which a share ``closed`` is below 0, the same in every tensor: U(-b, b) + b (1 - 2 closed), where b
    is the bound as for `Centred`. A ``shift`` acts on each tensor as its bound is; this does not. [our default]"""

    closed: float
    bound: float | None = None

    def __call__(self, weight: Tensor, generator: torch.Generator) -> Tensor:
        bound = bound_of(weight, self.bound)
        return Uniform(-2 * bound * self.closed, 2 * bound * (1 - self.closed))(weight, generator)


def bound_of(weight: Tensor, bound: float | None = None) -> float:
    """``bound``; if None, that of Kaiming-uniform draws, ``sqrt(6 / fan_in)``, for matrices and kernels, and 0.5 for
    vectors."""
    if bound is not None:
        return bound
    return math.sqrt(6 / fan_in(weight)) if weight.dim() > 1 else 0.5
