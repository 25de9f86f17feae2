"""Mean and spread over replicas."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable


def aggregate(metrics: Iterable[dict[str, float]]) -> dict[str, dict[str, float]]:
    """``{metric: {"mean", "std", "n"}}`` over the replicas that have the metric; where a value is not finite, nor is
    the mean, and the spread is NaN."""
    values: dict[str, list[float]] = {}
    for row in metrics:
        for name, value in row.items():
            values.setdefault(name, []).append(value)
    return {name: _of(found) for name, found in values.items()}


def _of(values: list[float]) -> dict[str, float]:
    if all(map(math.isfinite, values)):
        mean, std = statistics.fmean(values), statistics.pstdev(values)
    else:
        mean, std = sum(values) / len(values), math.nan
    return {"mean": mean, "std": std, "n": len(values)}
