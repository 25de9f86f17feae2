"""The picture of the task by task accuracy matrix (`frisket.platform.protocols.retained_accuracy`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from frisket.platform.protocols.retained_accuracy import RetainedAccuracy
from frisket.platform.reports.figure import (
    SHADES,
    Heading,
    Picture,
    colour_bar_below,
    each,
    journalled,
    panels,
    whole_numbers,
)
from frisket.platform.run.journal import read_steps
from frisket.platform.run.replicas import ReplicaFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def read_matrix(files: ReplicaFolder) -> np.ndarray | None:
    """``[rows, T]``: accuracy on every task after every finished task, NaN where it was not measured; None where the
    journal's protocol measures none."""
    return RetainedAccuracy.read(read_steps(files.journal))


def draw_matrices(matrices: Mapping[str, Sequence[np.ndarray]], heading: Heading) -> Figure:
    """One panel per method, the mean over its replicas' matrices; what was not measured is left white."""
    title = "accuracy on every task after every task"
    figure, axes = panels(heading, title, len(matrices), width=2.3 if len(matrices) > 2 else 3.5, height=3.6)
    image = None
    for (label, seeds), ax in zip(matrices.items(), axes, strict=True):
        image = ax.imshow(np.mean(seeds, axis=0), cmap=SHADES, vmin=0, vmax=1, interpolation="nearest")
        ax.set(title=label, xlabel="judged on task")
        whole_numbers(ax.xaxis, ax.yaxis)
    axes[0].set_ylabel("after training on task")
    if image is not None:
        colour_bar_below(figure, image, axes, "accuracy on the test set (mean over seeds)")
    return figure


MATRIX = Picture(
    name="matrix.png",
    shows="accuracy on every task after every task",
    applies=journalled(lambda step: RetainedAccuracy.read([step])),
    read=each(read_matrix),
    draw=draw_matrices,
)
