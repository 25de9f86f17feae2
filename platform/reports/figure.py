"""The frame of a picture, written once: size, title, caption, colours, legend, saving; and what a picture is.

Figures belong to no window and no global state: they are drawn by Agg when saved, and gone with their last reference.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar

from frisket.files import replacing, write_text
from frisket.platform.run.aggregate import spread_of
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.journal import last_step
from frisket.platform.run.replicas import ReplicaFolder
from frisket.platform.specs.experiment import Experiment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.cm import ScalarMappable
    from matplotlib.colorbar import Colorbar
    from matplotlib.figure import Figure

# Okabe and Ito's colours: told apart by colour-blind readers too.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
ASIDE = "#555555"
"""The colour of what stands beside the measured: captions, published numbers."""
SHADES = "cividis"
"""The colour map of matrices."""
WIDEST = 7.0
"""Inches across: 770 pixels, what a registry's page has room for in a window of 1400. It cuts off what is wider."""
_LEAST = (6.4, 3.4)  # inches, so that title and caption have room
_DPI = 110
_LINE = 0.19  # inches from one line of a title to the next
_LETTERS, _SMALL_LETTERS = 11.5, 16.5  # of a title and a caption in an inch

T = TypeVar("T")


class Heading(NamedTuple):
    """What stands above a picture. Attributes: spec: whose it is, before the title; caption: what made it, below."""

    spec: str
    caption: str

    @classmethod
    def of(cls, folder: RunFolder) -> Heading:
        """A run's specification; which data, how many seeds and which run."""
        names = (p.get("name", domain) for domain, p in folder.manifest["data"].items())
        sets = ", ".join(dict.fromkeys(names))  # a training and a test split are one data set
        seeds = folder.experiment.seeds
        point = [f"best point: {folder.manifest['point']['label']}"] if "point" in folder.manifest else []
        made = f"{folder.learned_from}: {sets}" if sets else folder.learned_from
        caption = "  |  ".join([made, f"{seeds} seed{'s' * (seeds > 1)}", *point, folder.run_id])
        return cls(folder.manifest["spec"], caption)


@dataclass(frozen=True, kw_only=True)
class Picture(Generic[T]):
    """A picture that runs can have: a row of `frisket.platform.reports.figures`.

    Attributes:
        name: of the file.
        shows: what it shows, in a few words, for those who read of it.
        applies: whether a finished run has it; asks what is cheap to know.
        read: what it shows of a finished run that has it.
        draw: of what was read.
        beside: texts on what was read, by the names of the files they are written to.
    """

    name: str
    shows: str
    applies: Callable[[RunFolder], bool]
    read: Callable[[RunFolder], T]
    draw: Callable[[T, Heading], Figure]
    beside: Callable[[T], Mapping[str, str]] = lambda found: {}

    def make(self, folder: RunFolder, target: Path) -> None:
        """Draw it of the finished run ``folder`` into the folder ``target``."""
        found, heading = self.read(folder), Heading.of(folder)
        save(self.draw(found, heading), target / self.name)
        for name, text in self.beside(found).items():
            write_text(target / name, text, durable=False)


# -- of a run ----------------------------------------------------------------------------------------------------------


def planned(folder: RunFolder) -> list[tuple[str, Experiment, list[ReplicaFolder]]]:
    """`RunFolder.by_variant`, with the plain experiment that each variant is."""
    plans = folder.experiment.plans.values()
    return [(label, plan, files) for plan, (label, files) in zip(plans, folder.by_variant().items(), strict=True)]


def each(read: Callable[[ReplicaFolder], T | None]) -> Callable[[RunFolder], dict[str, list[T]]]:
    """A picture's ``read``: by variant what ``read`` gives of its replicas, without those of which it gives None."""

    def found(folder: RunFolder) -> dict[str, list[T]]:
        of_all = {k: [one for f in files if (one := read(f)) is not None] for k, files in folder.by_variant().items()}
        return {label: seeds for label, seeds in of_all.items() if seeds}

    return found


def journalled(read: Callable[[Mapping[str, Any]], object | None]) -> Callable[[RunFolder], bool]:
    """A picture's ``applies``: whether ``read`` finds something in what a variant recorded at its last position."""
    return lambda folder: any(read(last_step(files[0].journal)) is not None for files in folder.by_variant().values())


def published(folder: RunFolder, metric: str) -> float | None:
    """The published mean of ``metric``; None where there is none, or other data made this run."""
    known = folder.experiment.published
    if known is None or folder.manifest["data_mode"] != "real" or metric not in known.metrics:
        return None
    return known.metrics[metric]["mean"]


