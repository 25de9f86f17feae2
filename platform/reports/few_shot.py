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
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Points(NamedTuple):
    """Validations of one replica. Attributes: steps [V]: outer steps before each; validation, test [V]: accuracies, of
    test NaN where validation was not better than before; domains: of several, each one's validation and test."""

    steps: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    domains: Mapping[str, tuple[np.ndarray, np.ndarray]]


class Learned(NamedTuple):
    """Attributes: points: by variant, one for each replica; published: the printed accuracy, None for none."""

    points: Mapping[str, Sequence[Points]]
    published: float | None


def read_points(files: ReplicaFolder) -> Points | None:
    """The validations in a replica's journal; None where there are none."""
    judged = [(i, step) for i, step in enumerate(read_steps(files.journal), 1) if "validation" in step]
    if not judged:
        return None

    def found(name: str) -> np.ndarray:
        return np.array([step.get(name, np.nan) for _, step in judged], float)

    mark = "validation/"
    domains = [name.removeprefix(mark) for name in judged[0][1] if name.startswith(mark)]
    parts = {domain: (found(mark + domain), found(f"test/{domain}")) for domain in domains}
    return Points(np.array([i for i, _ in judged], float), found("validation"), found("test"), parts)


def read_learned(folder: RunFolder) -> Learned:
    """The validations of every replica."""
    return Learned(each(read_points)(folder), published(folder, "accuracy"))


def draw_learned(learned: Learned, heading: Heading) -> Figure:
    """A panel of validation, a thin line for every seed and a thick one for their mean, and one of test, a mark
    wherever it was judged; the last of a seed's marks is its result. Of several domains a row for each below."""
    domains = list(dict.fromkeys(name for seeds in learned.points.values() for seed in seeds for name in seed.domains))
    figure, axes = panels(heading, "accuracy on the queries of new tasks", 2 * (1 + len(domains)))
    for row, domain in enumerate([None, *domains]):
        _draw_row(axes[2 * row : 2 * row + 2], learned, domain)
    if learned.published is not None:
        axes[1].axhline(learned.published, color=ASIDE, ls=":", lw=1.2, label="published, full scale")
    axes[0].plot([], [], "o", color=ASIDE, ms=5, label="best validation point: the result")
    of = "" if not domains else "all domains, "
    rows = [of, *(f"{domain}, " for domain in domains)]
    titles = [f"{row}{split} classes" for row in rows for split in ("validation", "test")]
    for ax, title in zip(axes, titles, strict=True):
        ax.set(title=title, xlabel="outer step", ylim=(0, 1.02), xlim=(0, None))
        whole_numbers(ax.xaxis)
    lined(*axes)
    figure.supylabel("accuracy", fontsize=9)
    legend_below(figure, axes[0])
    return figure


def _draw_row(axes: Sequence[Axes], learned: Learned, domain: str | None) -> None:
    """Validation and test of ``domain``, None for the mean over all, of the seeds that have it."""
    for (label, seeds), colour in zip(learned.points.items(), colours(learned.points).values(), strict=True):
        whole = [(seed.steps, seed.validation, seed.test) for seed in seeds]
        parts = [(seed.steps, *seed.domains[domain]) for seed in seeds if domain in seed.domains] if domain else whole
        for steps, validation, test in parts:
            axes[0].plot(steps, validation, color=colour, lw=0.8, alpha=0.45)
            judged = ~np.isnan(test)
            axes[1].plot(steps[judged], test[judged], color=colour, lw=0.8, alpha=0.45)
            axes[1].plot(steps[judged][-1:], test[judged][-1:], "o", color=colour, ms=5)
        if parts:
            mean = np.mean([validation for _, validation, _ in parts], axis=0)
            axes[0].plot(parts[0][0], mean, color=colour, lw=2, marker="o", ms=3, label=label)


FEW_SHOT = Picture(
    name="accuracy.png",
    shows="accuracy on new tasks along the outer steps",
    applies=journalled(lambda step: step.get("validation")),
    read=read_learned,
    draw=draw_learned,
)
