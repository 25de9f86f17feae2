"""Published tables as data: which experiment stands in which cell, what was printed there, what counts as a match.

One YAML per table, ``tune_configs/tables/PAPER/NAME.yaml``. A cell names a specification, and its published numbers are
those of that specification's ``published`` block; a table gives numbers of its own only where the specification
has none, or where the cell is something else than the specification as it stands (`Cell.published`).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from frisket.errors import SpecError, nearest, require
from frisket.platform.protocols.few_shot_accuracy import FewShotAccuracyConfig
from frisket.platform.specs.experiment import Experiment, load_spec
from frisket.platform.specs.text import TABLES, config_names, spec_names
from frisket.platform.specs.typed import read_config
from frisket.platform.tables.claims import Claim
from frisket.platform.tables.scales import SCALES, ScaleName

_STRICT: dict[str, Any] = {"extra": "forbid"}  # pydantic would pass over unknown keys of a dataclass inside another


@dataclass(frozen=True, kw_only=True)
class Metric:
    """How a metric of the table is shown and judged.

    Attributes:
        label: what it is called in print.
        better: which direction is the better one; None: neither, so that beyond the tolerance is always a miss.
        unit: ``percent`` for fractions, ``seconds``, ``nats`` for log-likelihoods, ``count``.
        judged: False where the number depends on the machine, so that only a ratio of it can be judged.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    label: str
    better: Literal["higher", "lower"] | None = None
    unit: Literal["percent", "seconds", "nats", "count"] = "percent"
    judged: bool = True


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Attributes:
    spec: the specification that answers to the cell.
    overrides: ``key.path=value`` laid over it.
    variant: which of its variants answers; None for the first, or for what it is without variants. Cells that differ in
        this alone share a run.
    published: metric to ``{"mean", "std"}``, for metrics the specification has no published number of. With
        ``overrides`` of its own, or judged on another stream (`Evaluation`), a cell answers to these alone.
    n: seeds behind ``published``, None where the source does not say.
    apart: whether it is another experiment than the specification, although it has no number of its own, so that those
        of the specification are not about it.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    spec: str
    overrides: tuple[str, ...] = ()
    variant: str | None = None
    published: dict[str, dict[str, float]] = field(default_factory=dict)
    n: int | None = None
    apart: bool = False


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """What counts as a match, set before anything was run: the larger of two widths.

    Attributes:
        rows, columns, metrics: which numbers it is for; empty for all.
        points: in the metric's own unit (0.015 is 1.5 points of accuracy).
        sigmas: in published standard deviations.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    points: float = 0.0
    sigmas: float = 0.0

    def covers(self, row: str, column: str, metric: str) -> bool:
        """Whether it is for this number."""
        return _among((self.rows, row), (self.columns, column), (self.metrics, metric))

    def width(self, std: float | None) -> float:
        """The largest difference that is a match, for a published standard deviation (None: not given)."""
        return max(self.points, self.sigmas * (std or 0.0))


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Cells whose finished models are judged on another stream, without training (`frisket evaluate`).

    Attributes:
        overrides: ``stream.field=value`` laid over what the models were trained on, ``learner.field=value`` over their
            method while it answers, ``protocol.test_episodes=N`` for another number of episodes.
        rows, columns: which cells; empty for all.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    overrides: tuple[str, ...]
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require(bool(self.overrides), "evaluate.overrides", "[]", "at least one: stream.dataset=cub")


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A derived row: one metric of row ``of`` over that of row ``to``. Attributes: better: as `Metric`'s."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    metric: str
    of: str
    to: str
    better: Literal["higher", "lower"] | None = None

    @property
    def label(self) -> str:
        """What the derived row is called."""
        return f"{self.of} : {self.to}"


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A smaller form of every cell.

    Attributes:
        seeds: how many.
        overrides: ``key.path=value``; what names a field that a cell's specification does not have is left out there.
        divided: field to what each cell's own number of it is divided by, so that cells keep their proportions.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    seeds: int
    overrides: tuple[str, ...]
    divided: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, by in self.divided.items():
            require(by >= 1, f"scales.divided.{name}", by, "at least 1")

    def changes(self, experiment: Experiment) -> Iterator[str]:
        """``key.path=value`` that make ``experiment`` smaller.

        Raises:
            SpecError: what is to be divided is no whole number of so many parts.
        """
        there = dict(_fields(experiment.as_dict()))
        for name, by in self.divided.items():
            number = there.get(name)
            if not isinstance(number, int) or number % by:
                raise SpecError(f"scales.divided.{name}", by, f"must be a divisor of {number} in {experiment.name}")
            yield f"{name}={number // by}"
        yield from (text for text in self.overrides if text.partition("=")[0] in there)


@dataclass(frozen=True, kw_only=True)
class Scales:
    """The scales below ``paper``, which is the specification as it stands."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    smoke: Scale
    short: Scale


