"""``frisket reproduce``: a published table, what was printed beside what comes out here."""

from __future__ import annotations

import enum
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frisket.errors import RunError, SpecError
from frisket.platform.cli.run import DataMode
from frisket.platform.cli.stopping import resumable, stopping

if TYPE_CHECKING:
    from frisket.platform.tables.reproduction import Reproduction


class ScaleOption(str, enum.Enum):
    """How large: seconds a cell, minutes a cell, or as published."""

    smoke = "smoke"
    short = "short"
    paper = "paper"


def reproduce(
    table: Annotated[
        str | None, typer.Argument(metavar="TABLE", help="PAPER/NAME; `frisket list tables` shows them.")
    ] = None,
    rows: Annotated[str | None, typer.Option(metavar="A,B", help="Rows, separated by commas; all by default.")] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="X,Y", help="Columns, separated by commas; all by default.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Seeds 0 .. N-1 in every cell; the scale's by default.")
    ] = None,
    scale: Annotated[
        ScaleOption | None,
        typer.Option(help="smoke: seconds a cell; short: minutes; paper (the default): as published, with verdicts."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Ray Train workers; by default as many as are of use.")
    ] = None,
    data: Annotated[
        DataMode | None, typer.Option(help="Real data, embedded data, or auto (the default): real if they can be had.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of data sets, looked at before FRISKET_DATA and the cache.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the results there as JSON.")
    ] = None,
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
    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise SpecError("--json", str(json_file), "its folder does not exist")
    asked = {
        "--rows": rows, "--columns": columns, "--seeds": seeds, "--scale": scale, "--data": data, "--out": out,
        "--reuse": reuse or None, "--register": register,
    }  # fmt: skip
    place = None if data_dir is None else str(data_dir)
    with stopping() as stop:
        from frisket.platform.run.folder import name_of
        from frisket.platform.verbs import reproduce as work

        if resume is not None:
            given = [option for option, value in asked.items() if value is not None]
            if given:
                raise RunError("--resume", resume, f"a reproduction goes on as it began; leave {' '.join(given)} out")
            reproduction = work.reopen(resume, table=table, runs_dir=runs_dir)
        elif table is None:
            raise SpecError("TABLE", None, "is required; `frisket list tables` shows the names")
        else:
            reproduction = work.start(
                table, rows=_labels(rows), columns=_labels(columns), seeds=seeds,
                scale=(scale or ScaleOption.paper).value, data=(data or DataMode.auto).value, data_dir=place,
                runs_dir=runs_dir, out=out, register=register, reuse=reuse,
            )  # fmt: skip
        from frisket.platform.cli.progress import ProgressLine

        count = len(reproduction.cells)
        typer.echo(f"{reproduction.run_id}: {count} cell{'s' if count > 1 else ''}", err=True)
        with resumable(f"frisket reproduce --resume {name_of(reproduction)}", stop):
            summary = work.execute(
                reproduction, local=local, workers=workers, data_dir=place, stop=stop,
                watch=lambda run, count, wording: ProgressLine(run, count, wording=wording),
            )  # fmt: skip
    _report(reproduction, summary, local)
    if json_file is not None:
        json_file.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


def _labels(text: str | None) -> list[str] | None:
    return None if text is None else [label.strip() for label in text.split(",") if label.strip()]


def _report(reproduction: Reproduction, summary: dict[str, Any], local: bool) -> None:
    from rich.console import Console

    from frisket.platform.cli.results import comparison_table
    from frisket.platform.reports.reproduction import report_path
    from frisket.platform.tables.comparison import compare
    from frisket.platform.tracking.settings import public_uri

    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(comparison_table(reproduction, compare(reproduction)))
    judged = summary["scale"] == ScaleOption.paper.value
    lines = [summary["rule"]] if judged else [f"{summary['scale']} scale: no verdicts, and nothing to be concluded"]
    lines += summary["notes"]
    lines.append("verdicts  " + ", ".join(f"{n} {name}" for name, n in summary["verdicts"].items()))
    lines += [f"report    {report_path(reproduction, ending)}" for ending in ("md", "json", "png")]
    mlflow = summary["mlflow"]
    if mlflow["run_id"] is None:
        lines.append("mlflow    nothing sent yet" + ("; send it with: frisket sync" if local else ""))
    else:
        lines.append(f"mlflow    {public_uri(mlflow['tracking_uri'])}, experiment {mlflow['experiment']}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
