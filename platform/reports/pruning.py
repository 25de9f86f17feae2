"""The pictures of one-shot pruning (PP21, Figure 1): accuracy and overlap of masks by kept fraction; what becomes of
the weights that survive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from frisket.algos.masks.survivors import EDGES, PARTS, Survivors
from frisket.platform.run.folder import ReplicaFolder
from frisket.platform.run.journal import read_journal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_KEPT = "/kept-"


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One replica's. Attributes: kept: the fractions, [P]; accuracy, overlap: at each of them, [P]."""

    kept: np.ndarray
    accuracy: np.ndarray
    overlap: np.ndarray


def read_curve(files: ReplicaFolder) -> Curve | None:
    """What a finished replica lost by pruning; None where nothing was pruned."""
    metrics = (files.result or {}).get("metrics", {})
    fractions = sorted({name.partition(_KEPT)[2] for name in metrics if _KEPT in name}, key=float)
    if not fractions:
        return None
    values = {name: np.array([metrics[f"{name}{_KEPT}{p}"] for p in fractions]) for name in ("accuracy", "overlap")}
    return Curve(kept=np.array([float(p) for p in fractions]), **values)


def read_survivors(files: ReplicaFolder) -> Survivors | None:
    """What the journal says of the weights that survived; None where it says nothing."""
    steps = (line.get("step", {}) for line, _ in read_journal(files.journal))
    found = [step["survivors"] for step in steps if "survivors" in step]
    return Survivors(**found[-1]) if found else None


def draw_curve(curves: Mapping[str, Sequence[Curve]], spec: str, caption: str) -> Figure:
    """Accuracy (Figure 1a) and overlap with the start's mask (1b) by kept fraction: one line per variant, its seeds'
    mean, in a band of one standard deviation."""
    figure, (left, right) = _panels(1, f"{spec}: pruned without retraining", caption)
    for label, seeds in sorted(curves.items()):
        for ax, name in ((left, "accuracy"), (right, "overlap")):
            _band(ax, seeds[0].kept, np.stack([getattr(one, name) for one in seeds]), label)
    for ax in (left, right):
        ax.set(xscale="log", xlabel="fraction of the weights that is kept", ylim=(0, 1.02))
        ax.grid(alpha=0.25)
    left.set_ylabel("accuracy on the test set")
    right.set_ylabel("overlap of the masks at start and end")
    left.legend(fontsize=8, frameon=False)
    return figure


def draw_survivors(found: Mapping[str, Sequence[Survivors]], spec: str, caption: str) -> Figure:
    """The weights that survive 90 % pruning: their distribution at the start (Figure 1c) and after training (1d), their
    share by starting magnitude, and how many changed their sign. Means over seeds."""
    figure, (start, end, shares, signs) = _panels(2, f"{spec}: the weights that survive 90 % pruning", caption)
    for label, seeds in sorted(found.items()):
        for ax, name in ((start, "start"), (end, "end")):
            counts = np.stack([getattr(one, name) for one in seeds]).astype(float)
            ax.stairs((counts / counts.sum(1, keepdims=True)).mean(0), np.array(EDGES), label=label, lw=1.4)
        here = np.stack([np.divide(one.surviving_by_start, np.maximum(one.by_start, 1)) for one in seeds])
        _band(shares, (np.arange(PARTS) + 0.5) / PARTS, here, label)
    labels = sorted(found)
    changed = [np.array([one.flipped / one.kept for one in found[label]]) for label in labels]
    bars = signs.bar(labels, [c.mean() for c in changed], yerr=[c.std() for c in changed], error_kw={"capsize": 2})
    signs.bar_label(bars, fmt="%.2g", fontsize=7, padding=2)
    for ax, title in ((start, "before training"), (end, "after training")):
        ax.set(title=title, xlabel="weight", yscale="log")
    start.set_ylabel("share of the surviving weights")
    shares.set(xlabel="rank of the starting magnitude in its tensor", ylabel="share that survives", ylim=(0, None))
    signs.set(ylabel="share with another sign than at the start", ylim=(0, None))
    signs.margins(y=0.15)
    start.legend(fontsize=8, frameon=False)
    for ax in (start, end, shares, signs):
        ax.grid(alpha=0.25)
        ax.set_axisbelow(True)
    return figure


def _panels(rows: int, title: str, caption: str) -> tuple[Figure, list[Axes]]:
    """A titled figure of ``rows`` times two axes."""
    from matplotlib.figure import Figure

    height = 3.9 * rows + 0.5
    figure = Figure(figsize=(9.6, height), dpi=110)
    figure.set_layout_engine("constrained", h_pad=0.1)  # with the default the labels below are cut off
    figure.suptitle(f"{title}\n", fontsize=11)
    figure.text(0.5, 1 - 0.36 / height, caption, ha="center", va="center", fontsize=7.5, color="#555555")
    return figure, list(figure.subplots(rows, 2, squeeze=False).flat)


def _band(ax: Axes, at: np.ndarray, values: np.ndarray, label: str) -> None:
    """The mean of ``values`` [seeds, P] at ``at`` [P], in a band of one standard deviation."""
    mean, std = values.mean(0), values.std(0)
    (line,) = ax.plot(at, mean, marker=".", label=label)
    if len(values) > 1:
        ax.fill_between(at, mean - std, mean + std, color=line.get_color(), alpha=0.2, lw=0)