@dataclass(frozen=True, kw_only=True)
class Table:
    """A published table.

    Attributes:
        name: ``tables/PAPER/NAME``.
        title, source: what it shows, and where it is printed.
        metrics: what is shown of every cell.
        columns: in order.
        rows: label to ``{column: cell}``, a cell being a specification's name or a `Cell`; the paper prints no others.
        scales: how the table is made smaller.
        evaluate: which cells are of models judged on another stream than they were trained on; the overrides of all
            that cover a cell are laid over it in their order.
        tolerances: the last that covers a number decides it; a number none covers is judged by its standard error.
        ratios: derived rows.
        claims: what the source says without a number.
        unlike: why no number of ours compares with a printed one, so that only claims are judged; empty where they do.
        notes: what a reader must know: what is not given, what is quoted from another paper.
    """

    name: str
    title: str
    source: str
    metrics: dict[str, Metric]
    columns: tuple[str, ...]
    rows: dict[str, dict[str, str | Cell]]
    scales: Scales
    evaluate: tuple[Evaluation, ...] = ()
    tolerances: tuple[Tolerance, ...] = ()
    ratios: tuple[Ratio, ...] = ()
    claims: tuple[Claim, ...] = ()
    unlike: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for label, cells in self.rows.items():
            for column in cells:
                require(column in self.columns, f"rows.{label}", column, f"one of {', '.join(self.columns)}")
        for one in self.evaluate:
            for given, known in ((one.rows, self.rows), (one.columns, self.columns)):
                for name in given:
                    require(name in known, "evaluate", name, f"one of {', '.join(known)}")
        for tolerance in self.tolerances:
            for given, known in (
                (tolerance.rows, (*self.rows, *(ratio.label for ratio in self.ratios))),
                (tolerance.columns, self.columns),
                (tolerance.metrics, self.metrics),
            ):
                for name in given:
                    require(name in known, "tolerances", name, f"one of {', '.join(known)}")
        for claim in self.claims:
            rows = (*claim.rows, claim.bound) if isinstance(claim.bound, str) else claim.rows
            for given, known in ((rows, self.rows), (claim.columns, self.columns), (claim.metrics, self.metrics)):
                for name in given:
                    require(name in known, "claims", name, f"one of {', '.join(known)}")
        for ratio in self.ratios:
            require(ratio.metric in self.metrics, "ratios.metric", ratio.metric, f"one of {', '.join(self.metrics)}")
            for row in (ratio.of, ratio.to):
                require(row in self.rows, "ratios", row, f"one of {', '.join(self.rows)}")

    @property
    def title_name(self) -> str:
        """``PAPER/NAME``, as the command line has it."""
        return self.name.removeprefix(TABLES)

    def cell(self, row: str, column: str) -> Cell:
        """The cell, which must be there."""
        found = self.rows[row][column]
        return Cell(spec=found) if isinstance(found, str) else found

    def evaluation(self, row: str, column: str) -> tuple[str, ...]:
        """With which overrides the models of the cell's run are judged; empty where the run's own numbers are shown."""
        covering = [one for one in self.evaluate if _among((one.rows, row), (one.columns, column))]
        return tuple(override for one in covering for override in one.overrides)

    def apart(self, row: str, column: str) -> bool:
        """Whether the cell is something else than its specification as it stands, so that only the numbers of its own
        are about it."""
        cell = self.cell(row, column)
        return bool(self.evaluation(row, column) or cell.apart or (cell.overrides and cell.published))

    def tolerance(self, row: str, column: str, metric: str) -> Tolerance | None:
        """What the table itself sets as a match, None where it sets nothing."""
        return next((t for t in reversed(self.tolerances) if t.covers(row, column, metric)), None)

    def claims_on(self, row: str, column: str, metric: str) -> list[Claim]:
        """What is claimed of this number."""
        return [claim for claim in self.claims if claim.covers(row, column, metric)]


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """One experiment of a reproduction. Attributes: overrides: the cell's and its scale's; seeds: how many; variant:
    which one answers; evaluate: with which overrides its models are judged, empty for the run's own numbers; episodes:
    on how many."""

    row: str
    column: str
    spec: str
    overrides: tuple[str, ...]
    seeds: int
    variant: str | None = None
    evaluate: tuple[str, ...] = ()
    episodes: int = 0

    @property
    def work(self) -> tuple[str, tuple[str, ...], int]:
        """What its run does."""
        return self.spec, self.overrides, self.seeds


def run_command(spec: str, overrides: Sequence[str], seeds: int, data: str) -> str:
    """The command line that runs a cell by itself."""
    return shlex.join(["frisket", "run", spec, *overrides, "--seeds", str(seeds), "--data", data])


