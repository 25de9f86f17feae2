"""``frisket run``: an experiment from its specification to its table."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frisket.platform.cli import complete
from frisket.platform.cli.output import CsvFile, JsonFile, counted, require_folders, write
from frisket.platform.cli.stopping import Stop, resumable, stopping
from frisket.types import DataMode

if TYPE_CHECKING:
    from frisket.platform.run.folder import RunFolder


Spec = Annotated[
    str | None,
    typer.Argument(
        metavar="SPEC",
        help="Name of a specification (`frisket list specs`) or a YAML file.",
        autocompletion=complete.specs,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY.PATH=VALUE]...",
        help="Fields to set, e.g. stream.steps=300.",
        autocompletion=complete.overrides,
    ),
]
Seeds = Annotated[int | None, typer.Option(min=1, help="Seeds 0 .. N-1 instead of the specification's number.")]
Data = Annotated[DataMode, typer.Option(help="Real data, embedded data, or auto: real if they can be had.")]
DataDir = Annotated[Path | None, typer.Option(help="Folder of data sets, looked at before FRISKET_DATA and the cache.")]
Resume = Annotated[
    str | None,
    typer.Option(
        metavar="RUN",
        help="Go on with a run: its folder, id, beginning of its id, or 'last'.",
        autocompletion=complete.runs,
    ),
]
RunId = Annotated[
    str | None, typer.Option(metavar="NAME", help="Name of the run; if one of that name is there, go on with it.")
]
NoRegister = Annotated[bool, typer.Option("--no-register", help="Register no model version.")]
Local = Annotated[
    bool, typer.Option("--local", help="In this process, without Ray; `frisket sync` sends the results to MLflow.")
]
RunsDir = Annotated[
    Path | None, typer.Option(help="Where runs are kept; by default FRISKET_RUNS, else ./frisket_runs.")
]


def run(
    spec: Spec = None,
    overrides: Overrides = None,
    seeds: Seeds = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Ray Train workers; by default as many as are of use.")
    ] = None,
    data: Data = "auto",
    data_dir: DataDir = None,
    json_file: JsonFile = None,
    csv_file: CsvFile = None,
    resume: Resume = None,
    run_id: RunId = None,
    no_register: NoRegister = False,
    local: Local = False,
    runs_dir: RunsDir = None,
    render: Annotated[
        bool, typer.Option("--render", help="Draw a strip of pictures of every robot task once all is learned.")
    ] = False,
) -> None:
    """Run an experiment: every seed of every variant, on Ray Train and into MLflow.

    Ctrl-C or SIGTERM stops with a checkpoint (exit code 130 or 1); `--resume last` goes on from there.
    """
    carry_out(
        spec, overrides, seeds=seeds, workers=workers, data=data, data_dir=data_dir, json_file=json_file,
        csv_file=csv_file, resume=resume, run_id=run_id, register=not no_register, local=local, runs_dir=runs_dir,
        search=False, render=render,
    )  # fmt: skip


def carry_out(
    spec: str | None,
    overrides: list[str] | None,
    *,
    seeds: int | None,
    workers: int | None,
    data: DataMode,
    data_dir: Path | None,
    json_file: Path | None,
    csv_file: Path | None,
    resume: str | None,
    run_id: str | None,
    register: bool,
    local: bool,
    runs_dir: Path | None,
    search: bool,
    render: bool = False,
) -> None:
    """What ``frisket run`` and ``frisket tune`` (``search``) do with their arguments."""
    require_folders(json_file, csv_file)
    if runs_dir is None and "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ and not os.environ.get("FRISKET_RUNS"):
        why = "the run is kept in this job's working folder, which Ray throws away: set it before `ray start`"
        typer.echo(f"warning: FRISKET_RUNS is not set; {why}", err=True)
    with stopping() as stop:
        from frisket.platform.verbs.render import runner

        done = runner(render)(
            spec=spec, overrides=overrides or (), seeds=seeds, workers=workers, data=data, data_dir=data_dir,
            runs_dir=runs_dir, resume=resume, run_id=run_id, register=register, local=local, search=search,
            stop=stop,
            watch=lambda folder, count: _watched(folder, count, local, stop),
        )  # fmt: skip
    from frisket.platform.reports.rows import replica_rows
    from frisket.platform.run.folder import RunFolder

    folder = RunFolder.open(done.path)
    write(json_file, csv_file, done.summary, lambda: replica_rows(folder))
    _report(folder, done.summary, local)


@contextlib.contextmanager
def _watched(folder: RunFolder, count: int, local: bool, stop: Stop) -> Iterator[None]:
    """Say what is run, show how far it is, and in the end how to go on, should it end early."""
    from frisket.platform.cli.progress import ProgressLine

    where = "in this process" if local else f"on Ray, {counted(count, 'worker')}"
    what = counted(len(folder.replicas()), "replica")
    if folder.experiment.tune is not None:
        what = f"{counted(len(folder.experiment.variants), 'point')}, {what}"
    line = f"{folder.run_id}: {what} {where}, {folder.learned_from}; {_expected(folder, count, local)}"
    typer.echo(line, err=True)
    with resumable(f"frisket {folder.verb} --resume {_name(folder)}", stop), ProgressLine(folder, count):
        yield


def _expected(folder: RunFolder, count: int, local: bool) -> str:
    """What the run will take, as far as it is known without measuring; else that it is not."""
    from frisket.platform.planning.kept import known_plan

    plan = known_plan(folder, workers=count, local=local)
    if plan is None:
        return "not planned here yet (frisket plan, asked the same, does)"
    return plan.text()


def _name(folder: RunFolder) -> str:
    """What ``--resume`` will find the run by."""
    from frisket.platform.run.kept import name_of

    return name_of(folder)


def _report(folder: RunFolder, summary: dict[str, Any], local: bool) -> None:
    from rich.console import Console

    from frisket.platform.cli.results import points_table, results_table, scale_note
    from frisket.platform.cli.tables import show_table
    from frisket.platform.run.divergence import divergences

    console = Console()
    show_table((results_table if folder.experiment.tune is None else points_table)(folder, summary), console)
    note = scale_note(folder)
    lines = [] if note is None else [note]
    lost = [f"{key} (step {position})" for key, position in divergences(folder).items()]
    if lost:
        lines.append(
            f"diverged  {', '.join(lost)}: no finite loss or answer there; the means above count what followed"
        )
    if "collapsed" in summary:
        lines.append(f"collapsed {', '.join(summary['collapsed'])}: no decision differs between domains")
    if summary.get("best"):
        sound = "diverged" not in summary["points"][0]
        lines.append(
            f"best      {summary['best']}" + ("" if sound else ", which diverged, as every finished point did")
        )
    lines += [f"run       {folder.path}", f"pictures  {folder.path / 'figures'}"]
    lines += [f"film      {film}"] if (film := folder.path / "film").is_dir() else []
    mlflow = summary["mlflow"]
    if mlflow["run_id"] is None:
        lines.append("mlflow    nothing sent yet" + (f"; send it with: frisket sync {_name(folder)}" if local else ""))
    else:
        lines.append(f"mlflow    {mlflow['tracking_uri']}, experiment {mlflow['experiment']}; frisket ui shows it")
        if mlflow["model"]:
            lines.append(f"model     models:/{mlflow['model']}/{mlflow['version']}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
