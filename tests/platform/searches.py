"""Tiny searches on embedded data, and what an MLflow store must hold of one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from frisket.platform.run.folder import RunFolder
from frisket.platform.run.points import points_of
from frisket.platform.verbs import run as launch

TINY: dict[str, Any] = {
    "stream": {"kind": "permutations", "tasks": 2, "samples": 40, "test_samples": 100},
    "network": {"kind": "mlp", "hidden": [8]},
    "learner": {"kind": "la-maml", "glances": 1, "memory_slots": 20},
    "protocol": {"kind": "retained-accuracy"},
    "seeds": 2,
    "log_every": 2,
    "checkpoint_seconds": 0.2,
    "tune": {"axes": {"learner.alpha_init": [0.01, 0.1], "learner.alpha_lr": [0.1, 0.3]}},
}


def never() -> bool:
    return False


def write(folder: Path, **fields: Any) -> str:
    """The path of a specification: `TINY` with ``fields`` laid over it."""
    path = folder / "tiny-search.yaml"
    path.write_text(yaml.safe_dump(TINY | fields))
    return str(path)


def prepare_search(parent: Path, tracking: str | None = None, **fields: Any) -> RunFolder:
    """The folder of a new search under ``parent``, tracked in a store there if none is named."""
    parent.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", tracking or f"sqlite:///{parent}/mlflow.db")
        return launch.prepare(write(parent, **fields), data="embedded", runs_dir=parent / "runs", search=True)


def assert_all_there_once(folder: RunFolder) -> None:
    """The store holds the search, one child per point, below it one per seed; none of them is RUNNING."""
    tracking = folder.manifest["tracking"]
    client = MlflowClient(tracking["uri"], registry_uri=tracking["uri"])
    experiment = client.get_experiment_by_name(tracking["experiment"])
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], f"tags.`frisket.run_id` = '{folder.run_id}'")
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert {run.info.status for run in runs} == {"FINISHED"}
    by_label = {p.label: p for p in points_of(folder)}
    assert Counter(run.data.tags["frisket.point"] for run in children) == Counter(list(by_label))
    for child in children:
        expected = by_label[child.data.tags["frisket.point"]]
        assert child.data.metrics["ra"] == pytest.approx(expected.score)
        assert child.data.metrics["ra_std"] == pytest.approx(expected.std)
        assert {axis: float(child.data.params[axis]) for axis in expected.values} == expected.values
        below = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == child.info.run_id]
        assert sorted(r.data.tags["frisket.seed"] for r in below) == ["0", "1"]
    assert len(runs) == 1 + len(by_label) * 3
