"""Which weights pruning leaves, by where they started (PP21, Figures 1c and 1d; powerprop sheet, section 4).

Of the weights that a mask keeps after training, theta_0 being a weight at the start and theta at the end:

* how they are distributed, at the start and at the end;
* how many have another sign at the end than at the start;
* what share of the weights survives, by the rank of abs(theta_0) within their tensor: tenths of every tensor, from the
  smallest starting magnitudes to the largest, so that layers that start at different scales count alike.

Everything is a count, so two runs of the same bits have the same numbers.

>>> import torch
>>> start = {"w": torch.tensor([0.01, -0.2, 0.3, 0.4])}
>>> end = {"w": torch.tensor([0.02, 0.5, -0.1, 0.6])}
>>> found = survivors(start, end, {"w": torch.tensor([False, True, False, True])})
>>> found.kept, found.flipped, sum(found.surviving_by_start)
(2, 1, 2)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from frisket.types import Params

PARTS = 10
LIMIT, WIDTH = 1.0, 0.02
EDGES = tuple(round(i * WIDTH - LIMIT, 2) for i in range(round(2 * LIMIT / WIDTH) + 1))
"""Edges of the bins weights are counted in; whatever lies beyond them is counted in the first and the last bin."""


@dataclass(frozen=True, kw_only=True)
class Survivors:
    """Attributes:
    start, end: how many of the kept weights lie in each bin of `EDGES`, before and after training.
    flipped: how many of the kept weights changed their sign.
    by_start: how many weights there are in each of `PARTS` parts by starting magnitude, the smallest first.
    surviving_by_start: how many of those are kept.
    """

    start: tuple[int, ...]
    end: tuple[int, ...]
    flipped: int
    by_start: tuple[int, ...]
    surviving_by_start: tuple[int, ...]

    @property
    def kept(self) -> int:
        """How many weights the mask keeps."""
        return sum(self.surviving_by_start)


def survivors(start: Params, end: Params, masks: Params) -> Survivors:
    """What became of the weights that ``masks`` keep.

    Args:
        start, end: effective weights before and after training; only tensors that have a mask are counted.
        masks: boolean tensors of the weights' shapes.
    """
    parts = {k: _part(start[k]) for k in masks}
    first, last = (torch.cat([side[k][mask] for k, mask in masks.items()]) for side in (start, end))
    return Survivors(
        start=_histogram(first),
        end=_histogram(last),
        flipped=int((first.sign() * last.sign() < 0).sum()),
        by_start=_counts(torch.cat([part.flatten() for part in parts.values()]), PARTS),
        surviving_by_start=_counts(torch.cat([parts[k][mask] for k, mask in masks.items()]), PARTS),
    )


def _part(weights: Tensor) -> Tensor:
    """Which of the `PARTS` parts of its tensor each weight is in by magnitude; of equal ones the first is smaller."""
    ranks = torch.empty(weights.numel(), dtype=torch.int64, device=weights.device)
    order = weights.flatten().abs().argsort(stable=True)
    ranks[order] = torch.arange(weights.numel(), device=weights.device)
    return (ranks * PARTS // weights.numel()).view(weights.shape)


def _histogram(values: Tensor) -> tuple[int, ...]:
    bins = len(EDGES) - 1
    edges = torch.tensor(EDGES, dtype=torch.float64, device=values.device)
    return _counts((torch.bucketize(values.double(), edges, right=True) - 1).clamp(0, bins - 1), bins)


def _counts(indices: Tensor, length: int) -> tuple[int, ...]:
    return tuple(indices.bincount(minlength=length).tolist())
