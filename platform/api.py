"""The verbs of the command line as functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from frisket.platform.model.model import FrisketModel
    from frisket.platform.planning.estimate import Plan
    from frisket.platform.specs.uses import Given
    from frisket.platform.tables.scales import ScaleName
    from frisket.platform.verbs.finished import FinishedReproduction, FinishedRun, StateName
    from frisket.types import DataMode, Split


def run(
    spec: str | Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    *,
    seeds: int | None = None,
    workers: int | None = None,
    data: DataMode = "auto",
    data_dir: str | Path | None = None,
    runs_dir: str | Path | None = None,
    resume: str | Path | None = None,
    run_id: str | None = None,
    register: bool = True,
    local: bool = False,
    uses: Sequence[Given] = (),
    render: bool = False,
) -> FinishedRun:
    """Run an experiment to its end, on Ray Train and into MLflow.

    Args:
        spec: name in tune_configs, path of a YAML file, or the specification itself as a dict; may be left out with
            ``resume``.
        overrides: ``key.path=value``, as on the command line.
        seeds: how many; None for the specification's.
        workers: Ray Train workers; None for as many as are of use. They never move a number.
        data: ``real``, ``embedded``, or ``auto``: real if it can be had.
        data_dir: folder of data sets, looked at before FRISKET_DATA and the cache.
        runs_dir: where runs are kept; None for FRISKET_RUNS, else ``frisket_runs`` in the working folder.
        resume: an earlier run to go on with: its path, its id, the beginning of its id, or ``last``. It keeps its
            specification, so ``overrides``, ``seeds`` and ``run_id`` are left out.
        run_id: name of the run; if one of that name is there, it is gone on with. None for a new name.
        register: register a model version at the end.
        local: in this process, without Ray; nothing is sent to MLflow until ``frisket sync``.
        uses: modules of one's own beside those the specification names: files (``my_method.py``), names of modules,
            modules, a learner's class, or rows (``Method(...)``). A class that is in no file (a notebook's) reaches no
            other process, so it needs ``local``.
        render: of robot tasks, draw a strip of pictures of an episode of each when all is learned, in ``film`` of the
            run's folder.

    Raises:
        UserError: the specification, the data, the device or the run to resume.
    """
    from frisket.platform.verbs.render import runner

    return runner(render)(
        spec=spec, overrides=overrides, seeds=seeds, workers=workers, data=data, data_dir=data_dir, runs_dir=runs_dir,
        resume=resume, run_id=run_id, register=register, local=local, uses=uses, search=False,
    )  # fmt: skip


def tune(
    spec: str | Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    *,
    seeds: int | None = None,
    workers: int | None = None,
    data: DataMode = "auto",
    data_dir: str | Path | None = None,
    runs_dir: str | Path | None = None,
    resume: str | Path | None = None,
    run_id: str | None = None,
    register: bool = True,
    local: bool = False,
    uses: Sequence[Given] = (),
) -> FinishedRun:
    """Run every point of a search to its end, on Ray Tune and into MLflow, and rank the points.

    ``summary`` of what it gives back also has ``points``, best first, and ``best``, the best one's label.

    Args:
        spec: as for `run`, with a ``tune`` section; may be left out with ``resume``.
        overrides, seeds, data, data_dir, runs_dir, run_id, uses: as for `run`.
        workers: trials at once; None for as many as CPUs or GPUs allow. They never move a number.
        resume: an earlier search to go on with; no finished point is repeated.
        register: register the best point's model.
        local: in this process, without Ray; nothing is sent to MLflow until ``frisket sync``.

    Raises:
        UserError: the specification, the data, the device or the run to resume.
    """
    from frisket.platform.verbs.run import carry_out

    return carry_out(
        spec=spec, overrides=overrides, seeds=seeds, workers=workers, data=data, data_dir=data_dir, runs_dir=runs_dir,
        resume=resume, run_id=run_id, register=register, local=local, uses=uses, search=True,
    )  # fmt: skip


def plan(
    spec: str | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    seeds: int | None = None,
    workers: int | None = None,
    data: DataMode = "auto",
    data_dir: str | Path | None = None,
    runs_dir: str | Path | None = None,
    local: bool = False,
    uses: Sequence[Given] = (),
) -> Plan:
    """What a run of ``spec``, or a search, will take: time, memory, disk, rows in MLflow, and for how many tasks the
    weights last. A short part of it is measured on this machine, in a process of its own; on a Ray cluster that
    ``RAY_ADDRESS`` names, on a node of every kind. Nothing of it is kept but the figures, in the cache folder.

    Args:
        spec: as for `run`; one with a ``tune`` section is planned as the search it is.
        overrides, seeds, workers, data, data_dir, runs_dir, local: as for `run`.
        uses: as for `run`; modules and files alone, which reach another process.

    Returns:
        `frisket.platform.planning.estimate.Plan`, whose ``as_dict()`` is JSON-able.

    Raises:
        UserError: the specification, the data or the device.
        FrisketError: the part that was to be measured failed.
    """
    from frisket.platform.verbs import plan as verb

    return verb.plan(
        spec, overrides, seeds=seeds, workers=workers, data=data, data_dir=data_dir, runs_dir=runs_dir, local=local,
        uses=uses,
    )  # fmt: skip


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


def reproduce(
    table: str | None = None,
    *,
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
) -> FinishedReproduction:
    """Run a published table, or a part of it, and compare.

    Args:
        table: ``PAPER/NAME``; may be left out with ``resume``.
        rows, columns: labels of the table; None for all.
        seeds: how many in every cell; None for the scale's.
        scale: ``smoke``, ``short``, or ``paper`` (the default): as published. Verdicts are given at ``paper`` only.
        workers, data, data_dir, runs_dir, local: as for `run`.
        out: folder of the report; None for the reproduction's own.
        resume: an earlier reproduction to go on with: its path, its id, the beginning of its id, or ``last``. It goes
            on as it began: ``workers``, ``data_dir``, ``runs_dir`` and ``local`` may be given, nothing else.
        reuse: take finished runs of the same specification, data and version as cells.
        register: register a model version of every cell; None: at paper scale only.

    Raises:
        UserError: the table, the selection, a specification, the data, the device or what is to be resumed.
    """
    from frisket.platform.verbs.reproduce import carry_out

    return carry_out(
        table=table, rows=rows, columns=columns, seeds=seeds, scale=scale, workers=workers, data=data,
        data_dir=data_dir, runs_dir=runs_dir, out=out, resume=resume, reuse=reuse, register=register, local=local,
    )  # fmt: skip


def runs(
    *,
    spec: str | None = None,
    state: StateName | None = None,
    data: Literal["real", "embedded"] | None = None,
    since: str | None = None,
    runs_dir: str | Path | None = None,
) -> list[dict[str, Any]]:
    """The runs in the runs folder, newest first, as plain data.

    Args:
        spec: only runs of specifications that it matches: ``osaka/*``.
        state: only runs in it: ``done``; ``running``: a process holds it; ``stopped``; ``damaged``.
        data: only runs on these.
        since: only runs begun since: a date (``2026-01-31``), or ``30min``, ``12h``, ``7d``, ``2w`` ago.
        runs_dir: where runs are kept; None for FRISKET_RUNS, else ``frisket_runs`` in the working folder.

    Returns:
        Of every run ``run`` (its name), ``path``, ``state``, ``problem`` (of a damaged one, else None), ``spec``,
        ``data``, ``kind`` (``run`` or ``search``), ``finished`` and ``replicas`` (how many, and of how many),
        ``seeds``, ``metric`` (its headline) with ``mean``, ``std`` (the population's) and ``n`` once it is done,
        ``seconds`` of work, ``created``. What is not known is None.

    Raises:
        UserError: no such folder or state, or ``since`` says no time.
    """
    from frisket.platform.verbs import runs as verb

    return verb.runs(spec=spec, state=state, data=data, since=since, runs_dir=runs_dir)


def compare(*names: str | Path, runs_dir: str | Path | None = None) -> dict[str, Any]:
    """Finished runs beside each other, metric by metric, with their differences to the first.

    Where a run met the same stream on the same data as the first, seeds that both have are paired: the difference is
    the mean over the pairs, with the t interval of that mean. Else it is the difference of the means, with Welch's
    interval.

    Args:
        names: two or more runs: path, id, unique beginning of an id, or ``last``; ``RUN:VARIANT`` for another variant
            than the headline, or another point of a search than the best.
        runs_dir: where runs are kept; None for FRISKET_RUNS, else ``frisket_runs`` in the working folder.

    Returns:
        ``level`` of the intervals; ``headline``; ``runs``; ``metrics``: metric to a line per run, in order: ``mean``,
        ``std`` (the population's), ``n``, and of all but the first ``difference``, ``interval`` (two ends, or
        None where there are too few seeds), ``method`` (``paired`` or ``welch``), ``n_difference``;
        ``not_shared``: metrics that not every run has, which are left out.

    Raises:
        RunError: a run that is not there or not finished (it names the command that finishes it), or no metric in
            common.
    """
    from frisket.platform.verbs import compare as verb

    return verb.compare(*names, runs_dir=runs_dir)


def evaluate(
    model: str | Path,
    stream: str | Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    *,
    episodes: int = 600,
    split: Split = "test",
    data: DataMode = "auto",
    data_dir: str | Path | None = None,
    tracking_uri: str | None = None,
    uses: Sequence[Given] = (),
    log: bool = True,
) -> dict[str, Any]:
    """Let a few-shot model adapt to episodes of another stream and answer their queries; nothing is learned.

    Args:
        model: as for `load_model`.
        stream: the specification whose stream of episodes is taken: a name, a YAML file or a dict; None for the stream
            the model was trained on.
        overrides: laid over it, ``stream.shots=5``; those of ``learner.`` are of the model's own method, and leave what
            it has learned as it is: ``learner.inner_steps_test=35``.
        episodes: how many are judged, the same for every replica; of a stream of several domains so many of each.
        split: of whose classes: ``train``, ``validation`` or ``test``.
        data, data_dir: as for `run`.
        tracking_uri, uses: as for `load_model`.
        log: of a registered model, ``models:/...``, make an MLflow run in the experiment of the run that made it: the
            numbers, on the model's page too, and a picture of its masks by layer.

    Returns:
        ``results``: of every replica ``accuracy`` and ``interval``, half the width of its 95 % interval over episodes;
        ``summary``: of every variant the mean ``accuracy`` over seeds, its ``std`` (the population's), ``n``, and the
        widest of their intervals; of several domains, ``domains``, in both also ``accuracy/DOMAIN`` and
        ``accuracy/DOMAIN/interval``; ``mlflow``: ``tracking_uri``, ``run_id`` and, without one, the ``reason``, None
        where nothing was to be logged; and what was asked for.

    Raises:
        UserError: no such model or specification, one whose method does not adapt to episodes, a stream that gives
            none, or one of other inputs or ways than the model takes; an override under which the model's method has
            another state.
    """
    from frisket.platform.verbs import evaluate as verb

    return verb.evaluate(
        model, stream, overrides, episodes=episodes, split=split, data=data, data_dir=data_dir,
        tracking_uri=tracking_uri, uses=uses, log=log,
    )  # fmt: skip


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
