"""``frisket compare``: finished runs beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frisket.platform.cli import complete
from frisket.platform.cli.output import CsvFile, JsonFile, require_folders, write

if TYPE_CHECKING:
    from rich.table import Table


def compare(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN RUN...",
            help="Folder, id, beginning of an id or 'last'; RUN:VARIANT for another than the headline or best point.",
            autocompletion=complete.runs,
        ),
    ],
    json_file: JsonFile = None,
    csv_file: CsvFile = None,
    runs_dir: Annotated[
        Path | None, typer.Option(help="Where runs are; by default FRISKET_RUNS, else ./frisket_runs.")
    ] = None,
) -> None:
    """Compare finished runs metric by metric: mean, spread, and the difference to the first with a 95 % interval.

    Seeds are paired where both runs met the same stream on the same data (t interval of the paired differences); else
    it is Welch's interval. The table says which.
    """
    from frisket.platform.cli.tables import show_table
    from frisket.platform.verbs import compare as verb

    require_folders(json_file, csv_file)
    compared = verb.compare(*names, runs_dir=runs_dir)
    show_table(_table(compared))
    for line in _notes(compared):
        typer.echo(line)
    write(json_file, csv_file, compared, lambda: verb.rows(compared))


def _table(compared: Mapping[str, Any]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from frisket.platform.cli.results import worth_showing
    from frisket.platform.run.aggregate import spread_text

    table = Table("metric", "run", "mean ± std", "n", "difference", f"{compared['level']:.0%} interval", "seeds")
    for column in table.columns[2:6]:
        column.justify = "right"
    for metric in worth_showing(compared["headline"], [compared["metrics"]]):
        for about, line in zip(compared["runs"], compared["metrics"][metric], strict=True):
            name = about["run"] if about["variant"] is None else f"{about['run']}:{about['variant']}"
            interval = line["interval"]
            table.add_row(
                Text(metric), Text(name), spread_text(line["mean"], line["std"], line["n"]), str(line["n"]),
                "" if line["difference"] is None else f"{line['difference']:+.4f}",
                "" if interval is None else f"{interval[0]:+.4f} to {interval[1]:+.4f}", _method(line),
            )  # fmt: skip
        table.add_section()
    return table


def _method(line: Mapping[str, Any]) -> str:
    """How the interval was made."""
    if line["difference"] is None:
        return "first"
    if line["method"] is None:
        return "too few or not finite"
    if line["method"] == "paired":
        return f"{line['n_difference'][0]} pairs"
    return f"unpaired (Welch), {' and '.join(map(str, line['n_difference']))}"


def _notes(compared: Mapping[str, Any]) -> list[str]:
    notes = ["difference: to the first run; std is the population's"]
    if compared["not_shared"]:
        notes.append(f"not in every run, so left out: {', '.join(compared['not_shared'])}")
    return notes
