"""From a specification to a finished run: resolve the data, make the run folder, execute, sum up.

The one road of `frisket.run`, `frisket.tune` and their commands, `carry_out`, and its stretches.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import frisket
from frisket.errors import RunError, SpecError
from frisket.heap import within_memory
from frisket.places import require_place, told
from frisket.platform import executors
from frisket.platform.cluster.session import require_device, worker_count
from frisket.platform.executors import Stop
from frisket.platform.run.collapse import Collapsed, sentence
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.kept import content_hashes, default_runs_folder
from frisket.platform.run.summary import write_summary
from frisket.platform.specs.build import load_data, mode_of, provenance_of, rehearse
from frisket.platform.specs.experiment import Experiment, load_spec
from frisket.platform.specs.uses import Given, blamed, taken
from frisket.platform.tracking.settings import kept_uri
from frisket.platform.verbs.asked import (
    require_mode,
    require_runs_dir,
    require_seeds_once,
    require_switch,
    require_workers,
)
from frisket.platform.verbs.finished import FinishedRun
from frisket.platform.verbs.reference import with_reference
from frisket.types import DataMode

_log = logging.getLogger(__name__)

Watch = Callable[[RunFolder, int], contextlib.AbstractContextManager[object]]
"""``(run, workers)`` to what shows the run's progress while it lasts."""


@told()
def carry_out(
    *,
    spec: str | Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    seeds: int | None = None,
    workers: int | None = None,
    data: DataMode = "auto",
    data_dir: str | Path | None = None,
    runs_dir: str | Path | None = None,
    resume: str | Path | None = None,
    run_id: str | None = None,
    register: bool = True,
    local: bool = False,
    search: bool = False,
    uses: Sequence[Given] = (),
    stop: Stop = lambda: False,
    watch: Watch = lambda run, workers: contextlib.nullcontext(),
) -> FinishedRun:
    """What a user asks for with `frisket.run` or `frisket.tune` (``search``), from the words to the end.

    Args:
        spec, overrides, seeds, workers, data, data_dir, runs_dir, resume, run_id, register, local, uses: as
            `frisket.run` says.
        search: whether it is a search.
        stop: asked often; True ends the run with a checkpoint.
        watch: shows progress.

    Raises:
        Stopped: ``stop`` said so; the run can be resumed.
        UserError: the specification, the data, the device or the run to resume.
    """
    require_workers(workers, local=local)
    require_mode(data)
    require_switch("register", register)
    require_seeds_once(seeds, overrides)
    found, runs = require_place("data_dir", data_dir), require_runs_dir(runs_dir)
    place = None if found is None else str(found)
    require_place("resume", resume)
    if resume is not None:
        if isinstance(spec, str) and "=" in spec:
            overrides, spec = [spec, *overrides], None
        given = {"overrides": bool(overrides), "seeds": seeds is not None, "run_id": run_id is not None}
        unwanted = " and ".join(name for name, is_given in given.items() if is_given)
        if unwanted:
            fix = f"a run goes on with the specification and name it has; leave {unwanted} out"
            raise RunError("resume", str(resume), fix)
        if isinstance(spec, Mapping):
            raise SpecError("SPEC", "a dict", "leave it out: a run goes on with the specification it has")
        folder = reopen(
            str(resume), spec=spec, data=data, data_dir=place, runs_dir=runs, search=search, uses=uses
        )  # fmt: skip
    elif spec is None:
        raise SpecError("SPEC", None, "is required; `frisket list specs` shows the names")
    else:
        folder = prepare(
            spec, overrides, seeds=seeds, data=data, data_dir=place, runs_dir=runs, register=register, search=search,
            run_id=run_id, uses=uses,
        )  # fmt: skip
    elsewhere = [use.name for use in folder.experiment.uses if use.given]
    if elsewhere and not local:
        fix = "is in no file, so it reaches no other process: write it into one (uses: my_method.py), or say local=True"
        raise SpecError("uses", elsewhere[0], fix)
    with watch(folder, worker_count(folder.experiment, local=local, workers=workers)):
        summary = execute(folder, local=local, workers=workers, data_dir=place, stop=stop)
    return FinishedRun(run_id=folder.run_id, path=folder.path, summary=summary)


