"""Clipping of a whole list of gradients by its one norm."""

from __future__ import annotations

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
    scale = (bound / (global_norm(grads) + _EPSILON)).clamp_max(1)
    return {k: g * scale for k, g in grads.items()}