def error_bar(std: float | None, n: int) -> float:
    """Half the length of an error bar; NaN, which draws nothing, where there is no spread."""
    shown = spread_of(std, n)
    return math.nan if shown is None else shown


def colours(labels: Iterable[str]) -> dict[str, str]:
    """A colour of `PALETTE` for each of ``labels``, in their order."""
    return {label: PALETTE[i % len(PALETTE)] for i, label in enumerate(labels)}


# -- the frame ---------------------------------------------------------------------------------------------------------


def frame(
    heading: Heading,
    title: str,
    size: tuple[float, float],
    *,
    rows: int = 1,
    columns: int = 1,
    sharey: bool = False,
    heights: Iterable[float] | None = None,
) -> tuple[Figure, list[Axes]]:
    """A figure under its title and caption, and its axes, row by row; lines take the colours of `PALETTE`.

    Args:
        heading: whose it is.
        title: what it shows.
        size: width and height in inches; a figure is never smaller than its title needs. Those of a
            model's card are no wider than `WIDEST`.
        rows, columns: of axes.
        sharey: whether they have one vertical scale.
        heights: of the rows, relative to one another; None for equal ones.
    """
    from matplotlib.figure import Figure

    width = max(size[0], _LEAST[0])
    above = textwrap.wrap(f"{heading.spec}: {title}", int(width * _LETTERS))
    below = textwrap.wrap(heading.caption, int(width * _SMALL_LETTERS))
    height = max(size[1], _LEAST[1]) + _LINE * (len(above) + len(below) - 2)
    figure = Figure(figsize=(width, height), dpi=_DPI)
    figure.set_layout_engine("constrained", h_pad=0.1)  # with the default the labels below are cut off
    figure.suptitle("\n".join([*above, *[""] * len(below)]), fontsize=11)
    under = 1 - (0.16 + _LINE * len(above)) / height
    figure.text(0.5, under, "\n".join(below), ha="center", va="top", fontsize=7.5, color=ASIDE)
    ratios = None if heights is None else list(heights)
    axes = list(figure.subplots(rows, columns, squeeze=False, sharey=sharey, height_ratios=ratios).flat)
    for ax in axes:
        ax.set_prop_cycle(color=PALETTE)
    return figure, axes


def panels(
    heading: Heading, title: str, count: int, *, width: float = 3.5, height: float = 3.0, sharey: bool = True
) -> tuple[Figure, list[Axes]]:
    """A `frame` of ``count`` axes of this size in inches, as many side by side as fit a page."""
    columns = max(min(count, int(WIDEST / width)), 1)
    columns = 2 if (columns, count) == (3, 4) else columns
    rows = math.ceil(count / columns)
    size = (width * columns, height * rows + 0.9)
    figure, axes = frame(heading, title, size, rows=rows, columns=columns, sharey=sharey)
    for unused in axes[count:]:
        unused.set_axis_off()
    return figure, axes[:count]


def lined(*axes: Axes, axis: Literal["both", "x", "y"] = "both") -> None:
    """Faint lines behind what is drawn."""
    for ax in axes:
        ax.grid(alpha=0.25, axis=axis)
        ax.set_axisbelow(True)


def whole_numbers(*axes: Axis) -> None:
    """Ticks at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    for axis in axes:
        axis.set_major_locator(MaxNLocator(integer=True))


def legend_below(figure: Figure, ax: Axes) -> None:
    """The legend of ``ax``, which is that of all, below the axes, where it covers nothing."""
    handles, labels = ax.get_legend_handles_labels()
    columns = legend_columns(labels, figure.get_figwidth())
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)


def legend_columns(labels: Sequence[str], width: float) -> int:
    """How many of ``labels`` have room side by side in a legend of ``width`` inches."""
    return max(1, min(len(labels), int(width / (0.6 + 0.075 * max(map(len, labels), default=0)))))


def colour_bar_below(figure: Figure, image: ScalarMappable, axes: Sequence[Axes], label: str) -> Colorbar:
    """The scale of ``image``, which is that of all ``axes``, below them; they stay in the middle."""
    bar = figure.colorbar(
        image, ax=list(axes), label=label, location="bottom", shrink=min(1.0, 4.5 / figure.get_figwidth()), aspect=30,
        panchor=False,
    )  # fmt: skip
    bar.ax.tick_params(labelsize=8)
    bar.ax.xaxis.label.set_fontsize(9)
    return bar


def save(figure: Figure, path: Path) -> None:
    """Replace ``path`` by ``figure`` as a PNG."""
    with replacing(path, durable=False) as part:
        figure.savefig(part, format="png")
