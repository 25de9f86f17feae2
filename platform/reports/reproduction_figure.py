"""The picture of a reproduction: published and ours side by side, one panel per metric and column of the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from frisket.platform.reports.figures import PALETTE
from frisket.platform.tables.comparison import Comparison
from frisket.platform.tables.verdict import Number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_OFFSET = 0.16  # ours is drawn this much below the row's middle, the published number as much above
_UNITS = {"percent": "%", "seconds": "s", "nats": "nats", "ratio": ""}


def draw_comparison(lines: Sequence[Comparison], *, title: str, caption: str) -> Figure:
    """Points with their standard deviation as bars; what is missing is left out.

    Args:
        lines: from `frisket.platform.tables.comparison.compare`.
        title, caption: above the panels.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    columns = list(dict.fromkeys(line.column for line in lines))
    metrics = list(dict.fromkeys(line.metric for line in lines))
    rows = {m: list(dict.fromkeys(line.row for line in lines if line.metric == m)) for m in metrics}
    height = sum(0.42 * len(rows[m]) + 0.8 for m in metrics)
    figure = Figure(figsize=(max(3.2 * len(columns) + 2.2, 7.0), height + 1.1), dpi=110)
    figure.set_layout_engine("constrained")
    figure.suptitle(f"{title}\n{caption}; bars: one standard deviation", fontsize=10)
    panels = figure.subplots(
        len(metrics), len(columns), squeeze=False, height_ratios=[0.42 * len(rows[m]) + 0.8 for m in metrics]
    )
    for metric, line_of_panels in zip(metrics, panels, strict=True):
        for column, ax in zip(columns, line_of_panels, strict=True):
            here = [line for line in lines if (line.metric, line.column) == (metric, column)]
            _panel(ax, here, rows[metric], first=column == columns[0])
            if metric == metrics[0]:
                ax.set_title(column, fontsize=10)
    marks = [
        Line2D([], [], color=PALETTE[i], marker="os"[i], linestyle="none", label=("published", "ours")[i])
        for i in (0, 1)
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _bar(number: Number, scale: float) -> float | None:
    """Half the bar's length; one seed, or a number without a spread, has none."""
    return None if number.std is None or number.n == 1 else scale * number.std


def _panel(ax: Axes, lines: Sequence[Comparison], rows: Sequence[str], *, first: bool) -> None:
    for line in lines:
        scale = 100 if line.unit == "percent" else 1
        at = rows.index(line.row)
        for i, number in enumerate((line.published, line.ours)):
            if number is None:
                continue
            ax.errorbar(
                scale * number.mean, at + (2 * i - 1) * _OFFSET, xerr=_bar(number, scale), fmt="os"[i],
                color=PALETTE[i], markersize=5, capsize=2, linewidth=1,
            )  # fmt: skip
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_yticks(range(len(rows)), rows if first else [""] * len(rows), fontsize=8)
    ax.tick_params(axis="x", labelsize=8)
    ax.grid(axis="x", color="#dddddd", linewidth=0.6)
    ax.set_axisbelow(True)
    if lines:
        unit = _UNITS[lines[0].unit]
        ax.set_xlabel(f"{lines[0].label}, {unit}" if unit else lines[0].label, fontsize=8)
    else:
        ax.set_axis_off()
