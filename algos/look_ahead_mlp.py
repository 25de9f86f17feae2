"""The look-ahead gradient of a fully connected network, its first layer never unrolled.

The same numbers as `frisket.algos.look_ahead`, in another order of summation. With few samples a first-layer gradient
has low rank, and the inner loop never needs the layer's fast weights themselves. For inner samples x_j with first-layer
deltas d_j (d loss / d output of the first layer, taken in the step that learns from x_j) and meta-samples X_n:

    Q_jn  = (x_j o X_n) s^T                                   once per call: one matrix product
    z_n  <- z_n - sum_{j in chunk} d_j o (Q_jn + s_bias)      the layer's output after an inner step
    G_theta = (w sum_k D_k)^T X                               D_kn deltas of the meta-samples after step k
    G_s     = - F^T P                                         P_jn = x_j o X_n,  F_jn = d_j o w sum_{k >= k(j)} D_kn

That is four matrix products for the layer that holds nearly all weights, instead of K passes over six arrays of its
size. The later layers are unrolled as in the general form.

The meta-batch must end with the samples of the chunks, in their order, as b_m = draws ++ batch does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from frisket.algos.inner import Data
from frisket.algos.look_ahead import LookAhead, MetaLoss, compile_step
from frisket.algos.networks.mlp import MLP
from frisket.types import Params

_WEIGHT, _BIAS = "fc1.weight", "fc1.bias"


class Carry(NamedTuple):
    """What goes from inner step to inner step; dicts hold the later layers.

    Attributes:
        z: first layer's output on the meta-batch, [N, H].
        phi, travelled, theta, rates: as in `frisket.algos.look_ahead.Carry`.
        loss: sum of the meta-losses, scalar.
    """

    z: Tensor
    phi: Params
    travelled: Params
    theta: Params
    rates: Params
    loss: Tensor


class Deltas(NamedTuple):
    """First-layer deltas of one step. Attributes: inner [s, H]; meta [N, H]."""

    inner: Tensor
    meta: Tensor


Step = Callable[[Carry, Params, Tensor, Tensor, Tensor, Tensor], tuple[Carry, Deltas]]


def mlp_inner_step(
    network: MLP, carry: Carry, rates: Params, q: Tensor, z: Tensor, y: Tensor, meta_y: Tensor
) -> tuple[Carry, Deltas]:
    """One inner step on samples with first-layer outputs ``z`` [s, H], labels ``y`` [s] and Q ``q`` [s, N, H]."""
    _, g, inner = network.after_first(carry.phi, z, y)
    phi = {k: torch.addcmul(v, rates[k], g[k], value=-1) for k, v in carry.phi.items()}
    travelled = {k: v + g[k] for k, v in carry.travelled.items()}
    moved = carry.z - (inner[:, None] * (q + rates[_BIAS])).sum(0)
    loss, h, meta = network.after_first(phi, moved, meta_y)
    theta = {k: v + h[k] for k, v in carry.theta.items()}
    along = {k: torch.addcmul(v, h[k], travelled[k], value=-1) for k, v in carry.rates.items()}
    return Carry(moved, phi, travelled, theta, along, carry.loss + loss), Deltas(inner, meta)


def build_mlp_inner_step(network: MLP, *, compiled: bool) -> Step:
    """`mlp_inner_step` on ``network``, compiled if asked for. Raises `SpecError` as `compile_step` does."""
    step = functools.partial(mlp_inner_step, network)
    return compile_step(step) if compiled else step


@torch.no_grad()
def look_ahead_mlp(
    network: MLP, step: Step, theta: Params, rates: Params, chunks: Sequence[Data], meta: Data, judged: MetaLoss
) -> LookAhead:
    """`frisket.algos.look_ahead.look_ahead` of an `MLP`. ``step`` is from `build_mlp_inner_step`."""
    new = torch.cat([chunk.x for chunk in chunks]).flatten(1)  # [n, I]
    x = meta.x.flatten(1)  # [N, I], its last n rows being `new`
    products = (new[:, None] * x).flatten(0, 1)  # P, [n N, I]
    q = (products @ rates[_WEIGHT].T).view(len(new), len(x), -1)

    late = [k for k in theta if k not in (_WEIGHT, _BIAS)]
    zeros = {k: torch.zeros_like(theta[k]) for k in late}
    start = Carry(network.first(theta, x), {k: theta[k] for k in late}, zeros, zeros, zeros, x.new_zeros(()))
    carry, inner, judges = start, [], []
    first, row = 0, len(x) - len(new)
    for i, chunk in enumerate(chunks):
        if judged == "last" and i == len(chunks) - 1:
            carry = carry._replace(theta=zeros, rates=zeros, loss=start.loss)
        end = first + len(chunk.y)
        z = carry.z[row + first : row + end]
        carry, deltas = step(carry, rates, q[first:end], z, chunk.y, meta.y)
        inner.append(deltas.inner)
        judges.append(deltas.meta)
        first = end

    share = 1 / len(chunks) if judged == "mean" else 1.0
    meta_deltas = torch.stack(judges)  # D_k, [K, N, H]
    if judged == "last":
        meta_deltas[:-1] = 0
    ahead = meta_deltas.flip(0).cumsum(0).flip(0) * share  # sum over k >= the step, [K, N, H]
    size = torch.tensor([len(chunk.y) for chunk in chunks], device=x.device)
    ahead_of = ahead.repeat_interleave(size, 0) if len(new) != len(chunks) else ahead  # by inner sample, [n, N, H]
    weighted = torch.cat(inner)[:, None] * ahead_of  # F, [n, N, H]
    gradient = {
        _WEIGHT: ahead[0].T @ x,
        _BIAS: ahead[0].sum(0),
        **{k: v * share for k, v in carry.theta.items()},
    }
    along = {
        _WEIGHT: -(weighted.flatten(0, 1).T @ products),
        _BIAS: -weighted.sum((0, 1)),
        **{k: v * share for k, v in carry.rates.items()},
    }
    return LookAhead({k: gradient[k] for k in theta}, {k: along[k] for k in theta}, carry.loss * share)
