"""``frisket compare`` and `frisket.compare`: finished runs beside each other, metric by metric."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from frisket.errors import RunError, nearest
from frisket.places import told
from frisket.platform.run.aggregate import aggregate
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.kept import content_hashes, default_runs_folder, name_of
from frisket.platform.run.points import best_of
from frisket.platform.specs.experiment import Experiment

LEVEL = 0.95

Method = Literal["paired", "welch"]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One mean less another.

    Attributes:
        mean: the difference.
        interval: the confidence interval at `LEVEL`, None where too few seeds are there to tell.
        method: ``paired``: t interval of the mean of the differences seed by seed; ``welch``: of the difference of
            means of unequal variances; None where there is no interval.
        n: pairs, or seeds of the run and of the first; None where there is no interval.
    """

    mean: float
    interval: tuple[float, float] | None = None
    method: Method | None = None
    n: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class _Side:
    """One thing that is compared. Attributes: plain: its plain experiment; data: its data sets' hashes; values: metric
    to ``{seed: value}``."""

    label: str
    folder: RunFolder
    variant: str | None
    plain: Experiment
    data: Mapping[str, Mapping[str, str]]
    values: Mapping[str, Mapping[int, float]]

    def same_stream(self, other: _Side) -> bool:
        """Whether a seed stands for the same experience in both."""
        mine, theirs = (side.plain.stream.work(exact=True) for side in (self, other))
        modes = {side.folder.manifest["data_mode"] for side in (self, other)}
        return mine == theirs and self.data == other.data and len(modes) == 1


@told()
def compare(*names: str | Path, runs_dir: str | Path | None = None) -> dict[str, Any]:
    """Finished runs beside each other; `frisket.platform.api.compare` says more.

    Raises:
        RunError: fewer than two runs, one that is not there or not finished, no metric that all have.
    """
    if len(names) < 2:
        raise RunError("RUN", [str(name) for name in names], "name at least two: RUN, or RUN:VARIANT")
    parent = default_runs_folder() if runs_dir is None else Path(runs_dir)
    sides = [_side(str(name), parent) for name in names]
    first, *others = sides
    shared = [name for name in first.values if all(name in side.values for side in others)]
    if not shared:
        raise RunError("RUN", others[-1].label, f"has no metric in common with {first.label}")
    every = dict.fromkeys(name for side in sides for name in side.values)
    paired = [first.same_stream(side) for side in sides]
    return {
        "level": LEVEL,
        "headline": first.plain.metric if first.plain.metric in shared else shared[0],
        "runs": [_about(side, is_paired) for side, is_paired in zip(sides, paired, strict=True)],
        "metrics": {
            name: [_line(side, first, name, is_paired) for side, is_paired in zip(sides, paired, strict=True)]
            for name in shared
        },
        "not_shared": [name for name in every if name not in shared],
    }


