"""The loss of a labelled batch and its gradient, for learners that train long on large batches.

    loss = mean over the batch of  - sum_k q_k log p_k,     q = (1 - e) (the label) + e (uniform over the labels)

e is the label smoothing. A batch may be taken in parts one after the other, for memory: the gradient is the same mean
up to rounding, except through batch norm, which then knows one part at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from frisket.algos.networks.network import Network, own_logits
from frisket.algos.networks.normalised import Normalised
from frisket.types import Params


class Learned(NamedTuple):
    """What a batch says.

    Attributes:
        loss: mean cross-entropy with the labels themselves, without smoothing; scalar.
        grads: gradient of the smoothed loss.
        statistics: running statistics of a `Normalised` network after the batch, else as they were.
    """

    loss: Tensor
    grads: Params
    statistics: Params


def loss_and_gradients(
    network: Network, params: Params, statistics: Params, x: Tensor, y: Tensor, *, smoothing: float = 0.0,
    parts: int = 1
) -> Learned:  # fmt: skip
    """What ``x`` [N, C, H, W] with labels ``y`` [N] says of ``params``, without a graph.

    Args:
        network: with all of ``params``.
        statistics: a `Normalised` network's running ones; of no use to others.
        smoothing: e; must be 0 where labels are learned in blocks of their own.
        parts: how many equal parts (the last may be smaller) the batch is taken in, at most N.
    """
    if parts == 1:
        return _whole(network, params, statistics, x, y, smoothing)
    loss, grads = torch.zeros((), device=x.device), dict[str, Tensor]()
    for some_x, some_y in zip(x.chunk(parts), y.chunk(parts), strict=True):
        one = _whole(network, params, statistics, some_x, some_y, smoothing)
        share, statistics = len(some_y) / len(y), one.statistics
        loss = loss + share * one.loss
        grads = {k: g * share + grads[k] if grads else g * share for k, g in one.grads.items()}
    return Learned(loss, grads, statistics)


def answer(network: Network, params: Params, statistics: Params, x: Tensor) -> Tensor:
    """Logits [N, ways]; those of a `Normalised` network by its running statistics."""
    return network.answering(params, statistics, x) if isinstance(network, Normalised) else network(params, x)


def first_statistics(network: Network) -> Params:
    """Running statistics before training; none of a network that keeps none."""
    return network.statistics() if isinstance(network, Normalised) else {}


def _whole(network: Network, params: Params, statistics: Params, x: Tensor, y: Tensor, smoothing: float) -> Learned:
    if not smoothing and not isinstance(network, Normalised):
        return Learned(*network.loss_and_gradients(params, x, y), statistics)
    leaves = {k: v.detach().requires_grad_() for k, v in params.items()}
    with torch.enable_grad():
        if isinstance(network, Normalised):
            logits, statistics = network.training(leaves, statistics, x)
        else:
            logits = network(leaves, x)
        logits = own_logits(logits, y, network.own)
        loss = F.cross_entropy(logits, y, label_smoothing=smoothing)
        grads = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
    plain = F.cross_entropy(logits.detach(), y) if smoothing else loss.detach()
    return Learned(plain, dict(zip(leaves, grads, strict=True)), statistics)
