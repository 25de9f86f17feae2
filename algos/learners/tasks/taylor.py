"""What removing weights costs, estimated from derivatives instead of measured (powerprop sheet, section 7, "Taylor
variant").

With L the mean loss on some samples, g its gradient and h the diagonal of its curvature, both at the weights theta, a
mask that sets the weights R to 0 moves them by -theta and costs

    L(theta o mask) - L(theta)  ~  sum_{i in R} ( -g_i theta_i + h_i theta_i^2 / 2 )

The sheet writes the first-order term with a plus: there g is the gradient of a score, which falls where L rises. The
estimate is exact where L is quadratic with a diagonal Hessian; it neglects what weights have in common, which is much
where many are removed at once.

h is the diagonal of the Gauss-Newton matrix, for cross-entropy the Fisher information,

    h_i = 1/N sum_n E_{y ~ p(y | x_n)} ( d log p(y | x_n) / d theta_i )^2

never negative, unlike the Hessian's own diagonal. It is estimated without gradients of single samples: the gradients of
a group of samples, at labels drawn from the network's own answers, are summed with independent random signs, and the
square of the sum has the sum of their squares as its mean. That is one more pass over the samples, whatever the size
of the network. (The Hessian's diagonal by random vectors v, mean of v o Hv, would be as dear and far noisier: in a
large network nearly all of Hv is off the diagonal.)
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from frisket.algos.networks.network import Network, own_logits
from frisket.types import Params

_GROUP = 100
"""Samples whose gradients are summed under random signs; more groups are a steadier estimate and more work."""


class Expansion(NamedTuple):
    """The mean loss around effective weights. Attributes: theta: those weights; gradient, curvature: g and h by tensor,
    of the weights that can be removed."""

    theta: Params
    gradient: Params
    curvature: Params

    def cost(self, masks: Params) -> float:
        """The loss's estimated rise when only the weights in ``masks`` (boolean, by tensor) stay; summed in float64."""
        total = 0.0
        for k, mask in masks.items():
            removed = ~mask
            theta, g, h = (side[k][removed].double() for side in (self.theta, self.gradient, self.curvature))
            total += float((theta * (0.5 * h * theta - g)).sum())
        return total


def expand(
    network: Network, theta: Params, names: Collection[str], x: Tensor, y: Tensor, generator: torch.Generator
) -> Expansion:
    """The mean loss of ``network`` on some samples around ``theta``.

    Args:
        network: what computes with effective weights.
        theta: all of its weights.
        names: those that can be removed.
        x, y: samples, [n, C, H, W] and [n].
        generator: draws labels and signs, on the CPU.
    """
    gradient = {k: torch.zeros_like(theta[k]) for k in names}
    curvature = {k: torch.zeros_like(theta[k]) for k in names}
    for some, labels in zip(x.split(_GROUP), y.split(_GROUP), strict=True):
        with torch.no_grad():
            answers = own_logits(network(theta, some), labels, network.own).softmax(-1).cpu()
        answers = torch.where(answers.isfinite(), answers, 1.0)  # NaN of a diverged network must not end the run here
        drawn = torch.multinomial(answers, 1, generator=generator)[:, 0].to(labels)
        signs = (2 * torch.randint(2, (len(labels),), generator=generator) - 1).to(some)
        first = summed_gradient(network, theta, names, some, labels, torch.ones_like(signs))
        second = summed_gradient(network, theta, names, some, drawn, signs)
        for k in names:
            gradient[k] += first[k] / len(y)
            curvature[k] += second[k].square() / len(y)
    return Expansion(theta, gradient, curvature)


def summed_gradient(
    network: Network, theta: Params, names: Collection[str], x: Tensor, y: Tensor, weights: Tensor
) -> Params:
    """``sum_n weights_n d(-log p(y_n | x_n)) / d theta`` of the tensors ``names``.

    Args:
        network, theta: as for `expand`.
        names: what is differentiated by.
        x, y, weights: samples, [n, C, H, W], [n] and [n].
    """
    leaves = {k: v.detach().requires_grad_(k in names) for k, v in theta.items()}
    with torch.enable_grad():
        losses = F.cross_entropy(own_logits(network(leaves, x), y, network.own), y, reduction="none")
        wanted = [leaves[k] for k in names]
        grads = torch.autograd.grad((weights * losses).sum(), wanted, materialize_grads=True)
    return dict(zip(names, grads, strict=True))
