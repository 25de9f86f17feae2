"""What the masks of a sequence's tasks take of its network, in numbers: for a picture, for JSON, for a table."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frisket.algos.learner import KeepsTasks
from frisket.algos.masks.store import Capacity, MaskStore
from frisket.algos.state_file import load_state
from frisket.platform.run.folder import ReplicaFolder
from frisket.platform.specs.build import Inputs, build_learner
from frisket.platform.specs.experiment import Experiment


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
    result = files.result
    assert result is not None
    learner = build_learner(experiment, Inputs.from_dict(result["input"]))
    if not isinstance(learner, KeepsTasks):
        return None
    return CapacityReport.of(learner.tasks(load_state(files.final)[0]).store)


def write_capacity(path: Path, taken: Mapping[str, Sequence[CapacityReport]]) -> None:
    """Write ``{variant: [report of every seed]}`` as JSON."""
    rows = {label: [one.as_dict() for one in seeds] for label, seeds in taken.items()}
    path.write_text(json.dumps(rows), encoding="utf-8")
