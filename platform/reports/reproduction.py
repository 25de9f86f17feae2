"""A reproduction for readers: Markdown, JSON, and a picture of published and ours side by side."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frisket.files import find_sealed, write_json, write_text
from frisket.platform.reports.figure import PALETTE, Heading, frame, lined, save
from frisket.platform.run.aggregate import spread_of
from frisket.platform.run.folder import RunFolder
from frisket.platform.tables.comparison import Comparison, counts
from frisket.platform.tables.reproduction import Reproduction
from frisket.platform.tables.table import PlannedCell, evaluate_command, run_command
from frisket.platform.tables.verdict import RULE, Number, difference_text, number_text
from frisket.redaction import redacted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEAD = ("row", "column", "metric", "published", "ours", "n", "difference", "verdict")
_OFFSET = 0.16  # ours is drawn this much below the row's middle, the published number as much above
_UNITS = {"percent": "%", "seconds": "s", "nats": "nats", "count": "", "ratio": ""}


def report_path(reproduction: Reproduction, ending: str) -> Path:
    """The report's file with ``ending`` (``md``, ``json``, ``png``)."""
    return reproduction.out / f"{reproduction.manifest['table'].replace('/', '-')}.{ending}"


def write_report(reproduction: Reproduction, lines: Sequence[Comparison]) -> None:
    """Write Markdown and JSON, each replaced as a whole."""
    reproduction.out.mkdir(parents=True, exist_ok=True)
    write_text(report_path(reproduction, "md"), as_markdown(reproduction, lines))
    write_json(report_path(reproduction, "json"), as_json(reproduction, lines))


def write_picture(reproduction: Reproduction, lines: Sequence[Comparison]) -> None:
    """Write the PNG."""
    reproduction.out.mkdir(parents=True, exist_ok=True)
    table = reproduction.table
    heading = Heading(table.title_name, f"{setting(reproduction)}; bars: one standard deviation")
    save(draw_comparison(lines, heading, table.title), report_path(reproduction, "png"))


def as_json(reproduction: Reproduction, lines: Sequence[Comparison]) -> dict[str, Any]:
    """The ``--json`` object: that of a run (DESIGN, section 6), each result with the cell it belongs to, and
    ``comparison``, the table itself."""
    manifest, table = reproduction.manifest, reproduction.table
    results, cells, sets = [], [], {}
    for index, cell in enumerate(reproduction.cells):
        run = reproduction.run_of(index)
        state = "not run" if run is None else "done" if reproduction.finished(index) else "not finished"
        about: dict[str, Any] = {**dataclasses.asdict(cell), "state": state, "reused": reproduction.reused(index)}
        if run is not None:
            sets |= reproduction.sets_of(index)
            about |= {"run": run.run_id, "git": run.manifest["git"], "data": run.manifest["data_mode"]}
            about["command"] = " && ".join(commands(cell, run))
            kept = ("seed", "config", "metrics", "sparsity", "seconds")
            here = {"row": cell.row, "column": cell.column, "spec": cell.spec}
            results += [here | {k: result[k] for k in kept} for result in reproduction.results_of(index)]
        cells.append(about)
    modes = sorted({cell["data"] for cell in cells if "data" in cell})
    sent = find_sealed(reproduction.path / "sent.json") or {}
    return {
        "table": table.title_name,
        "title": table.title,
        "source": table.source,
        "scale": manifest["scale"],
        "frisket": manifest["frisket"],
        "git": manifest["git"],
        "data": {"mode": " and ".join(modes) or manifest["data"], "sets": sets},
        "results": results,
        "summary": {
            f"{line.row}/{line.column}/{line.metric}": dataclasses.asdict(line.ours) for line in lines if line.ours
        },
        "comparison": [_plain(line) for line in lines],
        "verdicts": counts(lines),
        "rule": RULE,
        "notes": list(table.notes),
        "cells": cells,
        "reproduction": reproduction.run_id,
        "mlflow": {
            "tracking_uri": redacted(manifest["tracking"]["uri"]),
            "experiment": manifest["tracking"]["experiment"],
            "run_id": sent.get("run_id"),
            "model": None,
            "version": None,
        },
    }


def as_markdown(reproduction: Reproduction, lines: Sequence[Comparison]) -> str:
    """The report as Markdown, with the command that made it."""
    table = reproduction.table
    parts = [
        f"# {table.title_name}: {table.title}",
        f"{table.source}. {setting(reproduction)}.",
        f"    {reproduction.command}",
        _markdown_table(HEAD, [row_of(line) for line in lines]),
        f"![published and ours]({report_path(reproduction, 'png').name})",
        f"Mean ± standard deviation over n seeds (ours: the population's). {RULE}",
    ]
    if table.notes:
        parts.append("\n".join(f"* {note}" for note in table.notes))
    parts += [
        "## Runs",
        _markdown_table(("row", "column", "run", "seconds a seed", "commit", "command"), list(_runs(reproduction))),
    ]
    return "\n\n".join(parts) + "\n"


