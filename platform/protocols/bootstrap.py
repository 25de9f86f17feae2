"""Intervals a mean over seeds lies in, by drawing seeds anew (continual_world spec, section 8).

4000 resamples, each of as many seeds as there are, with replacement; the 0.05 and 0.95 quantiles, midpoints of the two
values next to them. The draws come from seed 0 whatever is measured, so equal numbers have equal intervals.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from frisket.rng import numpy_generator

RESAMPLES, TAIL = 4000, 0.05


class Interval(NamedTuple):
    """90 percent of the resamples lie in it."""

    low: float
    high: float


def bootstrap(statistic: Callable[..., np.ndarray], *samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the interval of ``statistic``, each of the shape of one of its values.

    Args:
        statistic: of resamples [R, n, ...] of each of ``samples``, values [R, ...].
        samples: [n, ...] by seed; several are resampled independently.
    """
    drawn = []
    for number, sample in enumerate(samples):
        places = numpy_generator(0, "bootstrap", number).integers(0, len(sample), (RESAMPLES, len(sample)))
        drawn.append(sample[places])
    low, high = np.quantile(statistic(*drawn), (TAIL, 1 - TAIL), axis=0, method="midpoint")
    return low, high
