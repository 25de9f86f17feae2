"""The order in which a task's samples come, pass by pass."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from frisket.rng import numpy_generator


def passes_in_words(count: int) -> str:
    """``one pass`` or ``10 passes``."""
    return "one pass" if count == 1 else f"{count:,} passes"


class Passes:
    """Which samples a task shows in which order: the same ones in every pass, each pass in an order of its own.

    Args:
        pools: of each task, the indices it may draw from.
        count: samples of a task, drawn without replacement; None for its whole pool.
        seed: the run's seed.
    """

    def __init__(self, pools: Sequence[np.ndarray], count: int | None, seed: int) -> None:
        self.pools, self.count, self.seed = pools, count, seed
        self._last: tuple[tuple[int, int], np.ndarray] | None = None

    def __call__(self, task: int, epoch: int) -> np.ndarray:
        """Indices of ``task``'s samples in the order of ``epoch``, [count]."""
        if self._last is None or self._last[0] != (task, epoch):  # the last pass is kept: positions come in order
            pool = self.pools[task]
            order = numpy_generator(self.seed, "samples", task).permutation(len(pool))[: self.count]
            if epoch:
                order = numpy_generator(self.seed, "epoch", task, epoch).permutation(order)
            self._last = (task, epoch), pool[order]
        return self._last[1]
