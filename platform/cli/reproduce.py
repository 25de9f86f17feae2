"""``frisket reproduce``: a published table, what was printed beside what comes out here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frisket.platform.cli import complete
from frisket.platform.cli.output import CsvFile, JsonFile, require_folders, write
from frisket.platform.cli.run import Data, DataDir
from frisket.platform.cli.stopping import Stop, resumable, stopping
from frisket.platform.tables.scales import ScaleName

if TYPE_CHECKING:
    from frisket.platform.tables.comparison import Comparison
    from frisket.platform.tables.reproduction import Reproduction


def reproduce(
    table: Annotated[
        str | None,
        typer.Argument(
            metavar="TABLE", help="PAPER/NAME; `frisket list tables` shows them.", autocompletion=complete.tables
        ),
    ] = None,
    rows: Annotated[str | None, typer.Option(metavar="A,B", help="Rows, separated by commas; all by default.")] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="X,Y", help="Columns, separated by commas; all by default.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Seeds 0 .. N-1 in every cell; the scale's by default.")
    ] = None,
    scale: Annotated[
        ScaleName | None,
        typer.Option(help="smoke: seconds a cell; short: minutes; paper (the default): as published, with verdicts."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Ray Train workers; by default as many as are of use.")
    ] = None,
    data: Data = "auto",
    data_dir: DataDir = None,
    json_file: JsonFile = None,
    csv_file: CsvFile = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Where Markdown, JSON and picture go; by default the reproduction's folder."
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Go on with a reproduction: its folder, id, beginning of its id, or 'last'."),
    ] = None,
    reuse: Annotated[
        bool, typer.Option("--reuse", help="Take finished runs of the same specification, data and version as cells.")
    ] = False,
    register: Annotated[
        bool | None,
        typer.Option(
            "--register/--no-register", help="Register a model version of every cell; at paper scale by default."
        ),
    ] = None,
    local: Annotated[
        bool, typer.Option("--local", help="In this process, without Ray; `frisket sync` sends the results to MLflow.")
    ] = False,
    runs_dir: Annotated[
        Path | None, typer.Option(help="Where runs are kept; by default FRISKET_RUNS, else ./frisket_runs.")
    ] = None,
) -> None:
    """Reproduce a published table, or a part of it, and compare.

    Every cell is an ordinary run. Ctrl-C or SIGTERM stops with a checkpoint (exit code 130 or 1); `--resume last` goes
    on from there and repeats no finished cell.
    """
    require_folders(json_file, csv_file)
    with stopping() as stop:
        from frisket.platform.cli.progress import ProgressLine
        from frisket.platform.verbs import reproduce as verb

        done = verb.carry_out(
            table=table, rows=_labels(rows), columns=_labels(columns), seeds=seeds, scale=scale, workers=workers,
            data=data, data_dir=data_dir, runs_dir=runs_dir, out=out, resume=resume, reuse=reuse, register=register,
            local=local, stop=stop, around=lambda reproduction: _resumable(reproduction, stop),
            watch=lambda run, count, wording: ProgressLine(run, count, wording=wording),
        )  # fmt: skip
    from frisket.platform.reports.rows import number_rows
    from frisket.platform.tables.comparison import compare
    from frisket.platform.tables.reproduction import Reproduction

    reproduction = Reproduction(done.path)
    lines = compare(reproduction)
    write(json_file, csv_file, done.summary, lambda: number_rows(lines))
    _report(reproduction, lines, done.summary, local)


@contextlib.contextmanager
def _resumable(reproduction: Reproduction, stop: Stop) -> Iterator[None]:
    """Say how much is run, and in the end how to go on, should it end early."""
    from frisket.platform.run.kept import name_of

    count = len(reproduction.cells)
    typer.echo(f"{reproduction.run_id}: {count} cell{'s' if count > 1 else ''}", err=True)
    with resumable(f"frisket reproduce --resume {name_of(reproduction)}", stop):
        yield


def _labels(text: str | None) -> list[str] | None:
    return None if text is None else [label.strip() for label in text.split(",") if label.strip()]


def _report(reproduction: Reproduction, lines: Sequence[Comparison], summary: dict[str, Any], local: bool) -> None:
    from rich.console import Console

    from frisket.platform.cli.results import comparison_table
    from frisket.platform.cli.tables import show_table
    from frisket.platform.reports.reproduction import report_path

    console = Console()
    show_table(comparison_table(reproduction, lines), console)
    judged = summary["scale"] == "paper"
    said = [summary["rule"]] if judged else [f"{summary['scale']} scale: no verdicts, and nothing to be concluded"]
    said += summary["notes"]
    said.append("verdicts  " + ", ".join(f"{n} {name}" for name, n in summary["verdicts"].items()))
    said += [f"report    {report_path(reproduction, ending)}" for ending in ("md", "json", "png")]
    mlflow = summary["mlflow"]
    if mlflow["run_id"] is None:
        said.append("mlflow    nothing sent yet" + ("; send it with: frisket sync" if local else ""))
    else:
        said.append(f"mlflow    {mlflow['tracking_uri']}, experiment {mlflow['experiment']}")
    for line in said:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
