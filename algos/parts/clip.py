"""Clipping of a whole list of gradients by its one norm."""

from __future__ import annotations

from typing import overload

import torch
from torch import Tensor

from frisket.types import Params

_EPSILON = 1e-6  # as in the released code: a clipped list is shorter than the bound by this much


def global_norm(grads: Params) -> Tensor:
    """Euclidean norm over all entries of all tensors, scalar; the same bits in whatever order they are named."""
    return torch.stack([torch.linalg.vector_norm(grads[k]) for k in sorted(grads)]).norm()


def clip_by_global_norm(grads: Params, bound: float | None) -> Params:
    """``grads * min(1, bound / (norm + 1e-6))``; unchanged for a ``bound`` of None (lamaml spec, section 3)."""
    if bound is None:
        return grads
    scale = scale_to(global_norm(grads), bound)
    return {k: g * scale for k, g in grads.items()}


def clip_replicas(grads: Params, bound: float | None) -> Params:
    """`clip_by_global_norm` for every replica by itself; all tensors are [P, ...]."""
    if bound is None:
        return grads
    squares = [grads[k].flatten(1).square().sum(1) for k in sorted(grads)]
    scale = scale_to(torch.stack(squares).sum(0).sqrt(), bound)
    return {k: g * spread(scale, g) for k, g in grads.items()}


@overload
def spread(values: Tensor, like: Tensor) -> Tensor: ...
@overload
def spread(values: float | Tensor, like: Tensor) -> float | Tensor: ...
def spread(values: float | Tensor, like: Tensor) -> float | Tensor:
    """One value per replica, ``[P]``, shaped to be multiplied with ``like`` [P, ...]; a single number as it is."""
    return values.view(-1, *[1] * (like.dim() - 1)) if isinstance(values, Tensor) and values.dim() else values


def scale_to(norm: Tensor, bound: float) -> Tensor:
    """What a list of gradients of that ``norm`` is multiplied with, of the shape of ``norm``."""
    return (bound / (norm + _EPSILON)).clamp_max(1)
