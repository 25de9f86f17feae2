"""What a reproduction has found, cell by cell and metric by metric, beside what was published."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from frisket.envs.episodes.stand_ins import asked_for
from frisket.platform.run.aggregate import aggregate
from frisket.platform.specs.experiment import Experiment, load_spec
from frisket.platform.tables.claims import Claim
from frisket.platform.tables.reproduction import Reproduction
from frisket.platform.tables.table import Cell, Metric, Ratio, Table
from frisket.platform.tables.verdict import Judgement, Number, Verdict, judge, judge_claim, number_text, ratio

SEARCHED = " (searched settings)"
"""What stands behind a verdict where settings were searched that the source gives otherwise, or does not give."""

NO_VERDICT = "no verdict"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One line of the result.

    Attributes:
        row, column: the table's labels; ``row`` may be a derived one (`frisket.platform.tables.table.Ratio`).
        metric: its name in frisket; label, unit: how it is shown (unit also ``ratio``).
        published, ours: None where there is none.
        source: where the published number is printed.
        judgement: difference, tolerance, verdict.
        claim: what is said instead of a published number, and where; empty for none.
        searched: settings of ours that are not the source's but were searched (`Published.searched`).
    """

    row: str
    column: str
    metric: str
    label: str
    unit: str
    published: Number | None
    ours: Number | None
    source: str
    judgement: Judgement
    claim: str = ""
    searched: tuple[str, ...] = ()

    @property
    def verdict_text(self) -> str:
        """The judgement's text; a verdict on searched settings says that they are."""
        return self._marked(self.judgement.text)

    @property
    def verdict_name(self) -> str:
        """What it is counted as: ``match``, ``match (searched settings)``, ..., ``no verdict``."""
        return self._marked(self.judgement.verdict or NO_VERDICT)

    def _marked(self, text: str) -> str:
        return f"{text}{SEARCHED}" if self.searched and self.judgement.verdict else text


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """One cell as it is.

    Attributes:
        cell: the table's.
        spec: its specification as it stands, for what is published and how many seeds are its own.
        numbers: metric to ours.
        obstacle: why nothing of it may get a verdict; empty for nothing.
        apart: whether it is something else than its specification as it stands, so that only the cell's own published
            numbers are about it.
    """

    cell: Cell
    spec: Experiment
    numbers: Mapping[str, Number]
    obstacle: str
    apart: bool = False

    @property
    def searched(self) -> tuple[str, ...]:
        """The specification's searched settings that the cell does not set to something else."""
        given = self.spec.published
        overridden = {text.partition("=")[0] for text in self.cell.overrides}
        return () if given is None else tuple(name for name in given.searched if name not in overridden)

    def published(self, metric: str) -> tuple[Number | None, str]:
        """What is published for ``metric``: the table's own number, else the specification's, and the latter's
        source."""
        if metric in self.cell.published:
            return Number(**self.cell.published[metric], n=self.cell.n), ""
        given = self.spec.published
        if self.apart or given is None or metric not in given.metrics:
            return None, ""
        return Number(**given.metrics[metric], n=given.n), given.source

    def too_few(self, published: Number | None, ours: Number | None) -> str:
        """Why the seeds do not suffice to compare with ``published``, empty where they do."""
        return "" if published is None else self.lacking(published.n, ours)

    def lacking(self, stated: int | None, ours: Number | None) -> str:
        """Why the seeds are fewer than the source has ``stated`` (None: than the specification's), empty if not."""
        if ours is None or ours.n is None:
            return ""
        needed = stated or self.spec.seeds
        return f"{ours.n} of {needed} seeds" if ours.n < needed else ""


def compare(reproduction: Reproduction) -> list[Comparison]:
    """Every metric of every cell, in the table's order, then the derived rows; no line where nothing is published,
    claimed or measured."""
    table = reproduction.table
    measured = {
        (planned.row, planned.column): _measure(reproduction, table, index)
        for index, planned in enumerate(reproduction.cells)
    }
    lines = []
    for (row, column), one in measured.items():
        for name, metric in table.metrics.items():
            claims = table.claims_on(row, column, name)
            if one.published(name)[0] is not None or (name in one.numbers and not claims):
                lines.append(_line(table, row, column, name, metric, one))
            lines += [_claim_line(table, row, column, name, claim, measured) for claim in claims]
    for derived in table.ratios:
        for column in table.columns:
            pair = [measured.get((row, column)) for row in (derived.of, derived.to)]
            if pair[0] is not None and pair[1] is not None:
                lines.append(_ratio_line(table, column, derived, pair[0], pair[1]))
    return lines


