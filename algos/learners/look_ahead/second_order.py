"""The look-ahead gradient of the La-MAML family, second order: automatic differentiation through the inner steps
(lamaml spec, section 3).

As in `frisket.algos.learners.look_ahead.gradient`, but g_k is a function of phi_k and so of theta and of the rates:

    g_k       = clamp(grad L(phi_k ; chunk_k))
    phi_{k+1} = phi_k - s o g_k
    loss      = w sum_k L(phi_{k+1} ; b_m)                     w = 1/K (mean), 1 (sum); or the last term alone
    G_theta, G_s = d loss / d theta, d loss / d s              through every g_k

Where the element-wise clamp is active g_k is constant, and passes nothing on. Clamped everywhere, or at rates of 0,
both gradients are those of the first order.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from frisket.algos.learners.look_ahead.gradient import LookAhead, MetaLoss
from frisket.algos.networks.network import Network
from frisket.algos.parts.gradients import leaves
from frisket.types import Data, Params


@torch.enable_grad()
def look_ahead_second(
    network: Network,
    clamp: float | None,
    theta: Params,
    rates: Params,
    chunks: Sequence[Data],
    meta: Data,
    judged: MetaLoss,
) -> LookAhead:
    """`frisket.algos.learners.look_ahead.gradient.look_ahead` with second-order gradients; inner gradients are clamped
    to ``[-clamp, clamp]`` (None: not)."""
    theta, rates = leaves(theta), leaves(rates)
    phi, losses = theta, []
    for i, chunk in enumerate(chunks):
        phi = _inner_step(network, clamp, phi, rates, chunk)
        if judged != "last" or i == len(chunks) - 1:
            losses.append(network.loss(phi, meta.x, meta.y))
    total = torch.stack(losses).sum()
    loss = total / len(chunks) if judged == "mean" else total
    grads = iter(_gradients(loss, [*theta.values(), *rates.values()], keep_graph=False))
    return LookAhead(
        {k: next(grads) for k in theta},
        {k: next(grads) for k in rates},
        loss.detach(),
        lambda: network.loss_and_gradients(theta, meta.x, meta.y)[1],
    )


def _inner_step(network: Network, clamp: float | None, phi: Params, rates: Params, chunk: Data) -> Params:
    g = _gradients(network.loss(phi, chunk.x, chunk.y), list(phi.values()), keep_graph=True)
    if clamp is not None:
        g = [v.clamp(-clamp, clamp) for v in g]
    return {k: v - rates[k] * step for (k, v), step in zip(phi.items(), g, strict=True)}


def _gradients(loss: Tensor, inputs: list[Tensor], *, keep_graph: bool) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, inputs, create_graph=keep_graph, materialize_grads=True)
