"""The queue's pages: of every published table that an entry answers to, of what no table has, and an index.

They are reports of a reproduction like any other (`frisket.platform.reports.reproduction`); only the runs are there
already.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import frisket
from docs.evidence.queue import COMMITS, KEPT, Entry, Standing, standing
from docs.tables.markdown import table as markdown
from frisket.errors import FrisketError
from frisket.files import find_json, making_folder, read_sealed, write_sealed, write_text
from frisket.platform.protocols.decisions import COUNT, DIFFERING, LAYERS
from frisket.platform.protocols.success import SEARCHED
from frisket.platform.reports.reproduction import commit_text, report_path, write_picture, write_report
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.kept import Kept
from frisket.platform.run.progress import duration
from frisket.platform.run.summary import summarise
from frisket.platform.specs.experiment import load_spec
from frisket.platform.specs.text import TABLES
from frisket.platform.tables.comparison import Comparison, compare
from frisket.platform.tables.reproduction import Reproduction
from frisket.platform.tables.table import Cell, Metric, PlannedCell, Scale, Scales, Table, load_table, table_names
from frisket.platform.tables.verdict import Number, difference_text, number_text
from frisket.platform.verbs.run import work_of_a_seed

_OWN = "own"
"""Family and scale of the tables that are made here, of what no published table has: nothing of them gets a verdict."""
_UNPUBLISHED = "with settings of which nothing is published"
_COUNTS = {COUNT, DIFFERING, LAYERS, SEARCHED}
"""Metrics that count something."""
_MATRIX = re.compile(r"(?!bn).*\.weight")
_NOWHERE: Mapping[str, str | None] = {"uri": "", "experiment": None}


class Page(Reproduction):
    """A report of runs that are there already. On disk is nothing but what is reported.

    Args:
        table: what is reported of.
        cells: those of its cells that the queue answers to, each with its run, None where it has not begun.
        judged: of those whose models are judged elsewhere, what they answered.
        scale: ``paper``, or ``own`` for a table made here.
        out: where the report goes.
    """

    def __init__(
        self, table: Table, cells: Mapping[PlannedCell, RunFolder | None], scale: str, out: Path,
        judged: Mapping[PlannedCell, dict[str, Any]] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        Kept.__init__(self, out)
        self._judged = judged
        self.table, self.cells, self._runs = table, list(cells), list(cells.values())
        self.manifest = {
            "run_id": f"evidence-{table.title_name.replace('/', '-')}",
            "table": table.title_name,
            "scale": scale,
            "data": "real",
            "out": str(out),
            "frisket": frisket.__version__,
            "git": None,  # every run has its own
            "tracking": dict(_NOWHERE),
        }

    @property
    def command(self) -> str:
        """What has led to the page; what runs a cell stands beside it."""
        return "make evidence"

    def run_of(self, index: int) -> RunFolder | None:
        return self._runs[index]

    def evaluation(self, index: int) -> dict[str, Any] | None:
        return self._judged.get(self.cells[index])

    def reused(self, index: int) -> bool:
        return False


def write_pages(entries: Sequence[Entry], runs: Path, out: Path, *, kept: Path = KEPT) -> list[Page]:
    """Write the pages that have something to report, each file replaced as a whole, and README.md, which lists all.

    Args:
        entries: the queue.
        runs: where runs are kept.
        out: the pages' folder.
        kept: finished runs that are committed.
    """
    out.mkdir(parents=True, exist_ok=True)
    standings = {entry: standing(entry, runs, kept=kept) for entry in entries}
    pages = list(_pages(standings, out))
    for page in pages:
        lines = compare(page)
        write_report(page, lines)
        write_picture(page, lines)
    write_text(out / "README.md", _index(standings, pages))
    return pages


def keep(entries: Sequence[Entry], runs: Path, *, kept: Path = KEPT) -> None:
    """Put the manifest and the results of every finished run into ``kept``, to be committed: with them an entry is
    done, and reported, wherever the runs themselves are."""
    kept.mkdir(parents=True, exist_ok=True)
    for entry in entries:
        one = standing(entry, runs, kept=kept)
        run = one.run
        if run is None or one.state != "done":
            continue
        if (kept / run.run_id).exists():
            if entry.evaluate:
                _keep_judged(entry, run, kept / run.run_id)
            continue
        with making_folder(kept / run.run_id) as folder:
            for files in run.replicas():
                place = folder / "replicas" / files.key
                place.mkdir(parents=True)
                assert files.result is not None  # the run is done
                write_sealed(place / "result.json", files.result)
            if run.uses.is_dir():
                shutil.copytree(run.uses, folder / run.uses.name)
            if (run.path / COMMITS).is_file():
                shutil.copy(run.path / COMMITS, folder)
            write_sealed(folder / RunFolder.MANIFEST, {**run.manifest, "tracking": dict(_NOWHERE)})
            if entry.evaluate:
                _keep_judged(entry, run, folder)


def _keep_judged(entry: Entry, run: RunFolder, folder: Path) -> None:
    if (folder / entry.judged).exists():
        return
    (folder / entry.judged).parent.mkdir(exist_ok=True)
    write_sealed(folder / entry.judged, read_sealed(run.path / entry.judged))


# -- what is reported of -----------------------------------------------------------------------------------------------


def _pages(standings: Mapping[Entry, Standing], out: Path) -> Iterator[Page]:
    told: set[Entry] = set()
    for name in table_names():
        table, cells = load_table(name), {}
        for row, column in ((row, column) for row in table.rows for column in table.columns):
            if column not in table.rows[row] or table.evaluation(row, column):  # judged elsewhere: not what runs hold
                continue
            cell = table.cell(row, column)
            alike = {entry: one for entry, one in standings.items() if _answers(entry, cell)}
            told |= alike.keys()
            if alike:
                planned, run = _cell(alike, row, column, cell.variant)
                cells[planned] = run
        if any(run is not None and run.done for run in cells.values()):
            yield Page(_with_commits(table, cells.values()), cells, "paper", out)
    own: dict[str, dict[Entry, Standing]] = {}
    for entry, one in standings.items():
        if entry not in told and one.run is not None and one.state == "done":
            own.setdefault(entry.page or f"{one.run.experiment.name}, {_UNPUBLISHED}", {})[entry] = one
    for title, found in own.items():
        yield _own_page(title, found, out)


def _answers(entry: Entry, cell: Cell) -> bool:
    """Whether ``entry`` is of the cell's work, with however many seeds."""
    if entry.spec != cell.spec or entry.evaluate:
        return False
    try:
        return work_of_a_seed(entry.experiment()) == work_of_a_seed(load_spec(cell.spec, cell.overrides))
    except FrisketError:  # an entry that does not fit its specification is skipped by the queue, and says why
        return False


