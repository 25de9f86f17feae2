"""What the masks of a sequence's tasks take of its network: what is free, kept and reused, and which masks overlap. In
numbers, for JSON and tables, and as a picture."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from frisket.algos.learner import KeepsTasks
from frisket.algos.masks.store import Capacity, MaskStore
from frisket.platform.reports.figure import (
    PALETTE,
    SHADES,
    WIDEST,
    Heading,
    Picture,
    colour_bar_below,
    frame,
    legend_below,
    lined,
    planned,
    whole_numbers,
)
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.replicas import ReplicaFolder
from frisket.platform.specs.build import Inputs, build_learner
from frisket.platform.specs.experiment import Experiment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARES = {"free": "free", "kept": "the task's mask", "reused": "of it, used before"}


@dataclass(frozen=True, kw_only=True)
class CapacityReport:
    """One replica's T tasks over a network of M weights.

    Attributes:
        weights: M by tensor.
        kept: by tensor, how many of its weights each task uses, [T].
        capacity: shares of all weights, and overlaps.
    """

    weights: dict[str, int]
    kept: dict[str, np.ndarray]
    capacity: Capacity

    @classmethod
    def of(cls, store: MaskStore) -> CapacityReport:
        """The report on ``store``; for T = 300 and two million weights a few seconds."""
        weights = {k: math.prod(shape) for k, shape in store.shapes.items()}
        return cls(weights=weights, kept=store.counts(), capacity=store.capacity())

    @property
    def tasks(self) -> int:
        """T."""
        return len(self.capacity.kept)

    @property
    def used(self) -> np.ndarray:
        """How many weights each task uses, [T]."""
        return np.stack(list(self.kept.values())).sum(0)

    @property
    def reused(self) -> np.ndarray:
        """How many of them earlier tasks use too, [T]."""
        return np.rint(self.capacity.reused * self.used).astype(np.int64)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able. ``kept``, ``free``, ``kept_of``: fractions, ``new``, ``reused``, ``exclusive``: weights."""
        return {
            "tasks": self.tasks,
            "weights": self.weights,
            "kept": self.capacity.kept.tolist(),
            "kept_of": {name: (self.kept[name] / max(size, 1)).tolist() for name, size in self.weights.items()},
            "new": (self.used - self.reused).tolist(),
            "reused": self.reused.tolist(),
            "free": self.capacity.free.tolist(),
            "exclusive": self.capacity.exclusive.tolist(),
            "overlap": self.capacity.overlap.round(6).tolist(),
        }


def read_capacity(experiment: Experiment, files: ReplicaFolder) -> CapacityReport | None:
    """The report on a finished replica of ``experiment``, a plain one; None for a method without masks of tasks."""
    learner = _learner(experiment, files)
    return None if learner is None else CapacityReport.of(learner.tasks(files.state).store)


def keeps_tasks(folder: RunFolder) -> bool:
    """Whether a method of the finished run ``folder`` keeps a mask for each task."""
    return any(_learner(plan, files[0]) is not None for _, plan, files in planned(folder))


def headline_keeps_tasks(folder: RunFolder) -> bool:
    """Whether its headline's method does."""
    _, plan, files = planned(folder)[0]
    return _learner(plan, files[0]) is not None


def _learner(experiment: Experiment, files: ReplicaFolder) -> KeepsTasks | None:
    """The method that keeps masks of tasks; None for another, and where a search stopped the replica early."""
    result = files.result
    if result is None or "stopped" in result:
        return None
    learner = build_learner(experiment, Inputs.from_dict(result["input"]))
    return learner if isinstance(learner, KeepsTasks) else None


def read_capacities(folder: RunFolder) -> dict[str, list[CapacityReport]]:
    """The reports on every variant that has any, seed by seed."""
    reports = {label: [read_capacity(plan, f) for f in files] for label, plan, files in planned(folder)}
    return {label: found for label, every in reports.items() if (found := [one for one in every if one is not None])}


def in_numbers(taken: Mapping[str, Sequence[CapacityReport]]) -> str:
    """``{variant: [report of every seed]}`` as JSON."""
    return json.dumps({label: [one.as_dict() for one in seeds] for label, seeds in taken.items()})


def draw_capacity(taken: Mapping[str, Sequence[CapacityReport]], heading: Heading) -> Figure:
    """A row per method: its replicas' mean shares after every task, and the overlaps of the first one's masks. Tasks
    count from 0, as everywhere."""
    size = (WIDEST, 3.3 * len(taken) + 1.6)
    figure, axes = frame(heading, "what the tasks' masks take", size, rows=len(taken), columns=2)
    left, right = axes[::2], axes[1::2]
    image = None
    for (label, seeds), curves, matrix in zip(taken.items(), left, right, strict=True):
        for (name, meaning), colour in zip(SHARES.items(), PALETTE, strict=False):
            mean = np.mean([getattr(one.capacity, name) for one in seeds], axis=0)
            curves.plot(np.arange(len(mean)), mean, color=colour, marker=".", label=meaning)
        curves.set(title=label, xlabel="after task", ylabel="fraction of the weights", ylim=(-0.02, 1.02))
        image = matrix.imshow(seeds[0].capacity.overlap, cmap=SHADES, vmin=0, vmax=1, interpolation="nearest")
        matrix.set(title="overlap of the masks" + " (first seed)" * (len(seeds) > 1), xlabel="task", ylabel="task")
        whole_numbers(curves.xaxis, matrix.xaxis, matrix.yaxis)
    lined(*left)
    legend_below(figure, left[0])
    if image is not None:
        colour_bar_below(figure, image, right, "overlap of two masks")
    return figure


CAPACITY = Picture(
    name="capacity.png",
    shows="what the tasks' masks take",
    applies=keeps_tasks,
    read=read_capacities,
    draw=draw_capacity,
    beside=lambda taken: {"capacity.json": in_numbers(taken)},
)
