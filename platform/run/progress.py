"""How far a run is, read from its folder, so that it is the same for this process, Ray workers and other machines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from frisket.platform.run.folder import RunFolder
from frisket.platform.run.points import best_of
from frisket.platform.specs.experiment import share

_NOT_A_SCORE = ("cursor", "steps", "seconds", "diverged", "diverged_in", "weights", "task", "rates", "pace")


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Attributes:
    done, replicas: replicas that are done, and all.
    cursor, steps: steps taken, and all, over the replicas; ``steps`` is 0 while nobody has begun.
    scores: label of a variant (the metric's name in a plain experiment) to the mean so far; of a search, the best
        point that is finished.
    seconds_left: estimate, None while there is nothing to go by.
    task: which one the first of the replicas at work is at; None where the stream has but one, or hides them.
    rates: what is done in a second, over the replicas at work; empty for methods that do not act.
    """

    done: int
    replicas: int
    cursor: int
    steps: int
    scores: dict[str, float]
    seconds_left: float | None
    task: str | None = None
    rates: Mapping[str, float] = field(default_factory=dict)

    def text(self) -> str:
        """One line."""
        if not self.steps:
            return "starting"
        parts = [f"replicas {self.done}/{self.replicas}"]
        parts.append(f"steps {self.cursor}/{self.steps}")
        parts += [] if self.task is None else [self.task]
        parts += [f"{name} {value:.3f}" for name, value in self.scores.items()]
        parts += [f"{value:,.{0 if value >= 10 else 1}f} {name}" for name, value in self.rates.items()]
        if self.done == self.replicas:
            parts.append("finishing")
        elif self.seconds_left is not None:
            parts.append(f"{duration(self.seconds_left)} left")
        return "  ".join(parts)


def take(folder: RunFolder, workers: int) -> Snapshot:
    """How far ``folder`` is.

    Time left: each worker still has the steps of its share to do, at the pace its variant has shown (before it has
    begun, the mean pace of the others); the last worker to finish decides.
    """
    replicas = folder.experiment.replicas()
    files = [folder.replica(r) for r in replicas]
    shown: dict[str, dict[str, Any]] = {r.key: p for r, f in zip(replicas, files, strict=True) if (p := f.progress())}
    done = {r.key for r, f in zip(replicas, files, strict=True) if (f.path / "result.json").exists()}
    longest = max((p["steps"] for p in shown.values()), default=0)
    steps = {r.key: shown[r.key]["steps"] if r.key in shown else longest for r in replicas}
    cursor = {r.key: steps[r.key] if r.key in done else shown.get(r.key, {}).get("cursor", 0) for r in replicas}

    scores: dict[str, list[float]] = {}
    paces: dict[str | None, list[float]] = {}
    for replica in replicas:
        progress = shown.get(replica.key)
        if progress is None:
            continue
        for name, value in progress.items():
            if name not in _NOT_A_SCORE:
                scores.setdefault(replica.variant or name, []).append(value)
        mean = progress["seconds"] / progress["cursor"] if progress["cursor"] else None  # of pre-training's epochs
        if (pace := progress.get("pace", mean)) is not None:
            paces.setdefault(replica.variant, []).append(pace)

    left = None
    if paces:
        pace = {variant: _mean(values) for variant, values in paces.items()}
        unknown = _mean(list(pace.values()))
        left = max(
            sum(
                (steps[r.key] - cursor[r.key]) * pace.get(r.variant, unknown)
                for pack in share(folder.packs, rank, workers)
                for r in pack
            )
            for rank in range(workers)
        )
    at_work = [one for key, one in shown.items() if key not in done and one["cursor"]]
    return Snapshot(
        done=len(done),
        replicas=len(replicas),
        cursor=sum(cursor.values()),
        steps=sum(steps.values()),
        scores=_best(folder) if folder.experiment.tune else {name: _mean(v) for name, v in scores.items()},
        seconds_left=left,
        task=next((one.get("task") for one in at_work), None),
        rates=_added(one.get("rates", {}) for one in at_work),
    )


def _best(folder: RunFolder) -> dict[str, float]:
    best = best_of(folder)
    return {} if best is None or best.score is None else {f"best {best.label}": best.score}


def _added(several: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """By name, what ``several`` have of it together."""
    total: dict[str, float] = {}
    for one in several:
        for name, value in one.items():
            total[name] = total.get(name, 0.0) + value
    return total


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def duration(seconds: float) -> str:
    """``1 h 05 min``, ``3 min 20 s`` or ``12 s``."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
