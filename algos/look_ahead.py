"""The look-ahead gradient of the La-MAML family, first order and in closed form (lamaml spec, section 3).

From phi_0 = theta, K inner steps at rates s (one per weight), each judged on the same meta-batch b_m:

    g_k       = grad L(phi_k ; chunk_k)                       constant to the outer derivative (first order)
    phi_{k+1} = phi_k - s o g_k
    h_k       = grad L(phi_{k+1} ; b_m)
    G_theta   = w sum_k h_k                                   w = 1/K (mean), 1 (sum)
    G_s       = - w sum_k h_k o sum_{j<=k} g_j

or, judged after the last step only, ``G_theta = h_{K-1}`` and ``G_s = - h_{K-1} o sum_j g_j``.

`inner_step` is a pure function of tensors and is all there is to compile: K calls of one small program instead of one
program K times as long.
"""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeVar, cast

import torch
from torch import Tensor

from frisket.algos.inner import Data
from frisket.algos.networks.network import Network
from frisket.errors import require
from frisket.types import Params

F = TypeVar("F", bound=Callable[..., Any])

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
    """Attributes: theta, rates: G_theta and G_s, unclipped; loss: the meta-loss, scalar."""

    theta: Params
    rates: Params
    loss: Tensor


InnerStep = Callable[[Carry, Params, Tensor, Tensor, Tensor, Tensor], Carry]


def inner_step(
    network: Network,
    clamp: float | None,
    carry: Carry,
    rates: Params,
    x: Tensor,
    y: Tensor,
    meta_x: Tensor,
    meta_y: Tensor,
) -> Carry:
    """One inner step on ``x`` [s, C, H, W], ``y`` [s], judged on ``meta_x`` [N, C, H, W], ``meta_y`` [N]."""
    _, g = network.loss_and_gradients(carry.phi, x, y)
    if clamp is not None:
        g = {k: v.clamp(-clamp, clamp) for k, v in g.items()}
    phi = {k: torch.addcmul(v, rates[k], g[k], value=-1) for k, v in carry.phi.items()}
    travelled = {k: v + g[k] for k, v in carry.travelled.items()}
    loss, h = network.loss_and_gradients(phi, meta_x, meta_y)
    return Carry(
        phi,
        travelled,
        {k: v + h[k] for k, v in carry.theta.items()},
        {k: torch.addcmul(v, h[k], travelled[k], value=-1) for k, v in carry.rates.items()},
        carry.loss + loss,
    )


def build_inner_step(network: Network, clamp: float | None, *, compiled: bool) -> InnerStep:
    """`inner_step` on ``network``, inner gradients clamped to ``[-clamp, clamp]`` (None: not), compiled if asked for.

    Raises:
        SpecError: as `compile_step`.
    """
    step = functools.partial(inner_step, network, clamp)
    return compile_step(step) if compiled else step


def compile_step(step: F) -> F:
    """``step`` compiled. The result is kept on disk and found again by later processes. Compiled and plain numbers
    agree to float32 rounding, not to the bit.

    Raises:
        SpecError: there is no C++ compiler.
    """
    compilers = (os.environ.get("CXX", "c++"), "g++", "clang++")
    found = any(shutil.which(name) for name in compilers)
    require(found, "compile", True, "false on a machine without a C++ compiler")
    return cast(F, torch.compile(step, dynamic=False, fullgraph=True))


@torch.no_grad()
def look_ahead(
    step: InnerStep, theta: Params, rates: Params, chunks: Sequence[Data], meta: Data, judged: MetaLoss
) -> LookAhead:
    """The gradients of the meta-loss at ``theta`` and ``rates``.

    Args:
        step: from `build_inner_step`.
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
        carry = step(carry, rates, chunk.x, chunk.y, meta.x, meta.y)
    if judged != "mean":
        return LookAhead(carry.theta, carry.rates, carry.loss)
    share = 1 / len(chunks)
    return LookAhead(
        {k: v * share for k, v in carry.theta.items()},
        {k: v * share for k, v in carry.rates.items()},
        carry.loss * share,
    )
