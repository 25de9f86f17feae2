"""What a run will take, before anything is run: a short measured part of it, and what that says of the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from frisket.errors import SpecError
from frisket.places import require_place, told
from frisket.platform.cluster.session import on_a_cluster, ray_session, require_device, worker_count
from frisket.platform.executors.ray_train import shares
from frisket.platform.planning.estimate import Plan, on_kinds, plan_of
from frisket.platform.planning.here import measured_here
from frisket.platform.planning.kept import keep
from frisket.platform.run.kept import default_runs_folder
from frisket.platform.specs.experiment import Experiment, load_spec
from frisket.platform.specs.uses import Given
from frisket.platform.verbs.asked import (
    require_count,
    require_mode,
    require_runs_dir,
    require_seeds_once,
    require_workers,
)
from frisket.platform.verbs.reference import with_reference
from frisket.types import DataMode


@told()
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
    """As `frisket.plan` says."""
    require_workers(workers, local=local)
    require_count("seeds", seeds)
    require_seeds_once(seeds, overrides)
    require_mode(data)
    found, runs = require_place("data_dir", data_dir), require_runs_dir(runs_dir)
    place = None if found is None else str(found.absolute())
    experiment = load_spec(spec, overrides, seeds=seeds, uses=uses)
    elsewhere = [use.name for use in experiment.uses if use.given]
    if elsewhere:
        fix = "is in no file, so it reaches no other process: write it into one (uses: my_method.py)"
        raise SpecError("uses", elsewhere[0], fix)
    experiment = with_reference(experiment, default_runs_folder() if runs is None else runs)
    require_device(experiment.device)
    if on_a_cluster() and not local:
        return _on_cluster(experiment, workers, data, place, overrides)
    figures = measured_here(experiment, data=data, data_dir=place, overrides=overrides)
    keep(experiment, figures.data[0], figures)
    return plan_of(experiment, figures, workers=worker_count(experiment, local=local, workers=workers), local=local)


def _on_cluster(
    experiment: Experiment, workers: int | None, data: DataMode, data_dir: str | None, overrides: Sequence[str]
) -> Plan:
    """The plan by a node of every kind."""
    with ray_session(cpus=experiment.threads):
        from frisket.platform.executors.ray_probe import measured_on_nodes, resources

        found = measured_on_nodes(experiment, data=data, data_dir=data_dir, overrides=overrides)
        at_once = shares(experiment, workers, experiment.jobs, resources()).workers
    plans = {
        (kind.name, len(kind.nodes)): plan_of(experiment, figures, workers=at_once, local=False)
        for kind, figures in found
    }
    return on_kinds(plans)
