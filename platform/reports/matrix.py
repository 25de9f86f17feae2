"""The picture of the task by task accuracy matrix (`frisket.platform.protocols.retained_accuracy`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from frisket.platform.run.folder import ReplicaFolder
from frisket.platform.run.journal import read_journal

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def read_matrix(files: ReplicaFolder) -> np.ndarray | None:
    """``[rows, T]``: accuracy on every task after every finished task, NaN where it was not measured; None where the
    journal's protocol measures none."""
    rows = [line["step"]["row"] for line, _ in read_journal(files.journal) if "row" in line.get("step", {})]
    return np.array(rows, float) if rows else None  # null becomes NaN


def draw_matrices(matrices: Mapping[str, Sequence[np.ndarray]], spec: str, caption: str) -> Figure:
    """One panel per method, the mean over its replicas' matrices; what was not measured is left white."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(max(3.6 * len(matrices) + 0.8, 6.4), 4.4), dpi=110)
    figure.set_layout_engine("constrained", h_pad=0.1)  # with the default the labels below are cut off
    figure.suptitle(f"{spec}: accuracy on every task after every task\n", fontsize=11)
    figure.text(0.5, 0.925, caption, ha="center", va="center", fontsize=7.5, color="#555555")
    axes = list(figure.subplots(1, len(matrices), squeeze=False, sharey=True)[0])
    image = None
    for (label, seeds), ax in zip(matrices.items(), axes, strict=True):
        image = ax.imshow(np.mean(seeds, axis=0), cmap="cividis", vmin=0, vmax=1, interpolation="nearest")
        ax.set(title=label, xlabel="judged on task")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set_ylabel("after training on task")
    if image is not None:
        figure.colorbar(image, ax=axes, label="accuracy on the test set (mean over seeds)", shrink=0.9)
    return figure
