"""Mean and spread over replicas, and how they are written: one seed has no spread."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping


def aggregate(metrics: Iterable[dict[str, float]]) -> dict[str, dict[str, float]]:
    """``{metric: {"mean", "std", "n"}}`` over the replicas that have the metric; where a value is not finite, nor is
    the mean, and the spread is NaN."""
    values: dict[str, list[float]] = {}
    for row in metrics:
        for name, value in row.items():
            values.setdefault(name, []).append(value)
    return {name: _of(found) for name, found in values.items()}


def spread_of(std: float | None, n: int | None) -> float | None:
    """The spread that can be shown: None where there is none, as with one seed; ``n`` None: it is not stated."""
    return None if n == 1 else std


def spread_text(mean: float, std: float | None, n: int | None, *, form: str = ".3f") -> str:
    """``0.512 ± 0.010``; the mean alone where there is no spread (`spread_of`)."""
    shown = spread_of(std, n)
    return f"{mean:{form}}" if shown is None else f"{mean:{form}} ± {shown:{form}}"


def interval_text(row: Mapping[str, float], *, form: str = ".3f") -> str:
    """``[0.42, 0.57]``: the interval that the mean of ``row`` lies in, from ``low`` to ``high``; empty where it has
    none."""
    return f"[{row['low']:{form}}, {row['high']:{form}}]" if "low" in row and row["n"] > 1 else ""


def seeds_text(count: int) -> str:
    """``seed 0``, ``seeds 0 to 4``."""
    return "seed 0" if count == 1 else f"seeds 0 to {count - 1}"


def _of(values: list[float]) -> dict[str, float]:
    if all(map(math.isfinite, values)):
        mean, std = statistics.fmean(values), statistics.pstdev(values)
    else:
        mean, std = sum(values) / len(values), math.nan
    return {"mean": mean, "std": std, "n": len(values)}
