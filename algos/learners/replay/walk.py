"""Plain SGD over a list of samples, chunk after chunk, for P replicas at once: `walk`.

    theta <- theta - lr clip_c( grad L(theta; chunk) )

On the fully connected network the first layer, nine tenths of the weights, is written once per call and not once per
step. A chunk's gradient there is ``sum_n d_n x_n^T`` (d_n: loss by the layer's output, over the chunk's size), so with
z_n the layer's output for sample n at the start, what an earlier sample m taught is seen as::

    z_n <- z_n - lr sum_m d_m (x_m . x_n + 1)            the 1 is the bias
    theta_1 <- theta_1 - lr sum_m d_m x_m^T              after the last chunk

The norm for the clip comes from the same products: ``|sum_n d_n x_n^T|^2 = sum_mn (d_m . d_n) (x_m . x_n)``.

P replicas, N samples, K chunks, I inputs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from frisket.algos.networks.mlp import MLP
from frisket.algos.networks.network import Network
from frisket.algos.parts.clip import clip_by_global_norm, scale_to
from frisket.algos.parts.tree import descend, lifted, picked
from frisket.types import Data, Params


def walk(
    network: Network, theta: Params, data: Data, chunk: int, lr: Tensor, bound: float | None
) -> tuple[Params, Tensor]:
    """``(theta, losses [P, N])`` after one step on each chunk, in order; a sample's loss is that before its own step.

    Networks other than the fully connected one take their replicas one after the other.

    Args:
        theta: [P, ...] each; left as it is.
        data: x [P, N, ...], y [P, N].
        chunk: samples per step; the last chunk has what is left.
        lr: [P].
        bound: c, of every gradient's norm; None for none.
    """
    if isinstance(network, MLP):
        return _walk_mlp(network, theta, data, chunk, lr, bound)
    ends = [
        _walk_alone(network, picked(theta, i), Data(x, y), chunk, rate, bound)
        for i, (x, y, rate) in enumerate(zip(data.x, data.y, lr.tolist(), strict=True))
    ]
    if len(ends) == 1:
        return lifted(ends[0][0]), ends[0][1][None]
    return {k: torch.stack([end[k] for end, _ in ends]) for k in theta}, torch.stack([losses for _, losses in ends])


def _walk_alone(
    network: Network, theta: Params, data: Data, chunk: int, lr: float, bound: float | None
) -> tuple[Params, Tensor]:
    losses = []
    for x, y in zip(data.x.split(chunk), data.y.split(chunk), strict=True):
        loss, grads = network.loss_and_gradients(theta, x, y)
        theta = descend(theta, lr, clip_by_global_norm(grads, bound))
        losses.append(loss)
    return theta, torch.stack(losses)


def _walk_mlp(
    network: MLP, theta: Params, data: Data, chunk: int, lr: Tensor, bound: float | None
) -> tuple[Params, Tensor]:
    x, count = data.x.flatten(2), data.y.shape[1]
    first, *later = network.layers
    weight, bias = f"{first}.weight", f"{first}.bias"
    late = {k: v.clone() for k, v in theta.items() if k not in (weight, bias)}
    products = _products(x) if count > chunk or bound is not None else None
    z, rate = network.first(theta, x), lr[:, None, None]
    learned, losses, end = list[Tensor](), list[Tensor](), 0
    for seen, y in zip(z.split(chunk, 1), data.y.split(chunk, 1), strict=True):
        size = y.shape[1]
        start, end = end, end + size
        run = network.backward(late, seen, y)
        losses.append(run.losses)
        step = rate if size == 1 else rate / size
        if bound is not None:
            assert products is not None
            step = step * _clip(run.deltas, (products[:, start:end, start:end], *map(_products, run.inputs)), bound)
        move, *moves = [delta * step for delta in run.deltas]
        for layer, inputs, by in zip(later, run.inputs, moves, strict=True):
            _move(late[f"{layer}.weight"], late[f"{layer}.bias"], by, inputs)
        learned.append(move)
        if products is not None and end < count:
            z[:, end:].baddbmm_(products[:, end:, start:end], move, alpha=-1)
    move = torch.cat(learned, 1)
    moved = {weight: torch.baddbmm(theta[weight], move.mT, x, alpha=-1), bias: theta[bias] - move.sum(1), **late}
    return {k: moved[k] for k in theta}, torch.cat(losses, 1)


def _move(weight: Tensor, bias: Tensor, by: Tensor, inputs: Tensor) -> None:
    """A layer's step in place; ``by`` are rates times deltas, [P, s, O]."""
    if inputs.shape[1] == 1:  # three times faster than a matrix product
        weight.addcmul_(by.mT, inputs, value=-1)
        bias.sub_(by[:, 0])
    else:
        weight.baddbmm_(by.mT, inputs, alpha=-1)
        bias.sub_(by.sum(1))


def _products(inputs: Tensor) -> Tensor:
    """``a_m . a_n + 1``, [P, s, s]: inner products of what single samples teach one output, bias counted in."""
    return inputs @ inputs.mT + 1


def _clip(deltas: tuple[Tensor, ...], products: tuple[Tensor, ...], bound: float) -> Tensor:
    """What the mean gradient of a chunk is to be multiplied with, [P, 1, 1]; ``deltas`` are the samples' own."""
    parts = [((d @ d.mT) * p).sum((1, 2)) for d, p in zip(deltas, products, strict=True)]
    squares = torch.stack(parts).sum(0).clamp_min(0)  # rounding may leave a vanishing one below 0
    return scale_to(squares.sqrt() / deltas[0].shape[1], bound)[:, None, None]
