"""Which of several domains a task is of: `Turns`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from frisket.rng import numpy_generator

SUM_TOLERANCE = 1e-6
"""How far shares may be from their sum 1, and from one another where they are meant to be equal."""


class Turns:
    """Domains take turns in proportion to their shares, a pure function of (shares, seed, position).

    Positions come in blocks of B, the fewest in which every domain has a turn (N where the shares of N domains are
    equal). After b blocks a domain has had its share of b B turns, but for less than one: the cumulated shares are
    rounded, so that no rounding adds up. In a block a domain's turns are spread evenly; where in that order the block
    begins is drawn by (seed, block). Of equal shares, so, each block is MMAML's scheme: a random start r, and position
    i is of domain (r + i) mod N.

    Attributes:
        block: B.

    Args:
        shares: of the domains; above 0, and 1 together within `SUM_TOLERANCE`.
        seed: the run's seed.
    """

    def __init__(self, shares: Sequence[float], seed: int) -> None:
        count, self._seed = len(shares), seed
        if max(shares) - min(shares) <= SUM_TOLERANCE:
            shares = [1 / count] * count
            ends = np.arange(1, count + 1) / count
        else:
            ends = np.cumsum(shares) / math.fsum(shares)
        ends[-1] = 1.0
        self._ends: np.ndarray = ends
        self._last = (-1, ends, ends)  # the last block is kept: positions mostly come in order
        self.block = math.ceil(math.fsum(shares) / min(shares) - SUM_TOLERANCE)

    def at(self, position: int) -> tuple[int, int]:
        """The domain at ``position`` (from 0) by its place among the shares, and how many turns it has had before."""
        block, place = divmod(position, self.block)
        if self._last[0] != block:
            before = self._before(block)
            order = _spread(self._before(block + 1) - before)
            start = int(numpy_generator(self._seed, "domains", block).integers(self.block))
            self._last = block, before, np.roll(order, -start)
        _, before, order = self._last
        domain = int(order[place])
        return domain, int(before[domain] + np.count_nonzero(order[:place] == domain))

    def _before(self, block: int) -> np.ndarray:
        """Turns of every domain before ``block``, ``[N]``."""
        return np.diff(np.floor(block * self.block * self._ends + 0.5), prepend=0).astype(np.int64)


def _spread(counts: np.ndarray) -> np.ndarray:
    """``[sum of counts]``: each domain as often as it has turns, evenly, in the order of the domains where level."""
    domains = np.repeat(np.arange(len(counts)), counts)
    places = np.concatenate([(np.arange(n) + 0.5) / max(n, 1) for n in counts])
    return domains[np.argsort(places, kind="stable")]
