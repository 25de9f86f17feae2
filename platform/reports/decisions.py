"""Picture of what a few-shot learner decided to adapt, by domain (`frisket.platform.protocols.decisions`)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from frisket.platform.protocols.decisions import LEVEL, Decisions, read_decisions
from frisket.platform.reports.figure import (
    SHADES,
    WIDEST,
    Heading,
    Picture,
    colour_bar_below,
    colours,
    each,
    frame,
    journalled,
    legend_below,
    lined,
)
from frisket.platform.run.journal import last_step

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

_COLUMNS = 3
"""Panels that a page has room for side by side."""
_MOST_CELLS = 8
"""Columns of a panel whose cells have room for their numbers."""
_LETTERS = 18
"""Of the names of columns, that have room side by side."""
_DARK = 60
"""Percent below which a cell of `SHADES` is dark, so that white is read on it."""


def draw_decisions(found: Mapping[str, Sequence[Decisions]], heading: Heading) -> Figure:
    """Of every variant, the mean over its seeds: a panel for each domain, layers down and inner steps across, with the
    share of its tasks in which a layer adapts; the step sizes; and the overlaps of the domains' masks. Where it was
    decided once for a task one panel, domains across, has the shares of the weights that adapt."""
    parts = {label: _parts(seeds) for label, seeds in found.items()}
    columns = min(max(map(len, parts.values())), _COLUMNS)
    rows = [math.ceil(len(own) / columns) for own in parts.values()]
    size = (max(2.3 * columns, WIDEST), 2.5 * sum(rows) + 1.2)
    figure, axes = frame(heading, "what adapts to tasks of each domain", size, rows=sum(rows), columns=columns)
    rest, images, lines = list(axes), list["AxesImage"](), list["Axes"]()
    for (label, own), count in zip(parts.items(), rows, strict=True):
        here, rest = rest[: count * columns], rest[count * columns :]
        for ax in here[len(own) :]:
            ax.set_axis_off()
        for part, ax in zip(own, here, strict=False):
            image = part.draw(ax)
            images += [] if image is None else [image]
            lines += [ax] if image is None else []
            ax.set_title(part.title if len(found) == 1 else f"{label}\n{part.title}", fontsize=9)
            ax.tick_params(labelsize=7)
    if lines and any(len(seeds[0].domains) > 1 for seeds in found.values()):
        legend_below(figure, lines[0])
    colour_bar_below(figure, images[0], axes, _shown(found))
    return figure


def _shown(found: Mapping[str, Sequence[Decisions]]) -> str:
    """What cells are the percentage of, and what a star says."""
    by_step = set(map(_by_step, found.values()))
    what = "tasks in which a layer adapts" if by_step == {True} else "weights that adapt"
    what = what if len(by_step) == 1 else "tasks or weights that adapt"
    overlap = ", and of overlap" if any(map(_overlaps, found.values())) else ""
    stars = any(_differing(seeds).any() for seeds in found.values())
    return f"percent of {what}{overlap}" + (f"\n* differs between domains (p ≤ {LEVEL})" if stars else "")


class _Part(NamedTuple):
    """A panel. Attributes: title; draw: into axes, whose image it gives, None of lines."""

    title: str
    draw: Callable[[Axes], AxesImage | None]


def _parts(seeds: Sequence[Decisions]) -> list[_Part]:
    """The panels of one variant."""
    first = seeds[0]
    domains = enumerate(first.domains)
    steps = [_Part(domain, partial(_draw_steps, seeds=seeds, domain=i)) for i, domain in domains]
    parts = steps if _by_step(seeds) else [_Part("weights that adapt", partial(_draw_once, seeds=seeds))]
    parts += [_Part("step size", partial(_draw_rates, seeds=seeds))] if first.rate.size else []
    return parts + ([_Part("overlap of masks", partial(_draw_overlap, seeds=seeds))] if _overlaps(seeds) else [])


def _by_step(seeds: Sequence[Decisions]) -> bool:
    """Whether it was decided at every inner step, not once for a task."""
    return len(seeds[0].open[0]) > 1 or bool(seeds[0].rate.size)


def _overlaps(seeds: Sequence[Decisions]) -> bool:
    """Whether there are overlaps of domains to be shown."""
    return len(seeds[0].domains) > 1 and not np.isnan(seeds[0].overlap).any()


def _differing(seeds: Sequence[Decisions]) -> np.ndarray:
    """[T, L + R], which decisions differ between domains in all of ``seeds``."""
    return np.all([one.differing for one in seeds], axis=0)


def _mean(seeds: Sequence[Decisions], name: str) -> np.ndarray:
    return np.mean([getattr(one, name) for one in seeds], axis=0)


def _draw_steps(ax: Axes, seeds: Sequence[Decisions], domain: int) -> AxesImage:
    """The shares of one domain, layers down and inner steps across."""
    layers, shares = seeds[0].layers, _mean(seeds, "open")[domain].T
    ax.set_xlabel("inner step", fontsize=8)
    columns = [str(step + 1) for step in range(shares.shape[1])]
    return _cells(ax, shares, layers, columns, _differing(seeds)[:, : len(layers)].T)


def _draw_once(ax: Axes, seeds: Sequence[Decisions]) -> AxesImage:
    """The shares of all domains, layers down and domains across."""
    layers, shares = seeds[0].layers, _mean(seeds, "open")[:, 0].T
    marks = np.repeat(_differing(seeds)[0, : len(layers), None], shares.shape[1], axis=1)
    return _cells(ax, shares, layers, seeds[0].domains, marks)


def _draw_overlap(ax: Axes, seeds: Sequence[Decisions]) -> AxesImage:
    overlap, domains = _mean(seeds, "overlap"), seeds[0].domains
    return _cells(ax, overlap, domains, domains, np.zeros_like(overlap, dtype=bool), form=".1f")


def _draw_rates(ax: Axes, seeds: Sequence[Decisions]) -> None:
    """A line for every domain, over inner steps, with the spread over tasks."""
    domains, mean, spread = seeds[0].domains, _mean(seeds, "rate"), _mean(seeds, "rate_spread")
    steps, marks = np.arange(1, mean.shape[1] + 1), _differing(seeds)[:, -1]
    for (domain, colour), rate, std in zip(colours(domains).items(), mean, spread, strict=True):
        ax.errorbar(steps, rate, std, color=colour, marker="o", ms=3, lw=1.4, capsize=2, label=domain)
    ax.set_xlabel("inner step", fontsize=8)
    ax.set_xticks(steps, [f"{step}{'*' if mark else ''}" for step, mark in zip(steps, marks, strict=True)])
    ax.margins(0.1)
    lined(ax)


def _cells(
    ax: Axes, shares: np.ndarray, rows: Sequence[str], columns: Sequence[str], marks: np.ndarray, form: str = ".0f"
) -> AxesImage:
    """``shares`` [rows, columns] as coloured cells, in percent, where there is room with their numbers in ``form``, and
    a star at ``marks``."""
    percent = 100 * shares
    image = ax.imshow(percent, cmap=SHADES, vmin=0, vmax=100, interpolation="nearest", aspect="auto")
    turned = sum(map(len, columns)) > _LETTERS
    ax.set_xticks(range(len(columns)), columns, rotation=30 if turned else 0, ha="right" if turned else "center")
    ax.set_yticks(range(len(rows)), rows)
    for (i, j), value in np.ndenumerate(percent) if len(columns) <= _MOST_CELLS else ():
        star, colour = "*" if marks[i, j] else "", "white" if value < _DARK else "black"
        ax.text(j, i, f"{value:{form}}{star}", ha="center", va="center", fontsize=7, color=colour)
    return image


def in_numbers(found: Mapping[str, Sequence[Decisions]]) -> str:
    """``{variant: [decisions of every seed]}`` as JSON."""
    return json.dumps({label: [one.as_dict() for one in seeds] for label, seeds in found.items()})


DECISIONS = Picture(
    name="decisions.png",
    shows="what adapts to tasks of each domain",
    applies=journalled(read_decisions),
    read=each(lambda files: read_decisions(last_step(files.journal))),
    draw=draw_decisions,
    beside=lambda found: {"decisions.json": in_numbers(found)},
)
