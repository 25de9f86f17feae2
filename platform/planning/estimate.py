"""From a probe's figures to a plan: how long, how much memory and disk, how many rows, with so many workers."""

from __future__ import annotations

import heapq
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

from frisket.platform.planning.figures import Figures, PackFigures, kind_of
from frisket.platform.run.progress import duration
from frisket.platform.specs.experiment import Experiment, Pack, share

RAY_SECONDS = 11.5
"""What a run on a private Ray takes longer, one worker or two: its start, its workers' and its end, as measured by
`benchmarks.scaling` (docs/performance.md, "More workers, more slots"). What MLflow takes at the end is not in it."""
RAY_BYTES = 230 * 2**20
"""What Ray's own processes hold beside driver and workers; from the same page."""
RAY_WORKER_BYTES = 100 * 2**20
"""What a worker of Ray's holds more than a process without Ray; from the same page: 112 MiB before torch is there."""


@dataclass(frozen=True, kw_only=True)
class WorkerKind:
    """Workers on nodes that are alike.

    Attributes:
        name: what such a node has, in words.
        nodes: how many there are.
        seconds: of the whole run, if all workers were such.
        slowest: of the pack that takes longest.
        memory: bytes that a worker holds at most.
        device: where it learns.
    """

    name: str
    nodes: int
    seconds: float
    slowest: float
    memory: int
    device: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will take.

    Attributes:
        spec: its specification.
        replicas, packs: how many there are.
        points: of a search, None for another run.
        workers: how many work at once.
        local: whether all is in one process, without Ray and MLflow.
        seconds: of the whole command.
        start, end: of them before the first pack and after the last one.
        slowest: seconds of the pack that takes longest.
        memory: bytes that the largest process holds at most.
        memory_all: bytes that all of its processes hold at most, in all.
        disk: bytes in the run's folder once it is done.
        disk_most: bytes there at most, with its checkpoints.
        rows: metrics in MLflow, once they are sent.
        fewest, most: tasks that the network's weights last for (`frisket.algos.masks.search.Room`); None for a method
            that does not run out of them.
        tasks: of the stream, None for one that is no sequence of tasks.
        data: ``real`` or ``embedded``; and what the data are called.
        device: where it learns.
        at_most: why it may take less, as a search does that stops points early; empty where nothing is left out.
        walked, steps: positions that were measured of so many.
        kinds: of workers, where the run goes to a cluster; the plan is then that of the slowest.
    """

    spec: str
    replicas: int
    packs: int
    points: int | None
    workers: int
    local: bool
    seconds: float
    start: float
    end: float
    slowest: float
    memory: int
    memory_all: int
    disk: int
    disk_most: int
    rows: int
    fewest: int | None
    most: int | None
    tasks: int | None
    data: tuple[str, str]
    device: str
    at_most: str
    walked: int
    steps: int
    kinds: tuple[WorkerKind, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return json.loads(json.dumps(asdict(self)))

    @property
    def time(self) -> str:
        """`seconds`, in words."""
        return f"{'at most' if self.at_most else 'about'} {duration(self.seconds)}"

    def text(self) -> str:
        """What matters most, for a line."""
        return f"{self.time}, {size(self.memory_all)} of memory, {size(self.disk_most)} of disk"


def size(count: float) -> str:
    """Bytes in words: ``512 B``, ``1.3 MiB``."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:,.3g} GiB" if count < 1000 else f"{count:,.0f} GiB"


