"""Mean and spread over replicas."""

from __future__ import annotations

import statistics
from collections.abc import Iterable


def aggregate(metrics: Iterable[dict[str, float]]) -> dict[str, dict[str, float]]:
    """``{metric: {"mean", "std", "n"}}`` over the replicas that have the metric."""
    values: dict[str, list[float]] = {}
    for row in metrics:
        for name, value in row.items():
            values.setdefault(name, []).append(value)
    return {k: {"mean": statistics.fmean(v), "std": statistics.pstdev(v), "n": len(v)} for k, v in values.items()}
