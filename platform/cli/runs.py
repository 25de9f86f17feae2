"""``frisket runs``: what lies in the runs folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from frisket.platform.cli import complete
from frisket.platform.cli.output import CsvFile, JsonFile, require_folders, write
from frisket.platform.verbs.finished import StateName

if TYPE_CHECKING:
    from rich.table import Table


def runs(
    spec: Annotated[
        str | None,
        typer.Option(
            metavar="GLOB", help="Only runs of these specifications: 'osaka/*'.", autocompletion=complete.specs
        ),
    ] = None,
    state: Annotated[StateName | None, typer.Option(help="Only runs in this state.")] = None,
    data: Annotated[Literal["real", "embedded"] | None, typer.Option(help="Only runs on these data.")] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only runs begun since: a date (2026-01-31), or 30min, 12h, 7d, 2w ago."),
    ] = None,
    json_file: JsonFile = None,
    csv_file: CsvFile = None,
    runs_dir: Annotated[
        Path | None, typer.Option(help="Where runs are; by default FRISKET_RUNS, else ./frisket_runs.")
    ] = None,
) -> None:
    """List the runs in the runs folder, newest first: state, headline metric, seconds of work.

    `running` means that a process holds it now; a stopped run goes on with `frisket run --resume RUN` (a search: tune).
    """
    from frisket.platform.cli.tables import show_table
    from frisket.platform.run.kept import default_runs_folder
    from frisket.platform.verbs import runs as verb

    require_folders(json_file, csv_file)
    found = verb.runs(spec=spec, state=state, data=data, since=since, runs_dir=runs_dir)
    if found:
        show_table(_table(found))
    else:
        typer.echo(f"no such runs in {runs_dir or default_runs_folder()}", err=True)
    write(json_file, csv_file, found, lambda: found)


def _table(found: list[dict[str, Any]]) -> Table:
    import datetime

    from rich.table import Table
    from rich.text import Text

    from frisket.platform.run.aggregate import spread_text

    table = Table("run", "spec", "data", "kind", "state", "result", "seeds", "seconds", "when")
    for column in table.columns[-3:-1]:
        column.justify = "right"
    for run in found:
        if run["state"] == "damaged":
            table.add_row(Text(run["run"]), "", "", "", Text(f"damaged: {run['problem']}"), "", "", "", "")
            continue
        state = run["state"] if run["state"] == "done" else f"{run['state']} {run['finished']} of {run['replicas']}"
        result = "" if run["mean"] is None else f"{run['metric']} {spread_text(run['mean'], run['std'], run['n'])}"
        when = datetime.datetime.fromisoformat(run["created"]).astimezone()
        table.add_row(
            Text(run["run"]), Text(run["spec"]), run["data"], run["kind"], state, Text(result), str(run["seeds"]),
            f"{run['seconds']:.1f}", f"{when:%Y-%m-%d %H:%M}",
        )  # fmt: skip
    return table
