"""Tiny runs on embedded data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from frisket.envs.data import resolve
from frisket.platform.engine import datasets
from frisket.platform.runfolder import RunFolder
from frisket.platform.spec import from_dict

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

SMOKE: dict[str, Any] = {
    "rows": ["Online", "La-MAML"], "columns": ["rotations"], "scale": "smoke", "data": "embedded"
}  # fmt: skip
"""Two cells of the table ``lamaml/table1``, seconds each."""


def new_run(parent: Path, uri: str, *, register: bool = True, **fields: Any) -> RunFolder:
    """A run folder on embedded data, nothing run yet."""
    experiment = from_dict(TINY | fields)
    data = resolve(datasets(experiment), "embedded")
    provenance = {name: images.provenance.as_dict() for name, images in data.items()}
    tracking = {"uri": uri, "experiment": f"frisket/{experiment.name}"}
    return RunFolder.create(
        parent, experiment, data_mode="embedded", data=provenance, register=register, tracking=tracking
    )