def rows(compared: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What `compare` gives as flat rows: one for every metric of every run."""
    flat = []
    for metric, lines in compared["metrics"].items():
        for about, line in zip(compared["runs"], lines, strict=True):
            low, high = line["interval"] or (None, None)
            kept = {name: line[name] for name in ("mean", "std", "n", "difference", "method")}
            pairs = " and ".join(map(str, line["n_difference"] or ()))
            flat.append({"metric": metric, **about, **kept, "low": low, "high": high, "n_difference": pairs})
    return flat


def difference(ours: Mapping[int, float], theirs: Mapping[int, float], *, same_stream: bool) -> Difference:
    """The mean of ``ours`` less that of ``theirs``.

    Args:
        ours, theirs: seed to value.
        same_stream: a seed stands for the same experience in both; seeds that both have are then paired, if there are
            two.
    """
    both = [seed for seed in ours if seed in theirs] if same_stream else []
    if len(both) >= 2:
        pairs = [ours[seed] - theirs[seed] for seed in both]
        error = statistics.stdev(pairs) / math.sqrt(len(pairs)) if _finite(pairs) else math.nan
        return _difference(_mean(pairs), error, len(pairs) - 1, "paired", (len(pairs),))
    mean = _mean(ours.values()) - _mean(theirs.values())
    if min(len(ours), len(theirs)) < 2 or not _finite([*ours.values(), *theirs.values()]):
        return Difference(mean=mean)
    parts = [statistics.variance(side.values()) / len(side) for side in (ours, theirs)]
    spread = sum(part**2 / (len(side) - 1) for part, side in zip(parts, (ours, theirs), strict=True))
    freedom = sum(parts) ** 2 / spread if spread else math.inf  # Welch and Satterthwaite
    return _difference(mean, math.sqrt(sum(parts)), freedom, "welch", (len(ours), len(theirs)))


def _difference(mean: float, error: float, freedom: float, method: Method, n: tuple[int, ...]) -> Difference:
    from scipy.special import stdtrit

    if not math.isfinite(error):
        return Difference(mean=mean)
    width = error and error * float(stdtrit(freedom, (1 + LEVEL) / 2))
    return Difference(mean=mean, interval=(mean - width, mean + width), method=method, n=n)


def _side(name: str, parent: Path) -> _Side:
    """What ``RUN`` or ``RUN:VARIANT`` names: of a run with variants the headline, of a search its best point."""
    run, colon, variant = name.rpartition(":")
    if not colon or (Path(name) / RunFolder.MANIFEST).is_file():
        run, variant = name, ""
    folder = RunFolder.find(run, parent)
    if not folder.done:
        fix = f"is not finished; finish it with: frisket {folder.verb} --resume {name_of(folder)}"
        raise RunError("RUN", name, fix)
    experiment = folder.experiment
    if variant and variant not in experiment.variants:
        known = nearest(variant, experiment.variants) if experiment.variants else "it has no variants"
        raise RunError("RUN", name, f"no such variant; {known}")
    chosen = variant or experiment.headline_label
    if experiment.tune is not None and not variant:
        best = best_of(folder)
        if best is None:
            raise RunError("RUN", name, "is a search none of whose points can be ranked; name one: RUN:POINT")
        chosen = best.label
    values: dict[str, dict[int, float]] = {}
    for result in folder.results():
        if result["variant"] == chosen:
            for metric, value in result["metrics"].items():
                values.setdefault(metric, {})[result["seed"]] = value
    if not values:
        raise RunError("RUN", name, "was stopped early and has no results; name another point")
    return _Side(
        label=folder.run_id if chosen is None else f"{folder.run_id}:{chosen}",
        folder=folder,
        variant=chosen,
        plain=experiment.variant(chosen),
        data={name: content_hashes(one) for name, one in folder.manifest["data"].items()},
        values=values,
    )


def _about(side: _Side, same_stream: bool) -> dict[str, Any]:
    """``same_stream``: as that of the first run."""
    manifest = side.folder.manifest
    return {
        "run": side.folder.run_id, "variant": side.variant, "spec": manifest["spec"], "data": manifest["data_mode"],
        "seeds": side.plain.seeds, "same_stream": same_stream,
    }  # fmt: skip


def _line(side: _Side, first: _Side, metric: str, same_stream: bool) -> dict[str, Any]:
    """Mean, population standard deviation and n of a metric; of all but the first the difference to it."""
    values = side.values[metric]
    line: dict[str, Any] = aggregate({metric: value} for value in values.values())[metric]
    if side is first:
        return line | dict.fromkeys(("difference", "interval", "method", "n_difference"))
    found = difference(values, first.values[metric], same_stream=same_stream)
    return line | {
        "difference": found.mean,
        "interval": found.interval and list(found.interval),
        "method": found.method,
        "n_difference": found.n and list(found.n),
    }


def _mean(values: Collection[float]) -> float:
    return sum(values) / len(values)


def _finite(values: Sequence[float]) -> bool:
    return all(map(math.isfinite, values))
