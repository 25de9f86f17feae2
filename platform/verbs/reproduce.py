"""From a published table to its reproduction: plan the cells, run what is not there yet, report.

The one road of `frisket.reproduce` and ``frisket reproduce``, `carry_out`, and its stretches. A cell is an ordinary run
(`frisket.platform.verbs.run`), so its journals, MLflow runs and resuming are those of any run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from frisket.envs.data import Pictures, resolve
from frisket.errors import RunError, SpecError, Stopped
from frisket.places import require_place, told
from frisket.platform.cluster.session import require_device, worker_count
from frisket.platform.executors import Stop
from frisket.platform.reports.reproduction import as_json, write_picture, write_report
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.kept import default_runs_folder
from frisket.platform.run.progress import Snapshot, duration
from frisket.platform.specs.build import datasets, mode_of
from frisket.platform.specs.experiment import load_spec
from frisket.platform.tables.comparison import compare
from frisket.platform.tables.reproduction import Reproduction
from frisket.platform.tables.scales import ScaleName
from frisket.platform.tables.table import PlannedCell, load_table, plan
from frisket.platform.tracking.settings import kept_uri
from frisket.platform.verbs import run as launch
from frisket.platform.verbs.asked import require_mode, require_switch, require_workers
from frisket.platform.verbs.evaluate import evaluate
from frisket.platform.verbs.finished import FinishedReproduction
from frisket.types import DataMode

Wording = Callable[[Snapshot], str]
Watch = Callable[[RunFolder, int, Wording], contextlib.AbstractContextManager[object]]
"""``(run, workers, wording)`` to what shows the run's progress while it lasts."""
Around = Callable[[Reproduction], contextlib.AbstractContextManager[object]]
"""What is to surround the work on a reproduction."""


@told()
def carry_out(
    *,
    table: str | None = None,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    seeds: int | None = None,
    scale: ScaleName | None = None,
    workers: int | None = None,
    data: DataMode = "auto",
    data_dir: str | Path | None = None,
    runs_dir: str | Path | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    reuse: bool = False,
    register: bool | None = None,
    local: bool = False,
    stop: Stop = lambda: False,
    around: Around = lambda reproduction: contextlib.nullcontext(),
    watch: Watch = lambda run, workers, wording: contextlib.nullcontext(),
) -> FinishedReproduction:
    """What a user asks for with `frisket.reproduce`, from the words to the end.

    Args:
        table, rows, columns, seeds, scale, workers, data, data_dir, runs_dir, out, resume, reuse, register, local: as
            `frisket.reproduce` says.
        stop: asked often; True ends the reproduction with a checkpoint.
        around: surrounds the work once it is known what it is.
        watch: shows progress of a cell.

    Raises:
        Stopped: ``stop`` said so; the reproduction can be resumed.
        UserError: the table, the selection, a specification, the data, the device or what is to be resumed.
    """
    require_workers(workers, local=local)
    require_mode(data)
    require_switch("reuse", reuse)
    found, runs = require_place("data_dir", data_dir), require_place("runs_dir", runs_dir)
    place, out = None if found is None else str(found), require_place("out", out)
    require_place("resume", resume)
    if resume is not None:
        given = {
            "rows": rows is not None, "columns": columns is not None, "seeds": seeds is not None,
            "scale": scale is not None, "data": data != "auto", "out": out is not None, "reuse": reuse,
            "register": register is not None,
        }  # fmt: skip
        unwanted = " and ".join(name for name, is_given in given.items() if is_given)
        if unwanted:
            raise RunError("resume", str(resume), f"a reproduction goes on as it began; leave {unwanted} out")
        reproduction = reopen(str(resume), table=table, runs_dir=runs)
    elif table is None:
        raise SpecError("TABLE", None, "is required; `frisket list tables` shows the names")
    else:
        reproduction = start(
            table, rows=rows, columns=columns, seeds=seeds, scale=scale or "paper", data=data, data_dir=place,
            runs_dir=runs, out=out, register=register, reuse=reuse,
        )  # fmt: skip
    with around(reproduction):
        summary = execute(reproduction, local=local, workers=workers, data_dir=place, stop=stop, watch=watch)
    return FinishedReproduction(
        run_id=reproduction.run_id, path=reproduction.path, out=reproduction.out, summary=summary
    )


