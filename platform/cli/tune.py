"""``frisket tune``: a search from its specification to its table of points."""

from __future__ import annotations

from typing import Annotated

import typer

from frisket.platform.cli.output import CsvFile, JsonFile
from frisket.platform.cli.run import (
    Data,
    DataDir,
    Local,
    NoRegister,
    Overrides,
    Resume,
    RunId,
    RunsDir,
    Seeds,
    Spec,
    carry_out,
)


def tune(
    spec: Spec = None,
    overrides: Overrides = None,
    seeds: Seeds = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Ray Tune trials at once; by default as many as CPUs or GPUs allow.")
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
) -> None:
    """Search: run every point of the specification's tune section, on Ray Tune and into MLflow, and rank them.

    The best point's model is registered. Ctrl-C or SIGTERM stops with a checkpoint; `--resume last` goes on from there,
    and repeats no point that is finished.
    """
    carry_out(
        spec, overrides, seeds=seeds, workers=workers, data=data, data_dir=data_dir, json_file=json_file,
        csv_file=csv_file, resume=resume, run_id=run_id, register=not no_register, local=local, runs_dir=runs_dir,
        search=True,
    )  # fmt: skip