def _cell(
    alike: Mapping[Entry, Standing], row: str, column: str, variant: str | None
) -> tuple[PlannedCell, RunFolder | None]:
    """The cell that entries of one work make: that with the most seeds of those that are done, else of all."""
    entry, one = max(alike.items(), key=lambda item: (item[1].state == "done", item[0].seeds))
    planned = PlannedCell(
        row=row, column=column, spec=entry.spec, overrides=entry.overrides, seeds=entry.seeds, variant=variant,
        evaluate=entry.evaluate, episodes=entry.episodes if entry.evaluate else 0,
    )  # fmt: skip
    return planned, one.run


def _own_page(title: str, found: Mapping[Entry, Standing], out: Path) -> Page:
    """A page of runs that no published table has: variants by settings, all that was measured."""
    cells, metrics, rows = {}, dict[str, Metric](), dict[str, dict[str, str | Cell]]()
    judged = dict[PlannedCell, dict[str, Any]]()
    places: dict[tuple[str, str], dict[Entry, Standing]] = {}
    for entry, one in found.items():
        assert one.run is not None
        place = entry.row or one.run.experiment.name, entry.column or " ".join(entry.overrides) or "as specified"
        places.setdefault(place, {})[entry] = one
    for (row, column), alike in places.items():
        run = next(iter(alike.values())).run
        assert run is not None
        for label in run.experiment.plans:
            planned, best = _cell(alike, label or row, column, label)
            cells[planned] = best
            rows.setdefault(planned.row, {})[column] = Cell(
                spec=planned.spec, overrides=planned.overrides, variant=label, apart=bool(planned.evaluate)
            )
            if best is not None and planned.evaluate:
                judged[planned] = read_sealed(best.path / next(iter(alike)).judged)
        for result in run.results():
            for metric in ("accuracy", "accuracy/interval") if next(iter(alike)).evaluate else _measured(result):
                metrics[metric] = Metric(label=metric, unit=_unit(metric))
    nothing = Scale(seeds=1, overrides=())
    name = "-".join(re.findall(r"[a-z0-9]+", title.removesuffix(f", {_UNPUBLISHED}").lower()))
    table = Table(
        name=f"{TABLES}{_OWN}/{name}",
        title=title,
        source="In no published table",
        metrics=metrics,
        columns=tuple(dict.fromkeys(column for _, column in places)),
        rows=rows,
        scales=Scales(smoke=nothing, short=nothing),
    )
    return Page(_with_commits(table, cells.values()), cells, _OWN, out, judged)


