"""The verbs of the command line as functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frisket.platform.model.model import FrisketModel
    from frisket.platform.specs.uses import Given
    from frisket.platform.tables.table import ScaleName
    from frisket.platform.verbs.run import DataMode


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """What `run` gives back.

    Attributes:
        run_id: its name, for ``frisket run --resume`` and ``frisket sync``.
        path: its folder: journals, checkpoints, masks, figures.
        summary: what ``--json`` writes: ``results`` per seed, ``summary`` with ``{"mean", "std", "n"}`` per
            metric, ``mlflow``.
    """

    run_id: str
    path: Path
    summary: dict[str, Any]


def run(
    spec: str | None = None,
    overrides: Sequence[str] = (),
    *,
    seeds: int | None = None,
    workers: int | None = None,
    data: DataMode = "auto",
    data_dir: str | Path | None = None,
    runs_dir: str | Path | None = None,
    resume: str | Path | None = None,
    register: bool = True,
    local: bool = False,
) -> FinishedRun:
    """Run an experiment to its end, on Ray Train and into MLflow.

    Args:
        spec: name in tune_configs, or path of a YAML file; may be left out with ``resume``.
        overrides: ``key.path=value``, as on the command line.
        seeds: how many; None for the specification's.
        workers: Ray Train workers; None for as many as are of use. They never move a number.
        data: ``real``, ``embedded``, or ``auto``: real if it can be had.
        data_dir: folder of data sets, looked at before FRISKET_DATA and the cache.
        runs_dir: where runs are kept; None for FRISKET_RUNS, else ``frisket_runs`` in the working folder.
        resume: an earlier run to go on with: its path, its id, the beginning of its id, or ``last``.
        register: register a model version at the end.
        local: in this process, without Ray; nothing is sent to MLflow until ``frisket sync``.

    Raises:
        UserError: the specification, the data, the device or the run to resume.
    """
    return _carry_out(
        spec, overrides, seeds=seeds, workers=workers, data=data, data_dir=data_dir, runs_dir=runs_dir, resume=resume,
        register=register, local=local, search=False,
    )  # fmt: skip


def tune(
    spec: str | None = None,
    overrides: Sequence[str] = (),
    *,
    seeds: int | None = None,
    workers: int | None = None,
    data: DataMode = "auto",
    data_dir: str | Path | None = None,
    runs_dir: str | Path | None = None,
    resume: str | Path | None = None,
    register: bool = True,
    local: bool = False,
) -> FinishedRun:
    """Run every point of a search to its end, on Ray Tune and into MLflow, and rank the points.

    ``summary`` of what it gives back also has ``points``, best first, and ``best``, the best one's label.

    Args:
        spec: name in tune_configs, or path of a YAML file, with a ``tune`` section; may be left out with ``resume``.
        overrides, seeds, data, data_dir, runs_dir: as for `run`.
        workers: trials at once; None for as many as CPUs or GPUs allow. They never move a number.
        resume: an earlier search to go on with; no finished point is repeated.
        register: register the best point's model.
        local: in this process, without Ray; nothing is sent to MLflow until ``frisket sync``.

    Raises:
        UserError: the specification, the data, the device or the run to resume.
    """
    return _carry_out(
        spec, overrides, seeds=seeds, workers=workers, data=data, data_dir=data_dir, runs_dir=runs_dir, resume=resume,
        register=register, local=local, search=True,
    )  # fmt: skip


def _carry_out(
    spec: str | None,
    overrides: Sequence[str],
    *,
    seeds: int | None,
    workers: int | None,
    data: DataMode,
    data_dir: str | Path | None,
    runs_dir: str | Path | None,
    resume: str | Path | None,
    register: bool,
    local: bool,
    search: bool,
) -> FinishedRun:
    from frisket.errors import SpecError
    from frisket.platform.verbs import run as launch

    place = None if data_dir is None else str(data_dir)
    runs = None if runs_dir is None else Path(runs_dir)
    if resume is not None:
        if overrides or seeds is not None:
            raise SpecError(
                "resume", str(resume), "a run goes on with the specification it has; leave overrides and seeds out"
            )
        folder = launch.reopen(str(resume), spec=spec, data_dir=place, runs_dir=runs, search=search)
    elif spec is None:
        raise SpecError("SPEC", None, "is required; `frisket list specs` shows the names")
    else:
        folder = launch.prepare(
            spec, overrides, seeds=seeds, data=data, data_dir=place, runs_dir=runs, register=register, search=search
        )
    summary = launch.execute(folder, local=local, workers=workers, data_dir=place)
    return FinishedRun(run_id=folder.run_id, path=folder.path, summary=summary)


def show(
    spec: str | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    variant: str | None = None,
    uses: Iterable[Given] = (),
) -> dict[str, Any]:
    """A specification completely: every value and where it comes from, as plain data. Nothing is run or fetched.

    ``values`` is a list of ``{field, value, from, where, moves}``; `frisket.platform.verbs.show.show` says the rest.

    Args:
        spec: name in tune_configs, or path of a YAML file.
        overrides: ``key.path=value``, as on the command line.
        variant: label of a variant or of a point of a search; None for the headline, or a search's base point.
        uses: modules of one's own, beside those it names itself.

    Raises:
        SpecError: no such specification or variant, or a field that is wrong.
    """
    from frisket.platform.verbs import show as work

    return work.show(spec, overrides, variant=variant, uses=uses)


@dataclass(frozen=True, kw_only=True)
class FinishedReproduction:
    """What `reproduce` gives back.

    Attributes:
        run_id: its name, for ``frisket reproduce --resume``.
        path: its folder.
        out: the folder of its report: Markdown, JSON, picture.
        summary: what ``--json`` writes; ``comparison`` holds published, ours, difference and verdict.
    """

    run_id: str
    path: Path
    out: Path
    summary: dict[str, Any]


def reproduce(
    table: str | None = None,
    *,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    seeds: int | None = None,
    scale: ScaleName = "paper",
    workers: int | None = None,
    data: DataMode = "auto",
    data_dir: str | Path | None = None,
    runs_dir: str | Path | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    reuse: bool = False,
    register: bool | None = None,
    local: bool = False,
) -> FinishedReproduction:
    """Run a published table, or a part of it, and compare.

    Args:
        table: ``PAPER/NAME``; may be left out with ``resume``, which goes on as the reproduction began: it looks at
            ``workers``, ``data_dir``, ``runs_dir`` and ``local`` alone.
        rows, columns: labels of the table; None for all.
        seeds: how many in every cell; None for the scale's.
        scale: ``smoke``, ``short``, or ``paper``: as published. Verdicts are given at ``paper`` only.
        workers, data, data_dir, runs_dir, local: as for `run`.
        out: folder of the report; None for the reproduction's own.
        resume: an earlier reproduction to go on with: its path, its id, the beginning of its id, or ``last``.
        reuse: take finished runs of the same specification, data and version as cells.
        register: register a model version of every cell; None: at paper scale only.

    Raises:
        UserError: the table, the selection, a specification, the data, the device or what is to be resumed.
    """
    from frisket.errors import SpecError
    from frisket.platform.verbs import reproduce as work

    place = None if data_dir is None else str(data_dir)
    runs = None if runs_dir is None else Path(runs_dir)
    if resume is not None:
        reproduction = work.reopen(str(resume), table=table, runs_dir=runs)
    elif table is None:
        raise SpecError("TABLE", None, "is required; `frisket list tables` shows the names")
    else:
        reproduction = work.start(
            table, rows=rows, columns=columns, seeds=seeds, scale=scale, data=data, data_dir=place, runs_dir=runs,
            out=None if out is None else Path(out), register=register, reuse=reuse,
        )  # fmt: skip
    summary = work.execute(reproduction, local=local, workers=workers, data_dir=place)
    return FinishedReproduction(
        run_id=reproduction.run_id, path=reproduction.path, out=reproduction.out, summary=summary
    )


def load_model(uri: str | Path, *, tracking_uri: str | None = None, uses: Sequence[Given] = ()) -> FrisketModel:
    """Load a model with all its replicas, states and masks. Runs no code from it.

    Args:
        uri: ``models:/NAME/VERSION`` (or ``/latest``), ``models:/NAME@ALIAS``, ``runs:/RUN/model``, a downloaded model
            folder, or the folder of a finished run (of a search: its best point).
        tracking_uri: the MLflow store to ask; None for ``MLFLOW_TRACKING_URI``, else ``mlflow.db`` in the working
            folder.
        uses: modules of one's own that the model was made with: files (``my_method.py``), names of modules, or the
            learner's class. A model never makes frisket import anything by itself.

    Raises:
        ModelError: it leads nowhere, what is there is damaged or no frisket model, or it was made with a module that
            is not passed.
    """
    from frisket.platform.verbs import load

    return load.load_model(uri, tracking_uri=tracking_uri, uses=uses)
