"""The diagonal of the empirical Fisher information: the mean over samples of squared per-sample gradients.

    F_i = 1/N sum_n (d loss_n / d params_i)^2,     loss_n = - log-likelihood of sample n, or its negative ELBO

Not the square of the mean gradient, which is smaller: gradients of samples that disagree cancel in it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from frisket.types import Params

CHUNK = 16
"""Samples whose gradients are held at once."""


def squared_gradients(loss: Callable[..., Tensor], params: Params, *samples: Tensor, chunk: int = CHUNK) -> Params:
    """F of ``params``, any differentiable loss.

    A model with Powerpropagation asks for F of theta here and multiplies by J squared: F_phi = J^2 o F_theta.

    Args:
        loss: ``(params, *sample) -> scalar``, the loss of one sample, whose tensors have lost their first dimension.
            What is random in it (a VAE's noise) is one of ``samples``.
        params: at which it is taken, and for which; other parameters belong in ``loss``.
        samples: tensors ``[N, ...]``, N at least 1.
        chunk: samples whose gradients are held at once, each as large as ``params``; moves rounding only.

    Returns:
        F by name, shaped like ``params``, without a graph.
    """
    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, *(0 for _ in samples)))
    total = {k: torch.zeros_like(v, requires_grad=False) for k, v in params.items()}
    for part in zip(*(s.split(chunk) for s in samples), strict=True):
        for k, g in each(params, *part).items():
            total[k] += g.detach().square().sum(0)
    return {k: v / len(samples[0]) for k, v in total.items()}