def prepare(
    spec: str | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    seeds: int | None = None,
    data: DataMode = "auto",
    data_dir: str | None = None,
    runs_dir: Path | None = None,
    register: bool = True,
    search: bool = False,
    run_id: str | None = None,
    uses: Sequence[Given] = (),
) -> RunFolder:
    """The folder of a new run of ``spec``. Every mistake that can be seen before the first step is raised here.

    Args:
        spec: name in tune_configs, path of a YAML file, or the specification itself as a dict.
        overrides: ``key.path=value``.
        seeds: how many; None for the specification's.
        data: ``real``, ``embedded``, or ``auto``: real if it can be had.
        data_dir: first place to look for data.
        runs_dir: where runs are kept; None for `default_runs_folder`.
        register: register a model version at the end.
        search: whether it is to be a search; a specification with a ``tune`` section is one, and no other.
        run_id: the run's name. If a run of that name is there it is that one, and must be of the same specification.
        uses: modules of one's own beside those the specification names.

    Raises:
        UserError: the specification, the data, the device or the run of that name.
    """
    runs = default_runs_folder() if runs_dir is None else runs_dir
    experiment = load_spec(spec, overrides, seeds=seeds, uses=uses)
    if search and experiment.tune is None:
        raise SpecError("SPEC", experiment.name, "has no tune section to search over; `frisket run` runs it")
    if not search and experiment.tune is not None:
        raise SpecError(
            "SPEC", experiment.name, "is a search: `frisket tune` runs it; with tune=null its base point can be run"
        )
    for change in overrides:
        left = experiment.unreached(change)
        if left:
            way = f"variants.LABEL.{change} does"
            _log.warning("%s does not reach %s: they say their own; %s", change, ", ".join(left), way)
    experiment = with_reference(experiment, runs)
    if run_id is not None:
        there = _run_called(run_id, experiment, data, runs)
        if there is not None:
            return reopen(str(there.path), data_dir=data_dir, search=search)
    with within_memory(), blamed(experiment.uses, "cannot be built"):
        require_device(experiment.device)
        images = load_data(experiment, data, data_dir)
        mode, provenance = mode_of(images), provenance_of(images)
        rehearse(experiment, images, overrides)
    return RunFolder.create(
        runs,
        experiment,
        data_mode=mode,
        data=provenance,
        register=register,
        tracking={"uri": kept_uri(), "experiment": f"frisket/{experiment.name}"},
        run_id=run_id,
    )


def _run_called(run_id: str, experiment: Experiment, data: DataMode, runs_dir: Path) -> RunFolder | None:
    """The run of that name, which must be what is asked for; None where there is none."""
    if not isinstance(run_id, str) or re.fullmatch(r"[A-Za-z0-9][\w.-]{0,199}", run_id, re.ASCII) is None:
        raise RunError("run_id", run_id, "must be up to 200 letters, digits, '.', '_' and '-'")
    path = runs_dir / run_id
    if not (path / "run.json").is_file():
        return None
    folder = RunFolder.open(path)
    same = folder.experiment.work(exact=True) == experiment.work(exact=True)
    if not same or data not in ("auto", folder.manifest["data_mode"]):
        raise RunError("run_id", run_id, "a run of that name is there, of another specification or other data")
    return folder


def reopen(
    run: str,
    *,
    spec: str | None = None,
    data: DataMode = "auto",
    data_dir: str | None = None,
    runs_dir: Path | None = None,
    search: bool = False,
    uses: Sequence[Given] = (),
) -> RunFolder:
    """The folder of an earlier run, to go on with it.

    Args:
        run: path, id, unique beginning of an id, or ``last``.
        spec: if given, the specification the run must be of.
        data: the data it must be on; ``auto`` for any.
        data_dir: first place to look for data.
        runs_dir: where runs are kept; None for `default_runs_folder`.
        search: whether it must be a search.
        uses: classes that were handed over as objects when the run began, and are in no file.

    Raises:
        UserError: no such run, one of another specification, one whose files are damaged, or its data are not here any
            more.
    """
    folder = RunFolder.find(run, default_runs_folder() if runs_dir is None else runs_dir)
    folder.pass_uses(taken(uses))
    if search != (folder.experiment.tune is not None):
        raise RunError("resume", run, f"goes on with: frisket {folder.verb} --resume {folder.run_id}")
    name = folder.manifest["spec"]
    if spec is not None and spec != name and Path(spec).stem != name:
        raise RunError("resume", run, f"is a run of {name}, not of {spec}; leave SPEC out")
    if data not in ("auto", folder.manifest["data_mode"]):
        raise RunError("resume", run, f"this run is on {folder.manifest['data_mode']} data; leave data out")
    folder.require_whole()
    if not folder.done:
        images = load_data(folder.experiment, folder.manifest["data_mode"], data_dir)
        now, then = provenance_of(images), folder.manifest["data"]
        changed = [name for name in then if content_hashes(now.get(name)) != content_hashes(then[name])]
        if changed:
            raise RunError("resume", run, f"the data of {', '.join(changed)} are not those the run was started with")
    return folder