def _measured(result: Mapping[str, Any]) -> list[str]:
    """What a page of its own shows of a seed's result: its metrics, and the sparsity of kernels and matrices that are
    masked; a bias and a batch norm have too few entries for a share."""
    masked = [f"sparsity/{name}" for name, value in result["sparsity"].items() if value and _MATRIX.fullmatch(name)]
    return [*result["metrics"], *masked]


def _unit(metric: str) -> Literal["percent", "nats", "count"]:
    if "likelihood" in metric:
        return "nats"
    return "count" if metric.endswith("/step") or metric in _COUNTS else "percent"


def _with_commits(table: Table, runs: Iterable[RunFolder | None]) -> Table:
    """``table`` with a note on every run that more than one commit has worked on."""
    notes = list(table.notes)
    for run in {run.run_id: run for run in runs if run is not None}.values():
        commits = find_json(run.path / COMMITS) or []
        if len(commits) > 1:
            notes.append(f"{run.run_id}: worked on by the commits {', '.join(map(commit_text, commits))}.")
    return dataclasses.replace(table, notes=tuple(notes))


# -- the index ---------------------------------------------------------------------------------------------------------


def _index(standings: Mapping[Entry, Standing], pages: Sequence[Page]) -> str:
    rows = (_row(number, *item) for number, item in enumerate(standings.items(), 1))
    lines = {page: compare(page) for page in pages}
    missed = [_miss(page, line) for page, found in lines.items() for line in found if line.judgement.verdict == "miss"]
    parts = [
        "# What the evidence queue has run",
        "Made by `python -m docs.evidence`, from the queue's file and the runs. One core at the lowest priority, one "
        "thread; times are the sum over seeds, on a machine that does other work too.",
        markdown(("", "run", "state", "took", "headline", "commit"), rows),
        "## Pages",
        "\n".join(f"* [{page.table.title_name}]({report_path(page, 'md').name}): {page.table.title}" for page in pages)
        or "None yet.",
        "## Misses",
        "\n".join(missed) or "None so far.",
    ]
    return "\n\n".join(parts) + "\n"


def _number(row: Mapping[str, Any]) -> Number:
    return Number(mean=row["mean"], std=row["std"], n=row["n"])


def _row(number: int, entry: Entry, one: Standing) -> Sequence[str]:
    run = one.run
    if run is None or one.state != "done":
        return str(number), f"`{entry.command}`", ": ".join(filter(None, (one.state, one.reason))), "", "", ""
    numbers = _judged(entry, run) if entry.evaluate else _summed(run)
    metric = run.experiment.metric
    unit = _unit(metric)
    said = (
        " ".join(filter(None, (label, number_text(_number(one_number[metric]), unit))))
        for label, one_number in numbers.items()
        if metric in one_number
    )
    git = commit_text(run.manifest["git"])
    return str(number), f"`{entry.command}`", "done", duration(one.seconds), f"{metric} {'; '.join(said)}", git


def _summed(run: RunFolder) -> Mapping[str | None, Mapping[str, Any]]:
    found = summarise(run)
    return found.get("variants") or {None: found["summary"]}


def _judged(entry: Entry, run: RunFolder) -> Mapping[str | None, Mapping[str, Any]]:
    """As `_summed`, of what the models answered elsewhere."""
    rows = read_sealed(run.path / entry.judged)["summary"]
    return {row["variant"]: {"accuracy": {"mean": row["accuracy"], "std": row["std"], "n": row["n"]}} for row in rows}


def _miss(page: Page, line: Comparison) -> str:
    place = f"{page.table.title_name}: {line.row}, {line.column}, {line.label}"
    expected = line.claim or number_text(line.published, line.unit)
    difference = line.judgement.difference
    beyond = "" if difference is None else f" ({difference_text(difference, line.unit)})"
    return f"* {place}: {line.verdict_text}; {expected} expected, {number_text(line.ours, line.unit)} found{beyond}"
