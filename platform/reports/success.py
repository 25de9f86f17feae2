"""Picture of robot tasks: how many episodes of each are solved, while it is learned and ever after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from frisket.platform.reports.figure import (
    ASIDE,
    Heading,
    Picture,
    colours,
    journalled,
    legend_below,
    lined,
    panels,
    whole_numbers,
)
from frisket.platform.run.folder import ReplicaFolder, RunFolder
from frisket.platform.run.journal import read_steps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 12
"""Panels: of more tasks every so many is shown."""


class Solved(NamedTuple):
    """Evaluations of one replica. Attributes: positions [V]: positions done before each; rates [V, T]: success by task,
    NaN before it has begun; ends: positions done when each task had ended; of tasks in turn, when all had."""

    positions: np.ndarray
    rates: np.ndarray
    ends: np.ndarray


class Curves(NamedTuple):
    """Attributes: solved: by variant, one for each replica; tasks: their names."""

    solved: Mapping[str, Sequence[Solved]]
    tasks: Sequence[str]


def measured(step: Mapping[str, Any]) -> list[float | None] | None:
    """Success by task at a position; None where it was not measured."""
    return step.get("ended", step.get("curve"))


def read_solved(files: ReplicaFolder) -> Solved:
    """The evaluations in a replica's journal."""
    steps = [(i, step) for i, step in enumerate(read_steps(files.journal), 1) if measured(step) is not None]
    ends = [i for i, step in steps if "ended" in step]
    return Solved(
        np.array([i for i, _ in steps]), np.array([measured(step) for _, step in steps], float), np.array(ends)
    )  # fmt: skip


def read_curves(folder: RunFolder) -> Curves:
    """The evaluations of every replica."""
    solved = {label: [read_solved(one) for one in files] for label, files in folder.by_variant().items()}
    return Curves(solved, folder.results()[0]["input"]["names"])


def draw_curves(curves: Curves, heading: Heading) -> Figure:
    """A panel for each task, a thin line for every seed and a thick one for their mean; where the task was learned is
    shaded, where another ended is a line."""
    shown = range(0, len(curves.tasks), -(-len(curves.tasks) // MOST))
    figure, axes = panels(heading, "episodes solved", len(shown), width=2.3, height=2.4)
    ends = next(iter(curves.solved.values()))[0].ends
    begins = [0, *ends[:-1]]
    for task, ax in zip(shown, axes, strict=True):
        if len(ends) == len(curves.tasks):
            ax.axvspan(begins[task], ends[task], color=ASIDE, alpha=0.12, lw=0)
        for end in ends[:-1]:
            ax.axvline(end, color=ASIDE, lw=0.6, ls=":")
        for (label, seeds), colour in zip(curves.solved.items(), colours(curves.solved).values(), strict=True):
            for seed in seeds:
                ax.plot(seed.positions, seed.rates[:, task], color=colour, lw=0.8, alpha=0.45)
            mean = np.mean([seed.rates[:, task] for seed in seeds], axis=0)
            ax.plot(seeds[0].positions, mean, color=colour, lw=2, label=label)
        ax.set(title=curves.tasks[task], xlabel="round of episodes", ylim=(-0.02, 1.02), xlim=(0, ends[-1]))
        whole_numbers(ax.xaxis)
        ax.locator_params(axis="x", nbins=4)
    lined(*axes)
    figure.supylabel("share of episodes", fontsize=9)
    legend_below(figure, axes[0])
    return figure


SUCCESS = Picture(
    name="success.png",
    shows="episodes solved of every task, as it is learned (shaded) and after",
    applies=journalled(measured),
    read=read_curves,
    draw=draw_curves,
)
