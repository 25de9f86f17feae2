"""The pictures of a search, of which every search has one: its score over one or two of its axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from frisket.platform.reports.figure import PALETTE, SHADES, WIDEST, Heading, Picture, frame, lined
from frisket.platform.run.aggregate import spread_of, spread_text
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.points import Point, points_of, search_of
from frisket.platform.specs.search import Search

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Searched(NamedTuple):
    """Attributes:
    points: the search's, in any order; those not ranked, or that diverged, leave their place white.
    search: says the axes.
    metric: the score's name.
    """

    points: Sequence[Point]
    search: Search
    metric: str

    @classmethod
    def of(cls, folder: RunFolder) -> Searched:
        """What the search ``folder`` has found."""
        experiment = folder.experiment
        return cls(points_of(folder), search_of(experiment), experiment.metric)

    @property
    def ranked(self) -> list[Point]:
        """The points to be drawn: those that diverged only where all did."""
        ranked = [point for point in self.points if point.ranked]
        return [point for point in ranked if point.sound] or ranked

    @property
    def axes(self) -> list[str]:
        """Names of the axes that have several values; the first one where none has."""
        axes = self.search.axes
        return [k for k in axes if len({_key(p.values[k]) for p in self.points}) > 1] or list(axes)[:1]


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


def draw_heat_map(found: Searched, heading: Heading) -> Figure:
    """The best score for every two values of the first two axes that have several."""
    points, (_, search, metric), (down, across, *others) = found.ranked, found, found.axes
    rows, columns = list(search.axes[down]), list(search.axes[across])
    table = best_over(points, rows, columns, (down, across), search.mode)
    scores = np.array([[math.nan if p is None else _score(p) for p in line] for line in table])
    best = f", best over {', '.join(others)}" if others else ""
    across = min(2.4 + 1.0 * len(columns), max(WIDEST, 2.4 + 0.55 * len(columns)))  # as narrow as its numbers allow
    size = (across, 1.9 + 0.6 * len(rows))
    figure, (ax,) = frame(heading, f"{metric} over the grid{best}", size)
    image = ax.imshow(scores, cmap=SHADES, aspect="auto", interpolation="nearest")
    low, high = float(np.nanmin(scores)), float(np.nanmax(scores))
    for i, line in enumerate(table):
        for j, point in enumerate(line):
            if point is not None:
                dark = _score(point) < (low + high) / 2
                ax.text(
                    j, i, spread_text(_score(point), point.std, point.n).replace(" ±", "\n±"), ha="center", va="center",
                    fontsize=7.5, color="white" if dark else "black",
                )  # fmt: skip
    ax.set_xticks(range(len(columns)), [str(v) for v in columns])
    ax.set_yticks(range(len(rows)), [str(v) for v in rows])
    ax.set(xlabel=across, ylabel=down)
    figure.colorbar(image, ax=ax, label=f"{metric} (mean over seeds)")
    return figure


def draw_line(found: Searched, heading: Heading) -> Figure:
    """The score over the only axis that has several values."""
    points, (_, search, metric), (axis, *_) = found.ranked, found, found.axes
    values = list(search.axes[axis])
    figure, (ax,) = frame(heading, f"{metric} over {axis}", (6.4, 4.0))
    at = _place(ax.set_xscale, ax.set_xticks, values)
    shown = sorted((at[_key(p.values[axis])], _score(p), p.std) for p in points)
    x, mean, std = (np.array(column, float) for column in zip(*shown, strict=True))
    ax.plot(x, mean, "o-", color=PALETTE[0])
    several = any(spread_of(p.std, p.n) is not None for p in points)
    if several:
        ax.fill_between(x, mean - std, mean + std, color=PALETTE[0], alpha=0.15, lw=0)
    ax.set(xlabel=axis, ylabel=f"{metric}: mean ± std over seeds" if several else metric)
    lined(ax)
    return figure


def draw_scatter(found: Searched, heading: Heading) -> Figure:
    """The score at drawn points, which lie on no grid."""
    points, (_, search, metric), axes = found.ranked, found, found.axes[:2]
    figure, (ax,) = frame(heading, f"{metric} at the drawn points", (6.4, 4.6))
    values = [[p.values[name] for p in points] for name in axes]
    x = _place(ax.set_xscale, ax.set_xticks, values[0], search.axes[axes[0]])
    scores = [_score(p) for p in points]
    ax.set(xlabel=axes[0])
    if len(axes) == 1:
        ax.plot([x[_key(v)] for v in values[0]], scores, "o", color=PALETTE[0])
        ax.set(ylabel=metric)
    else:
        y = _place(ax.set_yscale, ax.set_yticks, values[1], search.axes[axes[1]])
        image = ax.scatter(
            [x[_key(v)] for v in values[0]], [y[_key(v)] for v in values[1]], c=scores, cmap=SHADES, s=60
        )
        ax.set(ylabel=axes[1])
        figure.colorbar(image, ax=ax, label=f"{metric} (mean over seeds)")
    lined(ax)
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


def _picture(name: str, draw: Callable[[Searched, Heading], Figure]) -> Picture[Searched]:
    return Picture(
        name=name,
        shows="score over the axes",
        applies=lambda folder: folder.experiment.tune is not None and drawing(Searched.of(folder)) is draw,
        read=Searched.of,
        draw=draw,
    )


def drawing(found: Searched) -> Callable[[Searched, Heading], Figure] | None:
    """How a search is drawn; None where no point is ranked."""
    if not found.ranked:
        return None
    if found.search.samples is not None:
        return draw_scatter
    return draw_line if len(found.axes) == 1 else draw_heat_map


SEARCHES = (
    _picture("heat_map.png", draw_heat_map),
    _picture("scores.png", draw_line),
    _picture("scatter.png", draw_scatter),
)
