"""``frisket sync``: send to MLflow what could not be sent while runs were going on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from frisket.platform.cli import complete


def sync(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            help="A run's folder, its id or a beginning of it, or 'last'.",
            autocompletion=complete.runs,
        ),
    ] = None,
    runs_dir: Annotated[
        Path | None, typer.Option("--runs-dir", help="Where runs are; FRISKET_RUNS or ./frisket_runs by default.")
    ] = None,
) -> None:
    """Send RUN, or every run with something unsent, to MLflow; exit code 1 if MLflow cannot be reached."""
    from rich.console import Console

    from frisket.errors import UserError
    from frisket.platform.run.folder import RunFolder
    from frisket.platform.run.kept import default_runs_folder
    from frisket.platform.run.summary import write_summary
    from frisket.platform.tables.reproduction import Reproduction
    from frisket.platform.tracking.reproduction import due, send
    from frisket.platform.tracking.uploader import Uploader, not_sent, unsent
    from frisket.redaction import redacted

    console, parent = Console(soft_wrap=True, highlight=False), runs_dir or default_runs_folder()
    folders = [RunFolder.find(run, parent)] if run is not None else [f for f in RunFolder.all(parent) if unsent(f)]
    tables = [] if run is not None else [table for table in Reproduction.all(parent) if due(table)]
    if not folders and not tables:
        console.print(f"nothing to send: every run in {parent} that can be read is in MLflow")
    failed = False
    for folder in folders:
        uploader = Uploader(folder)
        try:
            with uploader.lock():
                status = uploader.push()
        except UserError as error:
            if run is not None:
                raise
            console.print(f"{folder.run_id}: skipped: {error}")
            continue
        uri = folder.manifest["tracking"]["uri"]
        if not status.reachable:
            failed = True
            console.print(f"{folder.run_id}: not sent, {not_sent(uri, status)}", markup=False)
            continue
        model = f", model {status.model} version {status.version}" if status.version else ""
        state = "all of it is in MLflow" if status.complete else "the run is not finished; what it has is in MLflow"
        console.print(f"{folder.run_id}: {status.points} points sent to {redacted(uri)}; {state}{model}")
        if status.complete:
            write_summary(folder)
    for table in tables:
        status = send(table)
        uri = table.manifest["tracking"]["uri"]
        failed = failed or not status.reachable
        console.print(
            f"{table.run_id}: its table is in MLflow at {redacted(uri)}"
            if status.reachable
            else f"{table.run_id}: not sent, {not_sent(uri, status)}",
            markup=False,
        )
    if failed:
        raise typer.Exit(1)
