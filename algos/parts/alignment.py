"""Gradient alignment: do the new samples and the remembered ones pull the weights the same way? (lamaml spec, section
9.2, Table 4.)

    alignment = cos( grad L(theta; draws), grad L(theta; new samples) )

taken before the step at the weights that are to move. Near 0 the two do not meddle with each other; below 0 learning
the new undoes the old. It costs two gradients, so learners report it only where they are asked to.
"""

from __future__ import annotations

import torch
from torch import Tensor

from frisket.algos.networks.network import Network
from frisket.algos.parts.clip import global_norm
from frisket.algos.parts.tree import picked
from frisket.types import Data, Params

ALIGNMENT = (
    "only with `alignment`: mean cosine between the gradient on the draws and the one on the new samples, before the "
    "step; absent where there was no draw"
)
"""What the metric ``alignment`` means."""


def alignment(network: Network, theta: Params, meta: Data, new: int) -> Tensor | None:
    """The cosine at ``theta``, scalar; None without a draw.

    Args:
        meta: draws, then the new samples, as `frisket.algos.parts.reservoir.draw_with` gives them.
        new: how many new ones.
    """
    if len(meta.y) == new:
        return None
    _, old = network.loss_and_gradients(theta, meta.x[:-new], meta.y[:-new])
    _, fresh = network.loss_and_gradients(theta, meta.x[-new:], meta.y[-new:])
    product = torch.stack([(old[k] * fresh[k]).sum() for k in sorted(old)]).sum()
    length = global_norm(old) * global_norm(fresh)
    return product / length.clamp_min(torch.finfo(length.dtype).tiny)


def alignments(network: Network, theta: Params, meta: Data, new: int) -> Tensor | None:
    """`alignment` of every replica of a pack, [P]; None without a draw. All tensors have a leading dimension P."""
    each = [Data(x, y) for x, y in zip(meta.x, meta.y, strict=True)]
    cosines = [alignment(network, picked(theta, i), one, new) for i, one in enumerate(each)]
    found = [cosine for cosine in cosines if cosine is not None]
    return torch.stack(found) if found else None