def values_of(result: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of one seed's result, with its ``seconds`` and the sparsity of its tensors (``sparsity/NAME``)."""
    tensors = {f"sparsity/{name}": value for name, value in result["sparsity"].items() if name != "overall"}
    return {**result["metrics"], **tensors, "seconds": result["seconds"]}


def counts(lines: Sequence[Comparison]) -> dict[str, int]:
    """How many of each verdict, those on searched settings apart, those without a verdict last."""
    found = Counter(line.verdict_name for line in lines)
    names = [name for verdict in get_args(Verdict) for name in (verdict, f"{verdict}{SEARCHED}")]
    return {name: found[name] for name in (*names, NO_VERDICT) if found[name]}


def _measure(reproduction: Reproduction, table: Table, index: int) -> _Measured:
    planned = reproduction.cells[index]
    cell = table.cell(planned.row, planned.column)
    spec, run = _stated(cell.spec), reproduction.run_of(index)
    apart = table.apart(planned.row, planned.column)
    if run is None or not reproduction.finished(index):
        why = "not run" if run is None else "not finished"
        return _Measured(cell=cell, spec=spec, numbers={}, obstacle=why, apart=apart)
    variant = planned.variant or run.experiment.headline_label
    results = [result for result in reproduction.results_of(index) if result["variant"] == variant]
    numbers = {
        name: Number(mean=one["mean"], std=one["std"], n=int(one["n"]))
        for name, one in aggregate(map(values_of, results)).items()
    }
    numbers = {**{_named_for(name): number for name, number in numbers.items()}, **numbers}
    return _Measured(cell=cell, spec=spec, numbers=numbers, obstacle=_obstacle(reproduction, index), apart=apart)


def _named_for(metric: str) -> str:
    """``metric``, of a part of a stand-in that of the data set it stands for: it is shown there, without a verdict."""
    name, slash, domain = metric.partition("/")
    return f"{name}{slash}{asked_for(domain)}"


@functools.cache
def _stated(name: str) -> Experiment:
    """A specification as it stands: the same for every look at a table, which is looked at after every cell."""
    return load_spec(name)


def _obstacle(reproduction: Reproduction, index: int) -> str:
    scale = reproduction.manifest["scale"]
    if scale != "paper":
        return f"{scale} scale"
    kinds = {source["kind"] for source in reproduction.sets_of(index).values()} - {"real"}
    return f"{' and '.join(sorted(kinds))} data" if kinds else ""


def _line(table: Table, row: str, column: str, name: str, metric: Metric, one: _Measured) -> Comparison:
    published, source = one.published(name)
    ours = one.numbers.get(name)
    obstacle = one.obstacle or ("not measured" if ours is None else "") or one.too_few(published, ours)
    obstacle = obstacle or table.unlike
    if not metric.judged:
        obstacle = obstacle or "depends on the machine; its ratio is judged"
    return Comparison(
        row=row,
        column=column,
        metric=name,
        label=metric.label,
        unit=metric.unit,
        published=published,
        ours=ours,
        source=source or table.source,
        judgement=judge(
            published, ours, better=metric.better, tolerance=table.tolerance(row, column, name), obstacle=obstacle
        ),
        searched=one.searched,
    )


def _claim_line(
    table: Table, row: str, column: str, name: str, claim: Claim, measured: Mapping[tuple[str, str], _Measured]
) -> Comparison:
    one, metric, bound = measured[row, column], table.metrics[name], claim.bound
    ours, obstacles = one.numbers.get(name), [one.obstacle]
    side = "below" if claim.above is None else "above"
    if isinstance(bound, str):
        other = measured.get((bound, column))
        beside = None if other is None else other.numbers.get(name)
        obstacles += [] if other is None else [other.obstacle, other.lacking(other.cell.n, beside)]
        said = f"{side} {bound}"
    else:
        beside = Number(mean=bound)
        said = f"at {'most' if side == 'below' else 'least'} {number_text(beside, metric.unit)}"
    obstacles += ["not measured" if one.numbers and ours is None else "", one.lacking(one.cell.n, ours)]
    return Comparison(
        row=row,
        column=column,
        metric=name,
        label=metric.label,
        unit=metric.unit,
        published=None,
        ours=ours,
        source=table.source,
        judgement=judge_claim(claim, ours, beside, obstacle=next(filter(None, obstacles), "")),
        claim=f"{said} ({claim.origin})",
        searched=one.searched,
    )


def _ratio_line(table: Table, column: str, derived: Ratio, top: _Measured, bottom: _Measured) -> Comparison:
    metric = table.metrics[derived.metric]
    pairs = [(one.published(derived.metric)[0], one.numbers.get(derived.metric)) for one in (top, bottom)]
    published, ours = (ratio(*numbers) for numbers in zip(*pairs, strict=True))
    few = [one.too_few(*pair) for one, pair in zip((top, bottom), pairs, strict=True)]
    obstacle = next(filter(None, (top.obstacle, bottom.obstacle, *few)), "")
    return Comparison(
        row=derived.label,
        column=column,
        metric=f"{derived.metric} ratio",
        label=f"{metric.label}, ratio",
        unit="ratio",
        published=published,
        ours=ours,
        source=table.source,
        judgement=judge(
            published, ours, better=derived.better, obstacle=obstacle,
            tolerance=table.tolerance(derived.label, column, derived.metric),
        ),
        searched=(*top.searched, *bottom.searched),
    )  # fmt: skip