def finished_run(
    spec: str,
    overrides: Sequence[str] = (),
    *,
    seeds: int | None = None,
    data: DataMode = "auto",
    data_dir: str | None = None,
    runs_dir: Path | None = None,
) -> RunFolder | None:
    """The newest finished run that did what `prepare` would set up with these arguments: the same specification up to
    what moves numbers by rounding alone, the same seeds and data, the same version of frisket; None where there is
    none."""
    runs = default_runs_folder() if runs_dir is None else runs_dir
    experiment = with_reference(load_spec(spec, overrides, seeds=seeds), runs)
    wanted = provenance_of(load_data(experiment, data, data_dir))
    found = [
        folder
        for folder in runs_of(experiment, runs)
        if folder.experiment.seeds == experiment.seeds and same_data(folder.manifest["data"], wanted) and folder.done
    ]
    return max(found, key=lambda folder: folder.created, default=None)


def runs_of(experiment: Experiment, runs_dir: Path) -> Iterator[RunFolder]:
    """The runs in a folder, finished or not, that do what ``experiment`` does: the same specification up to what moves
    numbers by rounding alone, the same version of frisket; on whatever data, with however many seeds."""
    wanted = work_of_a_seed(experiment)
    for folder in RunFolder.all(runs_dir):
        manifest = folder.manifest
        if (manifest["spec"], manifest["frisket"]) != (experiment.name, frisket.__version__):
            continue
        if manifest["experiment"].get("uses", []) != [use.as_dict() for use in experiment.uses]:
            continue
        try:
            same = work_of_a_seed(folder.experiment) == wanted
        except SpecError:  # of a kind or field that is no more, so of other work
            continue
        if same:
            yield folder


def work_of_a_seed(experiment: Experiment, *, exact: bool = False) -> dict[str, Any]:
    """What decides the numbers of one seed, however many there are. Where it is equal a seed has equal results, up to
    rounding; if ``exact``, to the bit on one machine (where packs have one replica)."""
    return {**experiment.work(exact=exact), "seeds": 1}


def same_data(these: Mapping[str, Any], those: Mapping[str, Any]) -> bool:
    """Whether two provenances, as manifests have them, are of data sets of one content."""
    return {name: content_hashes(one) for name, one in these.items()} == {
        name: content_hashes(one) for name, one in those.items()
    }


def execute(
    folder: RunFolder,
    *,
    local: bool = False,
    workers: int | None = None,
    data_dir: str | None = None,
    stop: Stop = lambda: False,
) -> dict[str, Any]:
    """Run what is still to be run of ``folder``, draw its figures and sum it up; `frisket.platform.run.summary` says
    how.

    Args:
        folder: from `prepare` or `reopen`.
        local: in this process, without Ray and without sending anything to MLflow.
        workers: Ray Train workers, or Ray Tune trials at once; None for as many as are of use.
        data_dir: first place to look for data.
        stop: asked often; True ends the run with a checkpoint.

    Raises:
        Stopped: ``stop`` said so; the run can be resumed.
        UserError: a mistake that shows up late.
    """
    from frisket.platform.executors.supervision import tidy
    from frisket.platform.reports.figures import draw_figures

    data_dir = None if data_dir is None else os.path.abspath(data_dir)  # workers have another working folder
    with contextlib.nullcontext() if local else _uploading(folder):
        if not folder.done:
            executors.execute(folder, local=local, workers=workers, data_dir=data_dir, stop=stop)
        tidy(folder)
        draw_figures(folder)
    summary = write_summary(folder)
    if folder.experiment.tune is None:  # of a search the best point's card says it
        for key, numbers in summary.get("collapsed", {}).items():
            _log.warning("%s", sentence(key, Collapsed(**numbers)))
    return summary


def _uploading(folder: RunFolder) -> contextlib.AbstractContextManager[object]:
    from frisket.platform.tracking.background import BackgroundUploader

    return BackgroundUploader(folder)
