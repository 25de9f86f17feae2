"""How a learning rate changes over a run, as a pure function of the step: nothing to save, nothing to resume.

    rate_t = lr min(1, (t + 1) / warmup) drop_factor^#{d in drops : d <= t} (1 + cos(pi min(t / cosine, 1))) / 2

t counts the steps taken before. Each part is left out by default. The recipe of large batches on ImageNet is a warm-up
of 5 epochs and three drops; a rate that falls as a cosine has ``cosine`` alone. All three are in steps, so where a run
is made n times as long they are to be multiplied by n as well.

>>> config = ScheduledConfig(lr=1.6, warmup=4, drops=(10, 20))
>>> [round(config.rate(t), 3) for t in (0, 1, 3, 9, 10, 20)]
[0.4, 0.8, 1.6, 1.6, 0.16, 0.016]
>>> [round(ScheduledConfig(lr=0.1, cosine=100).rate(t), 3) for t in (0, 50, 100, 200)]
[0.1, 0.05, 0.0, 0.0]
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from frisket.algos.parts.optimiser import OptimiserConfig
from frisket.errors import require


@dataclass(frozen=True, kw_only=True)
class ScheduledConfig(OptimiserConfig):
    """An optimiser whose rate changes; further fields are those of `OptimiserConfig`.

    Attributes:
        warmup: steps in which the rate rises in equal parts from 0 to what it is to be; 0 for none.
        drops: increasing steps from which on it is multiplied by ``drop_factor`` once more.
        drop_factor: what it is multiplied by.
        cosine: steps in which it falls to 0 as half a cosine; null for none.
    """

    warmup: int = 0
    drops: tuple[int, ...] = ()
    drop_factor: float = 0.1
    cosine: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.warmup >= 0, "warmup", self.warmup, "at least 0")
        rising = all(a < b for a, b in pairwise((0, *self.drops)))
        require(rising, "drops", self.drops, "increasing steps of at least 1")
        require(0 < self.drop_factor <= 1, "drop_factor", self.drop_factor, "above 0 and at most 1")
        require(self.cosine is None or self.cosine >= 1, "cosine", self.cosine, "at least 1, or null for none")

    def rate(self, step: int) -> float:
        """The rate of the step taken after ``step`` others."""
        rate = self.lr * self.drop_factor ** sum(drop <= step for drop in self.drops)
        if step < self.warmup:
            rate *= (step + 1) / self.warmup
        if self.cosine is not None:
            rate *= (1 + math.cos(math.pi * min(step / self.cosine, 1))) / 2
        return rate
