"""What a search has found so far: its points, ranked, and the best one as the run of a plain experiment.

A point counts as finished once every one of its seeds has run to its end; one that was stopped early is listed with
where it stopped, and is never ranked. A point that diverged in one of its seeds ranks behind all that did not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from frisket.platform.run.aggregate import aggregate
from frisket.platform.run.divergence import Lost
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.replicas import ReplicaFolder
from frisket.platform.specs.experiment import Experiment, Replica
from frisket.platform.specs.search import Search


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point of a search.

    Attributes:
        label: its name.
        values: axis to value.
        score, std, n: mean and population standard deviation of the search's metric over the seeds that have ended, and
            how many; score is None while there is none.
        metrics: every metric, ``{"mean", "std", "n"}`` over the same seeds.
        seconds: of work, over its seeds.
        stopped: ``{"step", "of"}`` where it was stopped early, else None.
        finished: all seeds have ended.
        diverged: ``{seed: step}``, where those of its seeds that diverged did (`frisket.platform.run.divergence`).
    """

    label: str
    values: dict[str, Any]
    score: float | None
    std: float | None
    n: int
    metrics: dict[str, dict[str, float]]
    seconds: float
    stopped: dict[str, int] | None
    finished: bool
    diverged: dict[int, int]

    @property
    def sound(self) -> bool:
        """Whether it has diverged in no seed and its score is a finite number."""
        return not self.diverged and (self.score is None or math.isfinite(self.score))

    @property
    def ranked(self) -> bool:
        """Whether it takes part in the comparison."""
        return self.finished and self.score is not None and not math.isnan(self.score)

    def as_dict(self) -> dict[str, Any]:
        """The point as ``--json`` has it."""
        kept = ("label", "values", "score", "std", "n", "metrics", "seconds", "stopped")
        said = {name: getattr(self, name) for name in kept}
        return (
            said if self.sound else {**said, "diverged": {f"seed{seed}": step for seed, step in self.diverged.items()}}
        )


def search_of(experiment: Experiment) -> Search:
    """The search ``experiment`` is; an experiment without one has no business here."""
    assert experiment.tune is not None
    return experiment.tune


def points_of(folder: RunFolder) -> list[Point]:
    """All points of the search in ``folder``, best first; equals stay in the search's order, those that diverged come
    after all others that are ranked, the unranked last."""
    experiment = folder.experiment
    replicas: dict[str, list[ReplicaFolder]] = {label: [] for label in experiment.variants}
    for replica in experiment.replicas():
        assert replica.variant is not None
        replicas[replica.variant].append(folder.replica(replica))
    found = [_point(experiment, label, files) for label, files in replicas.items()]
    sign = -1 if search_of(experiment).mode == "max" else 1
    return sorted(
        found,
        key=lambda p: (
            not p.ranked,
            p.ranked and not p.sound,
            sign * p.score if p.ranked and p.score is not None else 0.0,
        ),
    )


def best_of(folder: RunFolder) -> Point | None:
    """The best point of a search, one that diverged only where all did; None while none has finished."""
    first = points_of(folder)[0]
    return first if first.ranked else None


class PointFolder(RunFolder):
    """One point of a search as the run of a plain experiment: what a model and its pictures are made from.

    Args:
        folder: the search.
        point: which point of it.
    """

    def __init__(self, folder: RunFolder, point: Point) -> None:
        super().__init__(folder.path)
        self.search, self.point = folder, point

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """``run.json``, and under ``point`` the point's label and values."""
        return {**self.search.manifest, "point": {"label": self.point.label, "values": self.point.values}}

    @cached_property
    def experiment(self) -> Experiment:
        """The point's own specification."""
        return self.search.experiment.variant(self.point.label)

    def replica(self, replica: Replica | str) -> ReplicaFolder:
        """The files of one seed."""
        key = replica if isinstance(replica, str) else replica.key
        return super().replica(f"{self.point.label}-{key}")

    def results(self) -> list[dict[str, Any]]:
        """Results of the seeds that are done, as those of a plain experiment."""
        return [{**r, "replica": f"seed{r['seed']}", "variant": None} for r in super().results()]


def product(folder: RunFolder) -> RunFolder:
    """What the run made: the run itself, or of a search its best point; a search without one is itself."""
    best = best_of(folder) if folder.experiment.tune is not None else None
    return folder if best is None else PointFolder(folder, best)


def _values(experiment: Experiment, label: str) -> dict[str, Any]:
    """Axis to value of one point."""
    axes = {axis: axis.partition(".") for axis in search_of(experiment).axes}
    return {axis: experiment.variants[label][section][field] for axis, (section, _, field) in axes.items()}


def _point(experiment: Experiment, label: str, files: list[ReplicaFolder]) -> Point:
    results = [result for f in files if (result := f.result) is not None]
    ended = [r for r in results if "stopped" not in r]
    metrics = aggregate(r["metrics"] for r in ended)
    score = metrics.get(experiment.metric)
    return Point(
        label=label,
        values=_values(experiment, label),
        score=score["mean"] if score else None,
        std=score["std"] if score else None,
        n=len(ended),
        metrics=metrics,
        seconds=sum(r["seconds"] for r in results),
        stopped=next((r["stopped"] for r in results if "stopped" in r), None),
        finished=len(ended) == len(files),
        diverged={r["seed"]: found.step for r in results if (found := Lost.read(r)) is not None},
    )
