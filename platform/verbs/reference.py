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
    section = experiment.protocol
    if section.row.referred is None or section.config.reference is None or section.config.references:
        return experiment
    name = section.config.reference
    called = [one for one in RunFolder.all(runs_dir) if name in (one.run_id, one.manifest["spec"])]
    found = [one for one in called if _measures(one, experiment)]
    if not found:
        if name not in spec_names():
            fix = f"must be a specification, or a finished run in {runs_dir} of the same stream and points"
            raise RunError("protocol.reference", name, fix)
        lost = f"no run of {name} with these tasks and points has finished in {runs_dir}"
        _log.warning("%s is measured against nothing: %s; run it first", experiment.name, lost)
        return experiment
    run = max(found, key=lambda one: one.created)
    label = run.experiment.headline_label
    seeds = [result["metrics"] for result in run.results() if result["variant"] == label]
    config = section.row.referred(section.config, seeds)
    return dataclasses.replace(experiment, protocol=dataclasses.replace(section, config=config))


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
