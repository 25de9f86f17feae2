"""A Gaussian over weights with a diagonal covariance, its divergence from another, and gradients through its samples.

With q = N(mu_q, sigma_q^2), p = N(mu_p, sigma_p^2) and weights ``w = mu_q + sigma_q eps``, eps standard normal::

    KL(q || p)           = sum_i  log(sigma_p / sigma_q) + (sigma_q^2 + (mu_q - mu_p)^2) / (2 sigma_p^2) - 1/2
    dKL / dmu_q          = (mu_q - mu_p) / sigma_p^2
    dKL / dlog sigma_q   = sigma_q^2 / sigma_p^2 - 1
    dL / dmu_q           = E[dL/dw],    dL / dlog sigma_q = E[dL/dw o eps] o sigma_q
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from frisket.types import Params


class Gaussian(NamedTuple):
    """Attributes: mean: mu; log_sigma: log of the standard deviations; the same names and shapes. Or the gradient by
    both."""

    mean: Params
    log_sigma: Params


def constant(like: Params, mean: float, log_sigma: float) -> Gaussian:
    """The same mean and deviation for every weight of ``like``."""
    return Gaussian(
        {k: torch.full_like(v, mean) for k, v in like.items()},
        {k: torch.full_like(v, log_sigma) for k, v in like.items()},
    )


def standard_normal(like: Params, generator: torch.Generator) -> Params:
    """eps: independent standard normal numbers, shaped like ``like`` and where it is."""
    names = sorted(like)  # a state read from a file has its names in another order
    sizes = [like[k].numel() for k in names]
    # One draw and one copy to the device for all tensors: a GPU pays per transfer, not per number.
    parts = torch.randn(sum(sizes), generator=generator).to(like[names[0]]).split(sizes)
    return {k: part.view_as(like[k]) for k, part in zip(names, parts, strict=True)}


def sample(q: Gaussian, eps: Params) -> Params:
    """``mu + sigma eps``."""
    return {k: torch.addcmul(v, q.log_sigma[k].exp(), eps[k]) for k, v in q.mean.items()}


def sampled_gradient(
    q: Gaussian, gradient: Callable[[Params], tuple[Tensor, Params]], noise: Iterable[Params]
) -> tuple[Tensor, Gaussian]:
    """The mean loss over weight samples, scalar, and its gradient.

    Args:
        q: that the weights are drawn from.
        gradient: weights to ``(loss, dL/dw)``.
        noise: eps of every sample; at least one.
    """
    mean = {k: torch.zeros_like(v) for k, v in q.mean.items()}
    turned, losses = {k: torch.zeros_like(v) for k, v in q.mean.items()}, []
    for eps in noise:
        loss, grads = gradient(sample(q, eps))
        mean = {k: v + grads[k] for k, v in mean.items()}
        turned = {k: torch.addcmul(v, grads[k], eps[k]) for k, v in turned.items()}
        losses.append(loss)
    spread = {k: v * q.log_sigma[k].exp() / len(losses) for k, v in turned.items()}
    return torch.stack(losses).mean(), Gaussian({k: v / len(losses) for k, v in mean.items()}, spread)


def divergence(q: Gaussian, p: Gaussian) -> Tensor:
    """KL(q || p) in nats, scalar."""
    parts = []
    for k in sorted(q.mean):
        ratio = q.log_sigma[k] - p.log_sigma[k]
        away = (q.mean[k] - p.mean[k]).square() * (-2 * p.log_sigma[k]).exp()
        parts.append((((2 * ratio).exp() + away - 1) / 2 - ratio).sum())
    return torch.stack(parts).sum()


def divergence_gradient(q: Gaussian, p: Gaussian) -> Gaussian:
    """Gradient of `divergence` by q."""
    return Gaussian(
        {k: (v - p.mean[k]) * (-2 * p.log_sigma[k]).exp() for k, v in q.mean.items()},
        {k: (2 * (v - p.log_sigma[k])).exp() - 1 for k, v in q.log_sigma.items()},
    )
