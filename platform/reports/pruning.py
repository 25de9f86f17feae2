"""The pictures of one-shot pruning (PP21, Figure 1): accuracy and overlap of masks by kept fraction; what becomes of
the weights that survive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from frisket.algos.masks.survivors import EDGES, PARTS, Survivors
from frisket.platform.protocols.pruning_curve import Curve, read_curve, read_survivors
from frisket.platform.reports.figure import (
    WIDEST,
    Heading,
    Picture,
    colours,
    each,
    error_bar,
    frame,
    journalled,
    legend_below,
    lined,
)
from frisket.platform.run.journal import last_step
from frisket.platform.run.replicas import ReplicaFolder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def read_curves(files: ReplicaFolder) -> Curve | None:
    """What a finished replica lost by pruning; None where nothing was pruned."""
    return read_curve((files.result or {}).get("metrics", {}))


def read_replica_survivors(files: ReplicaFolder) -> Survivors | None:
    """What a finished replica's journal says of the weights that survived; None where it says nothing."""
    return read_survivors(last_step(files.journal))


def draw_curve(curves: Mapping[str, Sequence[Curve]], heading: Heading) -> Figure:
    """Accuracy (Figure 1a) and overlap with the start's mask (1b) by kept fraction: one line per variant, its seeds'
    mean, in a band of one standard deviation."""
    figure, (left, right) = frame(heading, "pruned without retraining", (WIDEST, 4.2), columns=2)
    for (label, seeds), colour in zip(curves.items(), colours(curves).values(), strict=True):
        for ax, name in ((left, "accuracy"), (right, "overlap")):
            _band(ax, seeds[0].kept, np.stack([getattr(one, name) for one in seeds]), label, colour)
    for ax in (left, right):
        ax.set(xscale="log", xlabel="fraction of the weights that is kept", ylim=(0, 1.02))
    lined(left, right)
    left.set_ylabel("accuracy on the test set", fontsize=9)
    right.set_ylabel("overlap of the masks at start and end", fontsize=9)
    legend_below(figure, left)
    return figure


def draw_survivors(found: Mapping[str, Sequence[Survivors]], heading: Heading) -> Figure:
    """The weights that survive 90 % pruning: their distribution at the start (Figure 1c) and after training (1d), their
    share by starting magnitude, and how many changed their sign. Means over seeds."""
    title = "the weights that survive 90 % pruning"
    figure, (start, end, shares, signs) = frame(heading, title, (WIDEST, 7.2), rows=2, columns=2)
    by_label = colours(found)
    for label, seeds in found.items():
        for ax, name in ((start, "start"), (end, "end")):
            counts = np.stack([getattr(one, name) for one in seeds]).astype(float)
            ax.stairs(
                (counts / counts.sum(1, keepdims=True)).mean(0),
                np.array(EDGES),
                label=label,
                lw=1.4,
                color=by_label[label],
            )
        here = np.stack([np.divide(one.surviving_by_start, np.maximum(one.by_start, 1)) for one in seeds])
        _band(shares, (np.arange(PARTS) + 0.5) / PARTS, here, label, by_label[label])
    changed = [np.array([one.flipped / one.kept for one in seeds]) for seeds in found.values()]
    bars = signs.bar(
        list(found),
        [c.mean() for c in changed],
        color=list(by_label.values()),
        yerr=[error_bar(float(c.std()), len(c)) for c in changed],
        error_kw={"capsize": 2},
    )
    signs.bar_label(bars, fmt="%.2g", fontsize=7, padding=2)
    for ax, title in ((start, "before training"), (end, "after training")):
        ax.set(title=title, xlabel="weight", yscale="log")
        ax.locator_params(axis="x", nbins=5)
    start.set_ylabel("share of the surviving weights")
    shares.set(xlabel="rank of the starting magnitude in its tensor", ylabel="share that survives", ylim=(0, None))
    signs.margins(y=0.15)
    signs.set(ylabel="share that changed its sign", ylim=(0, None))
    signs.tick_params(axis="x", labelsize=8)
    legend_below(figure, start)
    lined(start, end, shares, signs)
    return figure


def _band(ax: Axes, at: np.ndarray, values: np.ndarray, label: str, colour: str) -> None:
    """The mean of ``values`` [seeds, P] at ``at`` [P], in a band of one standard deviation where there are several."""
    mean, std = values.mean(0), values.std(0)
    ax.plot(at, mean, marker=".", label=label, color=colour)
    if len(values) > 1:
        ax.fill_between(at, mean - std, mean + std, color=colour, alpha=0.2, lw=0)


CURVES = Picture(
    name="pruning.png",
    shows="accuracy and overlap of masks by the fraction of the weights that is kept",
    applies=lambda folder: any(read_curve(result["metrics"]) is not None for result in folder.results()),
    read=each(read_curves),
    draw=draw_curve,
)
SURVIVORS = Picture(
    name="weights.png",
    shows="what becomes of the weights that survive 90 % pruning",
    applies=journalled(read_survivors),
    read=each(read_replica_survivors),
    draw=draw_survivors,
)
