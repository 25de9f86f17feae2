"""Tiny runs on embedded data."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from frisket.envs.data import resolve
from frisket.errors import Stopped
from frisket.files import read_sealed, write_sealed
from frisket.platform.executors import local
from frisket.platform.run.engine import run_pack
from frisket.platform.run.folder import RunFolder
from frisket.platform.specs.build import datasets
from frisket.platform.specs.experiment import from_dict
from frisket.platform.verbs.run import prepare

MakeRun = Callable[..., RunFolder]

TINY: dict[str, Any] = {
    "name": "tiny/pair",
    "stream": {"p": 0.8, "steps": 30, "shots": 1},
    "network": {"channels": 2},
    "learner": {"kind": "sparse-cmaml", "inner_steps": 1},
    "seeds": 2,
    "log_every": 5,
    "variants": {"sparse": {}, "fixed": {"learner": {"kind": "cmaml-fixed", "inner_steps": 1}}},
}

SEQUENCE: dict[str, Any] = {
    "name": "tiny/sequence",
    "stream": {"kind": "permutations", "tasks": 3, "samples": 640, "batch": 32, "epochs": 2, "validation": 200},
    "network": {"kind": "mlp", "hidden": [30, 20], "powerprop_alpha": 1.5},
    "learner": {"kind": "efficient-packnet", "lr": 0.005, "biases": "per_task", "grid": [0.1, 0.2, 0.4]},
    "protocol": {"kind": "protected-accuracy"},
    "seeds": 1,
    "variants": {
        "epn": {},
        "packnet": {"learner": {"kind": "packnet", "tasks": 3, "lr": 0.005, "refill": "redraw", "head": "per_task"}},
        "online": {"learner": {"kind": "online-adam"}, "network": {"kind": "mlp", "hidden": [30, 20]}},
    },
}
"""Three tasks in sequence, seconds for all variants."""

SMOKE: dict[str, Any] = {
    "rows": ["Online", "La-MAML"], "columns": ["rotations"], "scale": "smoke", "data": "embedded"
}  # fmt: skip
"""Two cells of the table ``lamaml/table1``, seconds each."""


def tracked_copy(run: RunFolder, parent: Path, uri: str, name: str, *, register: bool = True) -> RunFolder:
    """A copy of the finished ``run`` under ``parent``, by the spec's name ``name``, which is tracked at ``uri``."""
    run_id = f"{name.replace('/', '-')}-{time.time_ns()}"
    path = parent / run_id
    shutil.copytree(run.path, path)
    manifest = read_sealed(path / "run.json")
    tracking = {"uri": uri, "experiment": f"frisket/{name}"}
    manifest |= {"run_id": run_id, "spec": name, "register": register, "tracking": tracking}
    write_sealed(path / "run.json", manifest)
    for result in path.glob("replicas/*/result.json"):
        said = read_sealed(result)
        write_sealed(result, said | {"of": [run_id, said["of"][1]]})
    return RunFolder.open(path)


def new_run(parent: Path, uri: str, *, register: bool = True, **fields: Any) -> RunFolder:
    """A run folder on embedded data, nothing run yet."""
    experiment = from_dict(TINY | fields)
    data = resolve(datasets(experiment), "embedded")
    provenance = {name: images.provenance.as_dict() for name, images in data.items()}
    tracking = {"uri": uri, "experiment": f"frisket/{experiment.name}"}
    return RunFolder.create(
        parent, experiment, data_mode="embedded", data=provenance, register=register, tracking=tracking
    )


def gone_on(spec: dict[str, Any], parent: Path, stop_after: int = 0) -> RunFolder:
    """The finished run of ``spec`` on embedded data, in this process; one that was stopped ``stop_after`` steps from
    its start and went on, or was not (0)."""
    folder = prepare(spec, data="embedded", runs_dir=parent)
    if stop_after:
        asked = iter([False] * (stop_after - 1))
        with pytest.raises(Stopped):
            run_pack(folder, folder.packs[0], stop=lambda: next(asked, True))
    local.execute(folder, data_dir=None, stop=lambda: False)
    return RunFolder.open(folder.path)
