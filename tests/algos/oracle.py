"""The look-ahead step as the La-MAML paper's code takes it: plain eager automatic differentiation, nothing in closed
form. What the closed form is tested against, and what its speed is measured against."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from frisket.algos.learners.look_ahead.gradient import LookAhead
from frisket.algos.networks.network import Network
from frisket.types import Data, Params


def eager_look_ahead(
    network: Network, theta: Params, rates: Params, chunks: Sequence[Data], meta: Data, *, clamp: float | None = None,
    judged: str = "mean"
) -> LookAhead:  # fmt: skip
    """``LookAhead`` by ``torch.autograd.grad`` through the K steps, inner gradients detached."""
    theta = {k: v.detach().requires_grad_() for k, v in theta.items()}
    rates = {k: v.detach().requires_grad_() for k, v in rates.items()}
    phi = dict(theta)
    losses: list[Tensor] = []
    for chunk in chunks:
        inner = F.cross_entropy(network(phi, chunk.x), chunk.y)
        grads = torch.autograd.grad(inner, list(phi.values()), retain_graph=True)
        grads = [g.detach() if clamp is None else g.detach().clamp(-clamp, clamp) for g in grads]
        phi = {k: v - rates[k] * g for (k, v), g in zip(phi.items(), grads, strict=True)}
        losses.append(F.cross_entropy(network(phi, meta.x), meta.y))
    stacked = torch.stack(losses)
    loss = {"mean": stacked.mean(), "sum": stacked.sum(), "last": stacked[-1]}[judged]
    flat = torch.autograd.grad(loss, [*theta.values(), *rates.values()])
    half = len(theta)

    def plain() -> Params:
        at_theta = F.cross_entropy(network(theta, meta.x), meta.y)
        return dict(zip(theta, torch.autograd.grad(at_theta, list(theta.values())), strict=True))

    return LookAhead(
        dict(zip(theta, flat[:half], strict=True)), dict(zip(rates, flat[half:], strict=True)), loss.detach(), plain
    )
