"""The table of what robot tasks by themselves take: from a run's journal to its lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from docs import learned
from frisket.platform.executors import local
from frisket.platform.run.folder import RunFolder
from frisket.platform.specs.experiment import from_dict


def test_a_run_becomes_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = {
        "name": "by itself",
        "stream": {"kind": "robots", "tasks": ["point-goal"], "steps": 1600, "environments": 8},
        "network": {"kind": "layer-norm-mlp", "hidden": [16]},
        "learner": {
            "kind": "sac", "batch": 16, "start_steps": 160, "update_after": 160, "update_every": 80,
            "memory_slots": 1600,
        },
        "protocol": {"kind": "success", "points": 10, "episodes": 8, "tail": 1},
        "seeds": 2,
    }  # fmt: skip
    folder = RunFolder.create(
        tmp_path / "run", from_dict(spec), data_mode="embedded", data={}, register=False, tracking={}
    )  # fmt: skip
    local.execute(folder, data_dir=None, stop=lambda: False)
    monkeypatch.setattr(learned, "KEPT", tmp_path / "by-task.json")
    monkeypatch.setattr(learned, "AT", (800, 1600, 3200))
    for _ in range(2):  # the second time there is nothing new
        assert learned.main([str(folder.path)]) == 0
    rows = json.loads(learned.KEPT.read_text())
    assert [(row["task"], row["steps"], row["seed"], len(row["curve"])) for row in rows] == [
        ("point-goal", 1600, 0, 10), ("point-goal", 1600, 1, 10)
    ]  # fmt: skip
    first, second, third = capsys.readouterr().out.splitlines()[-1].strip("|").split(" | ")[-3:]
    shares = [sum(row["curve"][5:10]) / 5 for row in rows]
    assert second.startswith(f"{50 * sum(shares):.0f} [")
    assert first.endswith(", n = 2")
    assert third.strip() == "-"


def row(**changes: object) -> dict[str, Any]:
    network, learner = {"hidden": [8], "precision": "fp32"}, {"lr": 0.001}
    told = {"task": "reach", "goals": "random", "network": network, "learner": learner, "episodes": 10, "seed": 0}
    return {**told, "steps": 100, "memory_slots": 100, "curve": [0.0] * 5 + [1.0] * 5, **changes}


def test_only_seeds_of_one_setting_stand_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned, "AT", (50, 100, 200))
    longer = row(steps=200, memory_slots=200, curve=[0.0] * 5 + [0.5] * 5)
    lines = list(learned.table([row(), row(seed=1), longer, row(goals="fixed"), row(memory_slots=50)]))[2:]
    assert len(lines) == 3
    (pooled,) = (line for line in lines if "n = 2" in line)
    assert pooled.split(" | ")[4:] == ["0 [0, 5], n = 1", "50 [0, 100], n = 2", "50 [39, 61], n = 1 |"]


def test_what_another_method_learned_or_is_not_there_is_not_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = {"name": "other", "stream": {"kind": "permutations"}, "learner": {"kind": "online-sgd"}}
    folder = RunFolder.create(
        tmp_path / "run", from_dict({**spec, "network": {"kind": "mlp"}, "protocol": {"kind": "retained-accuracy"}}),
        data_mode="embedded", data={}, register=False, tracking={},
    )  # fmt: skip
    for path, says in ((folder.path, "is not of plain soft actor-critic"), (tmp_path / "none", "none")):
        assert learned.main([str(path)]) == 2
        assert says in capsys.readouterr().err


def test_the_interval_of_one_seed_is_wilsons() -> None:
    low, high = learned.wilson(0.5, 50)
    assert (round(low, 4), round(high, 4)) == (0.3867, 0.6133)  # scipy's
    assert learned.wilson(1.0, 50)[1] == pytest.approx(1.0)
    assert learned.wilson(0.0, 50)[0] == pytest.approx(0.0)