def plan_of(experiment: Experiment, figures: Figures, *, workers: int, local: bool) -> Plan:
    """The plan of ``experiment`` from the ``figures`` of some of its packs.

    Args:
        workers: how many work at once.
        local: whether all is in one process.
    """
    packs = experiment.packs()
    each = {kind_of(pack): _of(pack, figures) for pack in packs}
    seconds = {kind: _seconds(experiment, *found, workers) for kind, found in each.items()}
    spent = [seconds[kind_of(pack)] for pack in packs]
    together = experiment.parallel == "tasks"
    work = sum(spent) if together else _dealt(spent, workers, search=experiment.tune is not None)
    start, end = figures.start + (0.0 if local else RAY_SECONDS), figures.end
    largest = max(one.growth for one, _ in each.values())
    memory = max(figures.memory[1], figures.memory[0] + largest)
    if not local:
        memory = figures.memory[0] + largest + RAY_WORKER_BYTES
    of_packs = [each[kind_of(pack)] for pack in packs]
    left = sum((one.journal + one.final) * one.replicas * scale for one, scale in of_packs)
    disk = left + figures.pictures
    checkpoints = sorted((one.checkpoint for one, _ in of_packs), reverse=True)[:workers]
    headline = figures.packs[0]
    race = experiment.tune is not None and experiment.tune.early_stopping
    reasons = ["points that fall behind are stopped early"] * race
    reasons += ["pre-training may end before its last epoch"] * any(one.pretraining > 0 for one in figures.packs)
    return Plan(
        spec=experiment.name,
        replicas=len(experiment.replicas()),
        packs=len(packs),
        points=None if experiment.tune is None else len(experiment.variants),
        workers=workers,
        local=local,
        seconds=start + work + end,
        start=start,
        end=end,
        slowest=max(spent),
        memory=memory,
        memory_all=memory if local else memory * workers + figures.memory[1] + RAY_BYTES,
        disk=round(disk),
        disk_most=round(disk + 2 * sum(checkpoints)),
        rows=round(sum(one.points * one.replicas * scale for one, scale in of_packs)) + _results(experiment, of_packs),
        fewest=headline.fewest,
        most=headline.most,
        tasks=headline.tasks,
        data=figures.data,
        device=figures.device,
        at_most="; ".join(reasons),
        walked=sum(one.walked for one in figures.packs),
        steps=sum(one.steps for one in figures.packs),
    )


def on_kinds(plans: Mapping[tuple[str, int], Plan]) -> Plan:
    """One plan of several, each of a kind of node, by its name and how many there are: the slowest, with what all
    say."""
    kinds = [
        WorkerKind(
            name=name, nodes=nodes, seconds=one.seconds, slowest=one.slowest, memory=one.memory, device=one.device
        )
        for (name, nodes), one in plans.items()
    ]
    return replace(max(plans.values(), key=lambda one: one.seconds), kinds=tuple(kinds))


def _of(pack: Pack, figures: Figures) -> tuple[PackFigures, float]:
    """The figures that ``pack`` goes by, and by how much they are to be scaled for its number of replicas: those of its
    own kind, else of one with the same variants, else of the kind that stands in the middle by its time."""
    labels, size = kind_of(pack)
    alike = [one for one in figures.packs if one.labels == labels]
    if not alike:
        alike = [sorted(figures.packs, key=lambda one: one.work)[len(figures.packs) // 2]]
    found = min(alike, key=lambda one: abs(one.replicas - size))
    return found, size / found.replicas


def _seconds(experiment: Experiment, one: PackFigures, scale: float, workers: int) -> float:
    """Of a pack, from its building to its result."""
    shared = workers if experiment.parallel == "tasks" else 1
    work = scale * (one.pretraining + one.judging + one.plotting + one.learning / shared)
    saved = int(work / experiment.checkpoint_seconds) * one.saving
    return one.start + work + saved + one.saving + one.finishing


def _dealt(spent: Sequence[float], workers: int, *, search: bool) -> float:
    """Seconds until the last of ``workers`` is done with packs that take as long as ``spent``: dealt out before, or in
    a search whoever is free takes the next."""
    if not search:
        return max(sum(share(spent, rank, workers)) for rank in range(workers))
    free = [0.0] * workers
    for seconds in spent:
        heapq.heappush(free, heapq.heappop(free) + seconds)
    return max(free)


def _results(experiment: Experiment, of_packs: Sequence[tuple[PackFigures, float]]) -> int:
    """Rows in MLflow beside the points: results of replicas that no point said, and means over them with their
    spreads."""
    own = round(sum(len(set(one.metrics) - set(one.plotted)) * one.replicas * scale for one, scale in of_packs))
    names = fmean(len(one.metrics) for one, _ in of_packs) * (2 if experiment.seeds > 1 else 1)
    groups = 1 + len(experiment.variants)  # the headline's are there twice, with and without its label
    if experiment.tune is not None and experiment.seeds == 1:
        groups = 1
    return own + round(names * groups)
