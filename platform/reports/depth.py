"""Picture of where a network may learn: the share of closed weights by layer, from its input to its output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from frisket.algos.masks.mask_set import MaskSet
from frisket.platform.reports.figure import Heading, Picture, colours, error_bar, frame, legend_below, lined
from frisket.platform.reports.masks import masked

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def layers(masks: MaskSet) -> list[str]:
    """The masked tensors that connect one layer with the next, in the network's order."""
    return [name for name in masks if masks[name].dim() > 1]


def draw_depth(found: Mapping[str, Sequence[MaskSet]], heading: Heading) -> Figure:
    """A line for every variant, the mean over its seeds with their spread, and a dashed one of all its weights."""
    names = list(dict.fromkeys(name for seeds in found.values() for name in layers(seeds[0])))
    figure, (ax,) = frame(heading, "share of weights closed to learning, by layer", (6.4, 3.8))
    for (label, seeds), colour in zip(found.items(), colours(found).values(), strict=True):
        own = [name for name in names if name in layers(seeds[0])]
        closed = np.array([[one.sparsity(name) for name in own] for one in seeds])
        spread = [error_bar(float(std), len(seeds)) for std in closed.std(0)]
        at = [names.index(name) for name in own]
        ax.errorbar(at, closed.mean(0), spread, color=colour, marker="o", ms=4, capsize=3, lw=1.8, label=label)
        ax.axhline(float(np.mean([one.sparsity() for one in seeds])), color=colour, lw=0.9, ls="--")
    ax.set_xticks(range(len(names)), names, fontsize=8, rotation=30 if len(names) > 6 else 0)
    ax.set_ylim(-0.02, 1.02)
    ax.set_ylabel("sparsity (dashed: all weights)", fontsize=9)
    lined(ax, axis="y")
    legend_below(figure, ax)
    return figure


DEPTH = Picture(
    name="depth.png",
    shows="share of closed weights by layer",
    applies=lambda folder: any(len(layers(MaskSet.load(files[0].masks))) > 1 for files in masked(folder).values()),
    read=lambda folder: {k: [MaskSet.load(f.masks) for f in files] for k, files in masked(folder).items()},
    draw=draw_depth,
)
