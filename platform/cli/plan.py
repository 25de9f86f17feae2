"""``frisket plan``: what a run will take, before anything is run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from frisket.platform.cli import complete
from frisket.platform.cli.output import JsonFile, counted, require_folders, write
from frisket.platform.cli.run import Data, DataDir, Overrides, RunsDir, Seeds

if TYPE_CHECKING:
    from frisket.platform.planning.estimate import Plan


def plan(
    spec: Annotated[
        str,
        typer.Argument(
            metavar="SPEC",
            help="Name of a specification (`frisket list specs`) or a YAML file.",
            autocompletion=complete.specs,
        ),
    ],
    overrides: Overrides = None,
    seeds: Seeds = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="How many would work at once; by default as many as are of use.")
    ] = None,
    data: Data = "auto",
    data_dir: DataDir = None,
    json_file: JsonFile = None,
    local: Annotated[bool, typer.Option("--local", help="For a run in one process, without Ray.")] = False,
    runs_dir: RunsDir = None,
) -> None:
    """Tell what a run, or a search, will take: time, memory, disk, MLflow rows, tasks until the capacity is full.

    A short part of it is measured first, in less than a minute; nothing is run and no run folder is made.
    """
    require_folders(json_file, None)
    from frisket.platform.cli.columns import aligned, window
    from frisket.platform.verbs import plan as verb

    found = verb.plan(
        spec, overrides or (), seeds=seeds, workers=workers, data=data, data_dir=data_dir, runs_dir=runs_dir,
        local=local,
    )  # fmt: skip
    write(json_file, None, found.as_dict(), list)
    for line in aligned(list(_lines(found)), window()):
        typer.echo(line)


def _lines(plan: Plan) -> Iterator[tuple[str, str]]:
    from frisket.platform.planning.estimate import size
    from frisket.platform.run.progress import duration

    points = "" if plan.points is None else f"{counted(plan.points, 'point')}, "
    what = f"{counted(plan.replicas, 'replica')} in {counted(plan.packs, 'pack')}"
    where = "in one process" if plan.local else f"on Ray, {counted(plan.workers, 'worker')}"
    mode, sets = plan.data
    learned_from = f"{mode} data: {sets}" if sets else "no data sets"
    yield "plan", f"{plan.spec}: {points}{what} {where}, {learned_from}"
    around = (
        f"{duration(plan.start)} to start, {duration(plan.slowest)} the slowest pack, {duration(plan.end)} pictures"
    )
    yield "time", f"{plan.time}: {around}" + (f" ({plan.at_most})" if plan.at_most else "")
    in_all = "" if plan.local else f" the largest process, {size(plan.memory_all)} in all"
    yield "memory", f"{size(plan.memory)}{in_all}, learning on {plan.device}"
    yield "disk", f"{size(plan.disk)} in the run's folder, {size(plan.disk_most)} at most with its checkpoints"
    yield "mlflow", f"{plan.rows:,} rows of metrics" + (", once they are sent" if plan.local else "")
    yield "capacity", _capacity(plan)
    for kind in plan.kinds:
        took = f"{duration(kind.slowest)} the slowest pack, {duration(kind.seconds)} if all were such"
        yield "workers", f"{kind.nodes} x ({kind.name}): {took}, {size(kind.memory)}, learning on {kind.device}"
    yield "measured", f"{plan.walked:,} positions of {plan.steps:,}"


def _capacity(plan: Plan) -> str:
    """For how many tasks the weights last; ``-`` for a method that does not run out of them."""
    if plan.fewest is None or plan.most is None:
        return "-"
    stream = "" if plan.tasks is None else f"; the stream has {plan.tasks:,}"
    if plan.fewest == plan.most:
        return f"full after {plan.fewest:,} tasks{stream}"
    lasts = f"full after {plan.fewest:,} tasks at worst, {plan.most:,} at best if none shares a weight, more if they do"
    return f"{lasts} (an estimate){stream}"