def row_of(line: Comparison) -> tuple[str, ...]:
    """What is printed of a comparison, in the order of `HEAD`."""
    difference = line.judgement.difference
    return (
        line.row,
        line.column,
        line.label,
        line.claim or number_text(line.published, line.unit),
        number_text(line.ours, line.unit),
        "" if line.ours is None else str(line.ours.n),
        "" if difference is None else difference_text(difference, line.unit),
        line.verdict_text,
    )


def setting(reproduction: Reproduction) -> str:
    """``paper scale, real data``."""
    runs = [reproduction.run_of(index) for index in range(len(reproduction.cells))]
    modes = sorted({run.manifest["data_mode"] for run in runs if run is not None})
    return f"{reproduction.manifest['scale']} scale, {' and '.join(modes) or 'no'} data"


def _runs(reproduction: Reproduction) -> Iterator[tuple[str, ...]]:
    for index, cell in enumerate(reproduction.cells):
        run = reproduction.run_of(index)
        if run is None:
            yield cell.row, cell.column, "not run", "", "", ""
            continue
        seconds = [result["seconds"] for result in reproduction.results_of(index)]
        name = f"{run.run_id} (reused)" if reproduction.reused(index) else run.run_id
        pace = f"{sum(seconds) / len(seconds):.1f}" if seconds else ""
        asked = ", then ".join(f"`{command}`" for command in commands(cell, run))
        yield cell.row, cell.column, name, pace, commit_text(run.manifest["git"]), asked


def commands(cell: PlannedCell, run: RunFolder) -> Iterator[str]:
    """The command line that runs a cell by itself, and where its models are judged on another stream that which does
    so."""
    mode = run.manifest["data_mode"]
    yield run_command(*cell.work, mode)
    if cell.evaluate:
        yield evaluate_command(f"{run.path.parent.name}/{run.path.name}", cell.evaluate, cell.episodes, mode)


def commit_text(git: str | None) -> str:
    """A commit as a manifest has it, shortened; the ``+`` of uncommitted changes stays."""
    return "" if git is None else git[:12] + ("+" if git.endswith("+") else "")


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _plain(line: Comparison) -> dict[str, Any]:
    plain = dataclasses.asdict(line)
    return json.loads(json.dumps({**{k: v for k, v in plain.items() if k != "judgement"}, **plain["judgement"]}))


def draw_comparison(lines: Sequence[Comparison], heading: Heading, title: str) -> Figure:
    """Points with their standard deviation as bars; what is missing is left out, and of what nothing is published, what
    tells how it was measured or chosen: the table has it.

    Args:
        lines: from `frisket.platform.tables.comparison.compare`.
        heading: the table, and what made ours.
        title: the table's.
    """
    from matplotlib.lines import Line2D

    columns = list(dict.fromkeys(line.column for line in lines))
    shown = [line for line in lines if line.published is not None or not _is_aside(line.metric)]
    metrics = list(dict.fromkeys(line.metric for line in shown or lines))
    rows = {m: list(dict.fromkeys(line.row for line in lines if line.metric == m)) for m in metrics}
    heights = [0.42 * len(rows[m]) + 0.8 for m in metrics]
    size = (max(3.2 * len(columns) + 2.2, 7.0), sum(heights) + 1.1)
    figure, axes = frame(heading, title, size, rows=len(metrics), columns=len(columns), heights=heights)
    for (metric, column), ax in zip(itertools.product(metrics, columns), axes, strict=True):
        here = [line for line in lines if (line.metric, line.column) == (metric, column)]
        first = next(line.column for line in lines if line.metric == metric)
        _panel(ax, here, rows[metric], first=column == first)
        if metric == metrics[0]:
            ax.set_title(column, fontsize=10)
    marks = [
        Line2D([], [], color=PALETTE[i], marker="os"[i], linestyle="none", label=("published", "ours")[i])
        for i, there in enumerate((any(line.published for line in lines), True))
        if there
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _is_aside(metric: str) -> bool:
    """Whether it is no score, but an interval of one, what a score was chosen by, or a count behind one."""
    return metric.endswith("/interval") or metric.startswith(("validation/", "decisions/"))


def _bar(number: Number, scale: float) -> float | None:
    """Half the bar's length; one seed, or a number without a spread, has none."""
    std = spread_of(number.std, number.n)
    return None if std is None else scale * std


def _panel(ax: Axes, lines: Sequence[Comparison], rows: Sequence[str], *, first: bool) -> None:
    for line in lines:
        scale = 100 if line.unit == "percent" else 1
        at = rows.index(line.row)
        for i, number in enumerate((line.published, line.ours)):
            if number is None:
                continue
            ax.errorbar(
                scale * number.mean, at + (2 * i - 1) * _OFFSET, xerr=_bar(number, scale), fmt="os"[i],
                color=PALETTE[i], markersize=5, capsize=2, linewidth=1,
            )  # fmt: skip
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_yticks(range(len(rows)), rows if first else [""] * len(rows), fontsize=8)
    ax.tick_params(axis="x", labelsize=8)
    lined(ax, axis="x")
    if lines:
        unit = _UNITS[lines[0].unit]
        ax.set_xlabel(f"{lines[0].label}, {unit}" if unit else lines[0].label, fontsize=8)
    else:
        ax.set_axis_off()
