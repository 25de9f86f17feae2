"""What a probe has found out: figures of whole packs, JSON-able, of which a plan is made for any number of workers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from frisket.platform.specs.experiment import Pack

Kind = tuple[tuple[str | None, ...], int]
"""What packs of one kind share: labels of the variants in them, and how many replicas they have."""


def kind_of(pack: Pack) -> Kind:
    """Packs of one kind differ in their seeds alone."""
    return tuple(dict.fromkeys(replica.variant for replica in pack)), len(pack)


@dataclass(frozen=True, kw_only=True)
class PackFigures:
    """Of a pack, as a whole and not of the part that was walked along.

    Attributes:
        labels: of the variants in it; None for a plain experiment's only one.
        replicas: how many it has.
        steps: positions of each.
        walked: of them the probe took.
        tasks: of its stream, None where that is none of tasks.
        start: seconds until its first position: data read, streams, networks and states made.
        pretraining: seconds of it, if none of its epochs is saved.
        learning: seconds of all positions, without what follows.
        judging: seconds of test sets, episodes and worlds.
        plotting: seconds of journalling what is plotted.
        saving: seconds of one checkpoint.
        finishing: seconds of what is written once it is done.
        growth: bytes by which what it keeps grows after the part that was walked.
        journal: bytes of a replica's journal.
        final: bytes of what else is left of a replica.
        checkpoint: bytes of a checkpoint.
        points: metrics that are plotted of a replica, over all its points; that is rows in MLflow.
        plotted, metrics: names of those whose last point says what the result says, so that no row is added, and of
            the result's.
        fewest, most: `frisket.algos.masks.search.Room`, None for a method that does not run out of weights.
    """

    labels: tuple[str | None, ...]
    replicas: int
    steps: int
    walked: int
    tasks: int | None
    start: float
    pretraining: float
    learning: float
    judging: float
    plotting: float
    saving: float
    finishing: float
    growth: int
    journal: int
    final: int
    checkpoint: int
    points: int
    plotted: tuple[str, ...]
    metrics: tuple[str, ...]
    fewest: int | None
    most: int | None

    @property
    def whole(self) -> bool:
        """Whether the probe took all of it, so that nothing is extrapolated."""
        return self.walked == self.steps

    @property
    def work(self) -> float:
        """Seconds from its first position on, checkpoints left out."""
        return self.pretraining + self.learning + self.judging + self.plotting


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Of a run.

    Attributes:
        packs: of the kinds of packs that were probed.
        start: seconds before the first pack: the program, the specification, the data.
        end: seconds after the last pack: pictures, the summary.
        memory: bytes that the probe's process held at most until its packs were done, and in all.
        pictures: bytes of pictures and summary.
        data: ``real`` or ``embedded``, resolved; and what the data are called.
        device: where it learned.
    """

    packs: tuple[PackFigures, ...]
    start: float
    end: float
    memory: tuple[int, int]
    pictures: int
    data: tuple[str, str]
    device: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; `from_dict` is the inverse."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Figures:
        """The inverse of `as_dict`. Raises `TypeError` or `KeyError` for what is none."""
        packs = tuple(PackFigures(**{k: _tuple(v) for k, v in one.items()}) for one in raw["packs"])
        return cls(**{**{k: _tuple(v) for k, v in raw.items()}, "packs": packs})


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
