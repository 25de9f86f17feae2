"""The picture of what tasks' masks take of a network: what is free, kept and reused, and which masks overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from frisket.platform.reports.capacity import CapacityReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARES = {"free": "free", "kept": "the task's mask", "reused": "of it, used before"}
COLOURS = ("#0072B2", "#D55E00", "#009E73")  # of SHARES, told apart by colour-blind readers too


def draw_capacity(taken: Mapping[str, Sequence[CapacityReport]], spec: str, caption: str) -> Figure:
    """Two panels per method: its replicas' mean shares after every task, the overlaps of the first one's masks."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(max(3.6 * len(taken) + 0.8, 6.4), 7.2), dpi=110)
    figure.set_layout_engine("constrained", h_pad=0.1)  # with the default the labels below are cut off
    figure.suptitle(f"{spec}: what the tasks' masks take\n", fontsize=11)
    figure.text(0.5, 0.955, caption, ha="center", va="center", fontsize=7.5, color="#555555")
    above, below = figure.subplots(2, len(taken), squeeze=False)
    image = None
    for (label, seeds), curves, matrix in zip(taken.items(), above, below, strict=True):
        for (name, meaning), colour in zip(SHARES.items(), COLOURS, strict=True):
            mean = np.mean([getattr(one.capacity, name) for one in seeds], axis=0)
            curves.plot(np.arange(1, len(mean) + 1), mean, color=colour, marker=".", label=meaning)
        curves.set(title=label, xlabel="tasks finished", ylim=(0, 1.02))
        curves.xaxis.set_major_locator(MaxNLocator(integer=True))
        image = matrix.imshow(seeds[0].capacity.overlap, cmap="cividis", vmin=0, vmax=1, interpolation="nearest")
        matrix.set(xlabel="task")
        for axis in (matrix.xaxis, matrix.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True))
    above[0].set_ylabel("fraction of the weights")
    above[0].legend(fontsize=8)
    below[0].set_ylabel("task")
    if image is not None:
        figure.colorbar(image, ax=list(below), label="overlap of masks (first seed)", shrink=0.9)
    return figure