def start(
    table: str,
    *,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    seeds: int | None = None,
    scale: ScaleName = "paper",
    data: DataMode = "auto",
    data_dir: str | None = None,
    runs_dir: Path | None = None,
    out: Path | None = None,
    register: bool | None = None,
    reuse: bool = False,
) -> Reproduction:
    """The folder of a new reproduction. Every mistake that can be seen before the first step is raised here.

    Args:
        table: ``PAPER/NAME``.
        rows, columns, seeds, scale: see `frisket.platform.tables.table.plan`.
        data: ``real``, ``embedded``, or ``auto``: real if they can be had.
        data_dir: first place to look for data.
        runs_dir: where runs are kept; None for `default_runs_folder`.
        out: where the report goes; None for the reproduction's folder.
        register: register a model version of every cell; None: at paper scale only.
        reuse: take finished runs of the same work.

    Raises:
        UserError: the table, the selection, a specification, the data or the device.
    """
    what = load_table(table)
    cells = plan(what, rows=rows, columns=columns, seeds=seeds, scale=scale)
    if out is not None and out.exists() and not out.is_dir():
        raise SpecError("out", str(out), "is a file; name a folder")
    experiments = [load_spec(cell.spec, cell.overrides) for cell in cells]
    for names in dict.fromkeys(datasets(experiment) for experiment in experiments):
        resolve(names, data, data_dir, kind=Pictures)
    data = _judged_on(cells, data, data_dir)
    for device in {experiment.device for experiment in experiments}:
        require_device(device)
    return Reproduction.create(
        default_runs_folder() if runs_dir is None else runs_dir,
        what, cells, scale=scale, data=data, reuse=reuse, out=out,
        register=scale == "paper" if register is None else register,
        tracking={"uri": kept_uri(), "experiment": f"frisket/reproduce/{what.title_name}"},
    )  # fmt: skip


def _judged_on(cells: Sequence[PlannedCell], data: DataMode, data_dir: str | None) -> DataMode:
    """Which data to take where models are judged on another stream: real ones for training and for judging, or embedded
    ones for both.

    Raises:
        DataError: they cannot be had.
    """
    judged = [load_spec(cell.spec, [*cell.overrides, *change]) for cell in cells if cell.evaluate
              for change in ((), cell.evaluate)]  # fmt: skip
    names = tuple(dict.fromkeys(name for experiment in judged for name in datasets(experiment)))
    return mode_of(resolve(names, data, data_dir, kind=Pictures)) if names else data


def reopen(run: str, *, table: str | None = None, runs_dir: Path | None = None) -> Reproduction:
    """An earlier reproduction, to go on with it.

    Args:
        run: path, id, unique beginning of an id, or ``last``.
        table: if given, the table it must be of.
        runs_dir: where runs are kept; None for `default_runs_folder`.

    Raises:
        UserError: no such reproduction, or one of another table.
    """
    found = Reproduction.find(run, default_runs_folder() if runs_dir is None else runs_dir)
    if table is not None and table != found.manifest["table"]:
        raise RunError("resume", run, f"is a reproduction of {found.manifest['table']}, not of {table}")
    for cell in found.cells:
        if cell.column not in found.table.rows.get(cell.row, {}):
            raise RunError("resume", run, f"the table has no {cell.row}, {cell.column} any more; start anew with reuse")
    return found


def execute(
    reproduction: Reproduction,
    *,
    local: bool = False,
    workers: int | None = None,
    data_dir: str | None = None,
    stop: Stop = lambda: False,
    watch: Watch = lambda run, workers, wording: contextlib.nullcontext(),
) -> dict[str, Any]:
    """Run what is still to be run, write the report, send it to MLflow, and give its JSON.

    Finished cells are not touched; the report is brought up to date after every cell.

    Args:
        reproduction: from `start` or `reopen`.
        local: in this process, without Ray and without sending anything to MLflow.
        workers: Ray Train workers; None for as many as are of use.
        data_dir: first place to look for data.
        stop: asked often; True ends the reproduction with a checkpoint.
        watch: shows progress.

    Raises:
        Stopped: ``stop`` said so; the reproduction can be resumed.
        UserError: a mistake that shows up late.
    """
    with reproduction.lock():
        with contextlib.ExitStack() as session:
            ray_is_up = local  # or not needed
            for index in range(len(reproduction.cells)):
                run = _taken_up(reproduction, index, data_dir)
                if not (run.done and (run.path / "summary.json").is_file()):
                    if not ray_is_up:
                        session.enter_context(_ray(reproduction, workers))
                        ray_is_up = True
                    count = worker_count(run.experiment, local=local, workers=workers)
                    with watch(run, count, _wording(reproduction, index, local, workers)):
                        launch.execute(run, local=local, workers=workers, data_dir=data_dir, stop=stop)
                if not reproduction.finished(index):
                    _judge(reproduction, index, run, data_dir, stop)
                write_report(reproduction, compare(reproduction))
        write_picture(reproduction, compare(reproduction))
        if not local:
            from frisket.platform.tracking.reproduction import send_or_warn

            send_or_warn(reproduction)
        return as_json(reproduction, compare(reproduction))


