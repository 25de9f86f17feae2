"""What a run is measured against: the seeds of another run, read once, when it begins.

A protocol whose configuration has a ``reference`` names a run or a specification there. The numbers it stands for go
into the experiment, so a run that goes on, or is repeated, is measured against the same ones.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

from frisket.errors import RunError, SpecError
from frisket.platform.run.folder import RunFolder
from frisket.platform.specs.experiment import Experiment
from frisket.platform.specs.text import spec_names

_log = logging.getLogger(__name__)


def with_reference(experiment: Experiment, runs_dir: Path) -> Experiment:
    """``experiment`` with the numbers its protocol measures against, where it names some and they are not there yet.
    Where no run of the specification it names has finished, it is told, and nothing is measured against it.

    Args:
        experiment: from `load_spec`.
        runs_dir: where runs are kept.

    Raises:
        UserError: no such run, or one that has not finished or has other tasks or points.
    """
    if not _names_one(experiment):
        return experiment
    found = measured_against(experiment, runs_dir)
    if found == experiment:
        name = experiment.protocol.config.reference
        if name not in spec_names():
            fix = f"must be a specification, or a finished run in {runs_dir} of the same stream and points"
            raise RunError("protocol.reference", name, fix)
        lost = f"no run of {name} with these tasks and points has finished in {runs_dir}"
        _log.warning("%s is measured against nothing: %s; run it first", experiment.name, lost)
    return found


def measured_against(experiment: Experiment, *runs_dirs: Path) -> Experiment:
    """As `with_reference`, by the first of the folders that has such a run; as it is where none has."""
    section, referred = experiment.protocol, experiment.protocol.row.referred
    if referred is None or not _names_one(experiment):
        return experiment
    name = section.config.reference
    for folder in runs_dirs:
        called = [one for one in RunFolder.all(folder) if name in (one.run_id, one.manifest["spec"])]
        if not (found := [one for one in called if _measures(one, experiment)]):
            continue
        run = max(found, key=lambda one: one.created)
        label = run.experiment.headline_label
        seeds = [result["metrics"] for result in run.results() if result["variant"] == label]
        config = referred(section.config, seeds)
        return dataclasses.replace(experiment, protocol=dataclasses.replace(section, config=config))
    return experiment


def _names_one(experiment: Experiment) -> bool:
    """Whether it names a reference whose numbers are not there yet."""
    section = experiment.protocol
    return section.row.referred is not None and section.config.reference is not None and not section.config.references


def _measures(run: RunFolder, experiment: Experiment) -> bool:
    """Whether ``run`` has finished, and measured what ``experiment`` does on the same stream."""
    try:
        there = run.experiment
    except SpecError:  # of a kind or field that is no more
        return False
    return run.done and _asked(there) == _asked(experiment)


def _asked(experiment: Experiment) -> tuple[Any, ...]:
    """What areas under curves hang on besides the method."""
    stream, protocol = experiment.stream, experiment.protocol
    config = protocol.config
    if protocol.row.referred is not None:
        config = dataclasses.replace(protocol.row.referred(config, ()), reference=None)
    return stream.kind, stream.config, protocol.kind, config
