"""Figures that were measured before, kept in the cache folder, so that a run can say on its first line what it will
take without measuring anything: those of a plan of the same work on this machine.

They are found by what they hang on: the specification but for its seeds and what it answers to, the data, the versions
of frisket and torch, and the machine. What cannot be read is as if it were not there.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from pathlib import Path

import torch

import frisket
from frisket.files import find_sealed, sha256, write_sealed
from frisket.folders import cache_folder
from frisket.platform.cluster.session import on_a_cluster
from frisket.platform.planning.estimate import Plan, plan_of
from frisket.platform.planning.figures import Figures
from frisket.platform.run.folder import RunFolder
from frisket.platform.specs.experiment import Experiment


def keep(experiment: Experiment, data: str, figures: Figures) -> None:
    """Keep the ``figures`` of ``experiment`` on ``data``: the mode that was resolved. A folder that cannot be written
    to keeps nothing."""
    path = _path(experiment, data)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_sealed(path, figures.as_dict(), durable=False)


def kept(experiment: Experiment, data: str) -> Figures | None:
    """Figures that were kept of ``experiment`` on ``data``; None where there are none."""
    try:
        said = find_sealed(_path(experiment, data))
        return None if said is None else Figures.from_dict({k: v for k, v in said.items() if k in _FIELDS})
    except (OSError, TypeError, KeyError):
        return None


def known_plan(folder: RunFolder, *, workers: int, local: bool) -> Plan | None:
    """The plan of the run ``folder`` by figures that an earlier plan on this machine has left; None where none has, or
    the run goes elsewhere. Takes milliseconds: nothing is measured."""
    if on_a_cluster() and not local:
        return None
    figures = kept(folder.experiment, folder.manifest["data_mode"])
    return None if figures is None else plan_of(folder.experiment, figures, workers=workers, local=local)


_FIELDS = tuple(Figures.__dataclass_fields__)


def _path(experiment: Experiment, data: str) -> Path:
    said = {name: value for name, value in experiment.as_dict().items() if name not in ("seeds", "published")}
    machine = (platform.node(), platform.machine(), torch.backends.cpu.get_cpu_capability(), os.cpu_count())
    made_from = json.dumps([said, data, frisket.__version__, torch.__version__, machine], sort_keys=True)
    return cache_folder() / "plans" / f"{sha256(made_from.encode())}.json"
