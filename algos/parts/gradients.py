"""Gradients by named weights."""

from __future__ import annotations

import torch
from torch import Tensor

from frisket.types import Params


def gradients(loss: Tensor, params: Params) -> Params:
    """d loss / d params; zero where the loss does not depend on a tensor."""
    grads = torch.autograd.grad(loss, list(params.values()), materialize_grads=True)
    return dict(zip(params, grads, strict=True))


def leaves(params: Params) -> Params:
    """Detached copies of ``params`` (sharing storage) that gradients can be taken for."""
    return {k: v.detach().requires_grad_() for k, v in params.items()}