def evaluate_command(model: str, overrides: Sequence[str], episodes: int, data: str) -> str:
    """The command line that judges a cell's models elsewhere."""
    return shlex.join(["frisket", "evaluate", model, *overrides, "--episodes", str(episodes), "--data", data])


def table_names() -> tuple[str, ...]:
    """``PAPER/NAME`` of every published table, sorted."""
    return tuple(name.removeprefix(TABLES) for name in config_names() if name.startswith(TABLES))


def load_table(name: str) -> Table:
    """The table ``PAPER/NAME``.

    Raises:
        SpecError: no such table, or a mistake in its file.
    """
    if not isinstance(name, str):
        raise SpecError("TABLE", name, "must be a name, as text (`frisket list tables`)")
    if name not in table_names():
        raise SpecError("TABLE", name, f"no such table; {nearest(name, table_names())} (`frisket list tables`)")
    return read_config(Table, f"{TABLES}{name}")


def plan(
    table: Table,
    *,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    seeds: int | None = None,
    scale: ScaleName = "paper",
) -> list[PlannedCell]:
    """The experiments that are asked for, row by row.

    Args:
        table: from `load_table`.
        rows, columns: labels, in any case; None for all.
        seeds: how many in every cell; None for the scale's.
        scale: how large.

    Raises:
        SpecError: an unknown row, column or scale; fewer than one seed; no cell left; a cell whose specification is
            not here.
    """
    require(scale in SCALES, "scale", scale, f"one of {', '.join(SCALES)}")
    require(seeds is None or seeds >= 1, "seeds", seeds, "at least 1")
    wanted_rows = _chosen("rows", rows, table.rows)
    wanted_columns = _chosen("columns", columns, table.columns)
    cells = []
    for row in wanted_rows:
        for column in wanted_columns:
            if column in table.rows[row]:
                cells.append(_planned(table, row, column, scale, seeds))
    if not cells:
        places = ", ".join(f"{row} has {', '.join(table.rows[row])}" for row in wanted_rows)
        raise SpecError("columns", ", ".join(wanted_columns), f"the table prints nothing there: {places}")
    return cells


def _planned(table: Table, row: str, column: str, scale: ScaleName, seeds: int | None) -> PlannedCell:
    cell = table.cell(row, column)
    if cell.spec not in spec_names():
        here = [
            label for label in table.rows if all(table.cell(label, c).spec in spec_names() for c in table.rows[label])
        ]
        others = f"choose others with --rows: {', '.join(here)}" if here else "no row of this table can be run yet"
        raise SpecError("rows", row, f"its specification {cell.spec} ({column}) is not here; {others}")
    overrides = list(cell.overrides)
    experiment = load_spec(cell.spec, overrides)
    known = (None, *experiment.variants)
    require(cell.variant in known, "variant", cell.variant, f"one of {', '.join(experiment.variants)}")
    smaller = None if scale == "paper" else getattr(table.scales, scale)
    if smaller is not None:
        overrides += smaller.changes(experiment)
        load_spec(cell.spec, overrides)  # a mistake shows before anything is run
    count = seeds or (experiment.seeds if smaller is None else smaller.seeds)
    evaluate = table.evaluation(row, column)
    episodes = _judged_episodes(load_spec(cell.spec, [*overrides, *evaluate])) if evaluate else 0
    return PlannedCell(
        row=row, column=column, spec=cell.spec, overrides=tuple(overrides), seeds=count, variant=cell.variant,
        evaluate=evaluate, episodes=episodes,
    )  # fmt: skip


def _judged_episodes(experiment: Experiment) -> int:
    """On how many episodes the models of ``experiment`` are judged. Raises `SpecError` where they are on none."""
    config = experiment.protocol.config
    if not isinstance(config, FewShotAccuracyConfig):
        raise SpecError("evaluate", experiment.protocol.kind, "must be of episodes: protocol.kind = few-shot-accuracy")
    return config.test_episodes


def _among(*wanted: tuple[Sequence[str], str]) -> bool:
    """Whether every name is among its names, or there are none to be among."""
    return all(not names or name in names for names, name in wanted)


def _chosen(field_name: str, wanted: Sequence[str] | None, known: Iterable[str]) -> list[str]:
    """The labels of ``known`` that are ``wanted``, in the table's order."""
    labels = {label.casefold(): label for label in known}
    if wanted is None:
        return list(labels.values())
    for name in wanted:
        if name.casefold() not in labels:
            raise SpecError(field_name, name, f"the table has no such one; {nearest(name, labels.values())}")
    asked = {name.casefold() for name in wanted}
    require(bool(asked), field_name, "", "at least one label, or left out for all")
    return [label for key, label in labels.items() if key in asked]


def _fields(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every field by its dotted name, with what it is."""
    for key, value in tree.items():
        yield prefix + key, value
        if isinstance(value, dict):
            yield from _fields(value, f"{prefix}{key}.")
