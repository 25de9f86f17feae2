"""The look-ahead gradient of the La-MAML family, first order and in closed form (lamaml spec, section 3).

From phi_0 = theta, K inner steps at rates s (one per weight), each judged on the same meta-batch b_m:

    g_k       = grad L(phi_k ; chunk_k)                       constant to the outer derivative (first order)
    phi_{k+1} = phi_k - s o g_k
    h_k       = grad L(phi_{k+1} ; b_m)
    G_theta   = w sum_k h_k                                   w = 1/K (mean), 1 (sum)
    G_s       = - w sum_k h_k o sum_{j<=k} g_j

or, judged after the last step only, ``G_theta = h_{K-1}`` and ``G_s = - h_{K-1} o sum_j g_j``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from frisket.algos.networks.network import Network
from frisket.types import Data, Params

MetaLoss = Literal["mean", "sum", "last"]


class Carry(NamedTuple):
    """What goes from inner step to inner step.

    Attributes:
        phi: fast weights.
        travelled: ``sum_{j<=k} g_j``.
        theta: ``sum_k h_k``.
        rates: ``- sum_k h_k o travelled_k``.
        loss: sum of the meta-losses, scalar.
    """

    phi: Params
    travelled: Params
    theta: Params
    rates: Params
    loss: Tensor


class LookAhead(NamedTuple):
    """Attributes:
    theta, rates: G_theta and G_s, unclipped.
    loss: the meta-loss, scalar.
    plain: gives the gradient of L(theta; b_m) at theta itself, as no method but La-ER needs it.
    """

    theta: Params
    rates: Params
    loss: Tensor
    plain: Callable[[], Params]


def inner_step(network: Network, clamp: float | None, carry: Carry, rates: Params, chunk: Data, meta: Data) -> Carry:
    """One inner step on ``chunk``, judged on ``meta``."""
    _, g = network.loss_and_gradients(carry.phi, chunk.x, chunk.y)
    if clamp is not None:
        g = {k: v.clamp(-clamp, clamp) for k, v in g.items()}
    phi = {k: torch.addcmul(v, rates[k], g[k], value=-1) for k, v in carry.phi.items()}
    travelled = {k: v + g[k] for k, v in carry.travelled.items()}
    loss, h = network.loss_and_gradients(phi, meta.x, meta.y)
    return Carry(
        phi,
        travelled,
        {k: v + h[k] for k, v in carry.theta.items()},
        {k: torch.addcmul(v, h[k], travelled[k], value=-1) for k, v in carry.rates.items()},
        carry.loss + loss,
    )


@torch.no_grad()
def look_ahead(
    network: Network, clamp: float | None, theta: Params, rates: Params, chunks: Sequence[Data], meta: Data,
    judged: MetaLoss,
) -> LookAhead:  # fmt: skip
    """The gradients of the meta-loss at ``theta`` and ``rates``.

    Args:
        network: the network.
        clamp: inner gradients are clamped to ``[-clamp, clamp]``; None for not.
        theta: weights, phi_0.
        rates: s, same shapes as theta.
        chunks: what the K inner steps learn from.
        meta: b_m.
        judged: ``mean`` or ``sum`` over the meta-losses after every step, or the ``last`` one alone.
    """
    zeros = {k: torch.zeros_like(v) for k, v in theta.items()}
    start = Carry(theta, zeros, zeros, zeros, torch.zeros((), dtype=meta.x.dtype, device=meta.x.device))
    carry = start
    for i, chunk in enumerate(chunks):
        if judged == "last" and i == len(chunks) - 1:
            carry = carry._replace(theta=zeros, rates=zeros, loss=start.loss)
        carry = inner_step(network, clamp, carry, rates, chunk, meta)
    share = 1 / len(chunks) if judged == "mean" else 1.0
    return LookAhead(
        {k: v * share for k, v in carry.theta.items()},
        {k: v * share for k, v in carry.rates.items()},
        carry.loss * share,
        lambda: network.loss_and_gradients(theta, meta.x, meta.y)[1],
    )


def shuffle(data: Data, generator: np.random.Generator) -> Data:
    """``data`` in random order."""
    order = torch.from_numpy(generator.permutation(len(data.y))).to(data.y.device)
    return Data(data.x[order], data.y[order])


def chunk_sizes(samples: int, count: int) -> list[int]:
    """Sizes of at most ``count`` chunks of ceil(samples / count); a batch that does not fill them gives fewer."""
    size = -(-samples // count)
    return [min(size, samples - at) for at in range(0, samples, size)]


def chunks(data: Data, count: int) -> list[Data]:
    """``data`` in pieces of `chunk_sizes`."""
    sizes = chunk_sizes(len(data.y), count)
    return [Data(x, y) for x, y in zip(data.x.split(sizes), data.y.split(sizes), strict=True)]
