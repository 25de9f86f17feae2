"""Results as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from frisket.errors import SpecError
from frisket.platform.reports.reproduction import HEAD, row_of, setting
from frisket.platform.reports.rows import flat
from frisket.platform.run.aggregate import interval_text, spread_text
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.points import search_of
from frisket.platform.specs.experiment import Experiment, load_spec
from frisket.platform.specs.text import spec_names
from frisket.platform.tables.comparison import Comparison
from frisket.platform.tables.reproduction import Reproduction

_MOST_PARTS = 8  # more are the points of a curve, which no terminal has room for


def results_table(folder: RunFolder, summary: Mapping[str, Any]) -> Table:
    """Per variant the metrics, mean ± population std or interval over seeds; then the published number, if any.

    Args:
        folder: the run.
        summary: what `frisket.platform.run.summary.summarise` gives.
    """
    experiment = folder.experiment
    rows: dict[str, Mapping[str, Any]] = summary.get("variants") or {experiment.name: summary["summary"]}
    columns = worth_showing(experiment.protocol.row.headline, rows.values())
    norm = "" if experiment.norm is None else f", {experiment.norm} batch norm"
    table = Table(title=f"{experiment.name}, {folder.learned_from}{norm}", title_justify="left")
    table.add_column("")
    for name in columns:
        table.add_column(name.replace("/", "/\n"), justify="right", no_wrap=True)
    table.add_column("n", justify="right")
    for label, metrics in rows.items():
        counts = sorted({metric["n"] for metric in metrics.values()})
        cells = [_cell(metrics[name]) if name in metrics else "" for name in columns]
        table.add_row(label, *cells, str(counts[-1]) if counts else "0")
    published = experiment.published
    if published is not None and published.metrics:
        table.add_section()
        given = published.metrics
        cells = [
            spread_text(given[name]["mean"], given[name].get("std"), published.n) if name in given else ""
            for name in columns
        ]
        table.add_row(f"published ({published.source})", *cells, str(published.n or ""), style="dim")
    return table


def _cell(row: Mapping[str, Any]) -> str:
    """A mean with its spread; with the interval it lies in, below it, where there is one."""
    interval = interval_text(row, form=".2f")
    return f"{row['mean']:.3f}\n{interval}" if interval else spread_text(row["mean"], row["std"], row["n"])


def points_table(folder: RunFolder, summary: Mapping[str, Any]) -> Table:
    """The points of a search, best first: their values, score as mean ± population std over seeds, n, seconds of work;
    of a point that was stopped early, where; of one that diverged, that it did.

    Args:
        folder: the run.
        summary: what `frisket.platform.run.summary.summarise` gives.
    """
    experiment = folder.experiment
    search, metric = search_of(experiment), experiment.metric
    title = f"{experiment.name}, {folder.learned_from}, {len(summary['points'])} points by {metric}"
    table = Table(title=title, title_justify="left")
    for axis in search.axes:
        table.add_column(axis.replace(".", ".\n"), justify="right", no_wrap=True)
    for name in (metric, "n", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for point in summary["points"]:
        stopped, score = point["stopped"], point["score"]
        said = "-" if score is None else spread_text(score, point["std"], point["n"])
        if "diverged" in point:
            said += " diverged"
        if stopped:
            said = f"stopped at step {stopped['step']} of {stopped['of']}"
        values = [str(point["values"][axis]) for axis in search.axes]
        style = "bold" if point["label"] == summary["best"] else "dim" if stopped or "diverged" in point else None
        table.add_row(*values, said, str(point["n"]), f"{point['seconds']:.1f}", style=style)
    return table


def comparison_table(reproduction: Reproduction, lines: Sequence[Comparison]) -> Table:
    """Published beside ours, as the reproduction's report has it."""
    table = reproduction.table
    shown = Table(title=f"{table.title_name}: {table.title} ({setting(reproduction)})", title_justify="left")
    for name in HEAD:
        shown.add_column(name, justify="right" if name in ("published", "ours", "n", "difference") else "left")
    before = None
    for line in lines:
        if before not in (None, (line.row, line.column)):
            shown.add_section()
        shown.add_row(*row_of(line))
        before = line.row, line.column
    return shown


def scale_note(folder: RunFolder) -> str | None:
    """How far the run is from the one that was published, in words; None where nothing was, or nothing differs."""
    experiment = folder.experiment
    if experiment.published is None:
        return None
    differences = []
    if folder.manifest["data_mode"] != "real":
        differences.append("embedded data, not the published data sets")
    if experiment.name in spec_names():
        differences += _changes(experiment)
    elif experiment.published.n is not None and experiment.published.n != experiment.seeds:
        differences.append(f"seeds {experiment.seeds} (published: {experiment.published.n})")
    return f"not the published setting: {'; '.join(differences)}" if differences else None


def _changes(ran: Experiment) -> Iterator[str]:
    """Fields in which ``ran`` differs from the specification of its name, which states the published setting."""
    try:
        stated = dict(flat(load_spec(ran.name).work()))
    except SpecError:  # the installed specification is not the one the run was started with
        return
    for key, value in flat(ran.work()):
        # what is measured against is another run's, and no setting
        if not key.startswith(("variants.", "tune.", "protocol.references")) and value != stated.get(key):
            yield f"{key} {value} (published setting: {stated.get(key)})"


def worth_showing(headline: str, rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Of the metrics of ``rows`` the headline, its parts, then others without parts; the rest (detection scores,
    curves...) is for the JSON."""
    names = list(dict.fromkeys(name for metrics in rows for name in metrics))
    parts = [name for name in names if name.startswith(f"{headline}/")]
    others = [name for name in names if "/" not in name and name != headline]
    return [headline, *(parts if len(parts) <= _MOST_PARTS else []), *others]