def seconds_left(
    waiting: Sequence[PlannedCell], spent: Mapping[tuple[str, str], float], now: float | None
) -> float | None:
    """Estimate for a whole reproduction; None while there is nothing to go by.

    Args:
        waiting: cells that have not begun.
        spent: (row, column) of each cell that has been timed to its seconds. A waiting cell takes as long as its row
            took in other columns, else as long as all cells on average.
        now: what is left of the cell in progress.
    """
    if now is None or (waiting and not spent):
        return None
    total = now
    for cell in waiting:
        row = [seconds for (label, _), seconds in spent.items() if label == cell.row]
        known = row or list(spent.values())
        total += sum(known) / len(known)
    return total


def _ray(reproduction: Reproduction, workers: int | None) -> contextlib.AbstractContextManager[None]:
    """One Ray session for all cells, which otherwise would each start their own."""
    from frisket.platform.cluster.session import ray_session

    experiments = [load_spec(cell.spec, cell.overrides, seeds=cell.seeds) for cell in reproduction.cells]
    return ray_session(cpus=max(worker_count(one, local=False, workers=workers) * one.threads for one in experiments))


def _judge(reproduction: Reproduction, index: int, run: RunFolder, data_dir: str | None, stop: Stop) -> None:
    """Let the models of a cell's finished ``run`` answer the stream the cell is of, on data of the run's kind.

    Raises:
        Stopped: ``stop`` said so.
    """
    if stop():
        raise Stopped(f"reproduction {reproduction.run_id} stopped")
    cell = reproduction.cells[index]
    mode = run.manifest["data_mode"]
    found = evaluate(run.path, overrides=cell.evaluate, episodes=cell.episodes, data=mode, data_dir=data_dir)
    reproduction.judged(index, found)


def _taken_up(reproduction: Reproduction, index: int, data_dir: str | None) -> RunFolder:
    """The run of a cell: the one it has, if its data are still the same, else a new one."""
    begun = reproduction.run_of(index)
    if begun is None:
        return _begin(reproduction, index, data_dir)
    return launch.reopen(str(begun.path), data_dir=data_dir)


def _begin(reproduction: Reproduction, index: int, data_dir: str | None) -> RunFolder:
    """The run of a cell that has none: that of another cell which does the same work, one that is there already, if
    asked for, else a new one."""
    cell, manifest = reproduction.cells[index], reproduction.manifest
    runs_dir = reproduction.path.parent
    for other, twin in enumerate(reproduction.cells):
        shared = reproduction.run_of(other)
        if shared is not None and twin.work == cell.work:
            reproduction.assign(index, shared, reused=reproduction.reused(other))
            return launch.reopen(str(shared.path), data_dir=data_dir)
    run = None
    if manifest["reuse"]:
        run = launch.finished_run(
            cell.spec, cell.overrides, seeds=cell.seeds, data=manifest["data"], data_dir=data_dir, runs_dir=runs_dir
        )
    reused = run is not None
    if run is None:
        run = launch.prepare(
            cell.spec, cell.overrides, seeds=cell.seeds, data=manifest["data"], data_dir=data_dir, runs_dir=runs_dir,
            register=manifest["register"],
        )  # fmt: skip
    reproduction.assign(index, run, reused=reused)
    return run


def _wording(reproduction: Reproduction, index: int, local: bool, workers: int | None) -> Wording:
    """Progress of a cell within the whole."""
    cells = reproduction.cells
    here = cells[index]
    spent = {}
    for other in range(index):
        run = reproduction.run_of(other)
        if run is not None and run.done:
            total = sum(result["seconds"] for result in run.results())
            spent[cells[other].row, cells[other].column] = total / worker_count(
                run.experiment, local=local, workers=workers
            )

    begun = {cell.work for cell in cells[: index + 1]}
    waiting = list({cell.work: cell for cell in cells[index + 1 :] if cell.work not in begun}.values())

    def say(now: Snapshot) -> str:
        known = dict(spent)
        if now.seconds_left is not None and now.cursor and now.cursor < now.steps:
            known[here.row, here.column] = now.seconds_left * now.steps / (now.steps - now.cursor)
        left = seconds_left(waiting, known, now.seconds_left)
        whole = "" if left is None else f"  table: {duration(left)} left"
        return f"cell {index + 1}/{len(cells)} {here.row}, {here.column}  {now.text()}{whole}"

    return say
