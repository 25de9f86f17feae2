"""Picture of a few-shot run: what validation and test episodes were answered along its outer steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from frisket.platform.reports.figure import (
    ASIDE,
    Heading,
    Picture,
    colours,
    each,
    journalled,
    legend_below,
    lined,
    panels,
    published,
    whole_numbers,
)
from frisket.platform.run.folder import ReplicaFolder, RunFolder
from frisket.platform.run.journal import read_steps

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Points(NamedTuple):
    """Validations of one replica. Attributes: steps [V]: outer steps before each; validation, test [V]: accuracies, of
    test NaN where validation was not better than before."""

    steps: np.ndarray
    validation: np.ndarray
    test: np.ndarray


class Learned(NamedTuple):
    """Attributes: points: by variant, one for each replica; published: the printed accuracy, None for none."""

    points: Mapping[str, Sequence[Points]]
    published: float | None


def read_points(files: ReplicaFolder) -> Points | None:
    """The validations in a replica's journal; None where there are none."""
    steps = enumerate(read_steps(files.journal), 1)
    rows = [(i, s["validation"], s.get("test", np.nan)) for i, s in steps if "validation" in s]
    return Points(*np.array(rows, float).T) if rows else None


def read_learned(folder: RunFolder) -> Learned:
    """The validations of every replica."""
    return Learned(each(read_points)(folder), published(folder, "accuracy"))


def draw_learned(learned: Learned, heading: Heading) -> Figure:
    """A panel of validation, a thin line for every seed and a thick one for their mean, and one of test, a mark
    wherever it was judged; the last of a seed's marks is its result."""
    figure, axes = panels(heading, "accuracy on the queries of new tasks", 2)
    for (label, seeds), colour in zip(learned.points.items(), colours(learned.points).values(), strict=True):
        for seed in seeds:
            axes[0].plot(seed.steps, seed.validation, color=colour, lw=0.8, alpha=0.45)
            judged = ~np.isnan(seed.test)
            axes[1].plot(seed.steps[judged], seed.test[judged], color=colour, lw=0.8, alpha=0.45)
            axes[1].plot(seed.steps[judged][-1:], seed.test[judged][-1:], "o", color=colour, ms=5)
        mean = np.mean([seed.validation for seed in seeds], axis=0)
        axes[0].plot(seeds[0].steps, mean, color=colour, lw=2, marker="o", ms=3, label=label)
    if learned.published is not None:
        axes[1].axhline(learned.published, color=ASIDE, ls=":", lw=1.2, label="published, full scale")
    axes[0].plot([], [], "o", color=ASIDE, ms=5, label="best validation point: the result")
    for ax, title in zip(axes, ("validation classes", "test classes"), strict=True):
        ax.set(title=title, xlabel="outer step", ylim=(0, 1.02), xlim=(0, None))
        whole_numbers(ax.xaxis)
    lined(*axes)
    figure.supylabel("accuracy", fontsize=9)
    legend_below(figure, axes[0])
    return figure


FEW_SHOT = Picture(
    name="accuracy.png",
    shows="accuracy on new tasks along the outer steps",
    applies=journalled(lambda step: step.get("validation")),
    read=read_learned,
    draw=draw_learned,
)
