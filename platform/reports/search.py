"""The picture of a search: its score over one or two of its axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from frisket.platform.run.points import Point
from frisket.platform.specs.search import Search

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEAT_MAP, LINE, SCATTER = "heat_map.png", "scores.png", "scatter.png"


def draw_search(points: Sequence[Point], search: Search, metric: str, spec: str, caption: str) -> dict[str, Figure]:
    """File name to picture: a heat map over the first two axes that have several values, a line over the only one, and
    for drawn points, which lie on no grid, a scatter. No picture where no point is ranked.

    Args:
        points: the search's, in any order; those not ranked leave their place white.
        search: says the axes.
        metric: the score's name.
        spec, caption: what made it.
    """
    ranked = [point for point in points if point.ranked]
    if not ranked:
        return {}
    axes = [name for name in search.axes if len({_key(p.values[name]) for p in points}) > 1] or list(search.axes)[:1]
    if search.samples is not None:
        return {SCATTER: _scatter(ranked, search, axes[:2], metric, spec, caption)}
    if len(axes) == 1:
        return {LINE: _line(ranked, search, axes[0], metric, spec, caption)}
    return {HEAT_MAP: _heat_map(ranked, search, axes, metric, spec, caption)}


def best_over(
    points: Sequence[Point], rows: Sequence[Any], columns: Sequence[Any], names: tuple[str, str], mode: str
) -> list[list[Point | None]]:
    """``[rows][columns]``: the best of the points with these values of the axes ``names``; None where there is none."""
    pick = max if mode == "max" else min
    table: list[list[Point | None]] = []
    for row in rows:
        table.append([])
        for column in columns:
            here = [p for p in points if (p.values[names[0]], p.values[names[1]]) == (row, column)]
            table[-1].append(pick(here, key=_score) if here else None)
    return table


def _heat_map(points: Sequence[Point], search: Search, axes: list[str], metric: str, spec: str, caption: str) -> Figure:
    down, across, *others = axes
    rows, columns = list(search.axes[down]), list(search.axes[across])
    table = best_over(points, rows, columns, (down, across), search.mode)
    scores = np.array([[math.nan if p is None else _score(p) for p in line] for line in table])
    best = f", best over {', '.join(others)}" if others else ""
    figure, ax = _figure(
        spec, f"{metric} over the grid{best}", caption, 2.4 + 1.0 * len(columns), 1.9 + 0.6 * len(rows)
    )
    image = ax.imshow(scores, cmap="cividis", aspect="auto", interpolation="nearest")
    low, high = float(np.nanmin(scores)), float(np.nanmax(scores))
    for i, line in enumerate(table):
        for j, point in enumerate(line):
            if point is not None:
                dark = _score(point) < (low + high) / 2
                spread = f"\n± {point.std:.3f}" if point.n > 1 else ""
                ax.text(
                    j, i, f"{point.score:.3f}{spread}", ha="center", va="center", fontsize=7.5,
                    color="white" if dark else "black",
                )  # fmt: skip
    ax.set_xticks(range(len(columns)), [str(v) for v in columns])
    ax.set_yticks(range(len(rows)), [str(v) for v in rows])
    ax.set(xlabel=across, ylabel=down)
    figure.colorbar(image, ax=ax, label=f"{metric} (mean over seeds)")
    return figure


def _line(points: Sequence[Point], search: Search, axis: str, metric: str, spec: str, caption: str) -> Figure:
    values = list(search.axes[axis])
    figure, ax = _figure(spec, f"{metric} over {axis}", caption, 6.4, 4.0)
    at = _place(ax.set_xscale, ax.set_xticks, values)
    shown = sorted((at[_key(p.values[axis])], _score(p), p.std) for p in points)
    x, mean, std = (np.array(column, float) for column in zip(*shown, strict=True))
    ax.plot(x, mean, "o-", color="#0072B2")
    ax.fill_between(x, mean - std, mean + std, color="#0072B2", alpha=0.15, lw=0)
    ax.set(xlabel=axis, ylabel=f"{metric}: mean ± std over seeds")
    ax.grid(alpha=0.25)
    return figure


def _scatter(points: Sequence[Point], search: Search, axes: list[str], metric: str, spec: str, caption: str) -> Figure:
    figure, ax = _figure(spec, f"{metric} at the drawn points", caption, 6.4, 4.6)
    values = [[p.values[name] for p in points] for name in axes]
    x = _place(ax.set_xscale, ax.set_xticks, values[0], search.axes[axes[0]])
    scores = [_score(p) for p in points]
    ax.set(xlabel=axes[0])
    if len(axes) == 1:
        ax.plot([x[_key(v)] for v in values[0]], scores, "o", color="#0072B2")
        ax.set(ylabel=metric)
    else:
        y = _place(ax.set_yscale, ax.set_yticks, values[1], search.axes[axes[1]])
        image = ax.scatter(
            [x[_key(v)] for v in values[0]], [y[_key(v)] for v in values[1]], c=scores, cmap="cividis", s=60
        )
        ax.set(ylabel=axes[1])
        figure.colorbar(image, ax=ax, label=f"{metric} (mean over seeds)")
    ax.grid(alpha=0.25)
    return figure


def _place(
    scale: Callable[[str], Any], ticks: Callable[..., Any], values: Sequence[Any], axis: Any = None
) -> dict[str, float]:
    """Where the ``values`` of an axis lie: numbers where they are, on a log scale where they were drawn on one or span
    more than a decade; everything else side by side."""
    numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if len(numbers) < len(values):
        distinct = list(dict.fromkeys(_key(v) for v in values))
        ticks(range(len(distinct)), distinct)
        return {name: float(i) for i, name in enumerate(distinct)}
    drawn_log = isinstance(axis, Mapping) and axis.get("scale") == "log"
    if min(numbers) > 0 and (drawn_log or (axis is None and max(numbers) > 10 * min(numbers))):
        scale("log")
    return {_key(v): float(v) for v in numbers}


def _score(point: Point) -> float:
    assert point.score is not None  # only ranked points are drawn
    return point.score


def _key(value: Any) -> str:
    return str(value)


def _figure(spec: str, title: str, caption: str, width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(width, 6.4), max(height, 3.4)), dpi=110, layout="constrained")
    figure.suptitle(f"{spec}: {title}\n", fontsize=11)
    below = 1 - 0.36 / figure.get_figheight()
    figure.text(0.5, below, caption, ha="center", va="center", fontsize=7.5, color="#555555")
    return figure, figure.subplots()
