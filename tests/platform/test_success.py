"""Robot tasks from specification to result: success and forgetting, stops and kills, the model, what is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from frisket.algos.parts.tree import flatten
from frisket.algos.state_file import load_state
from frisket.errors import ModelError, SpecError, Stopped
from frisket.platform.model.model import FrisketModel
from frisket.platform.protocols.success import success
from frisket.platform.reports.figures import draw_figures
from frisket.platform.reports.success import measured
from frisket.platform.run.engine import run_replica
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.journal import read_steps
from frisket.platform.verbs.run import prepare

LEARNER: dict[str, Any] = {
    "batch": 16, "start_steps": 40, "update_after": 40, "update_every": 8, "updates": 1, "memory_slots": 300,
    "log_eta": -3.0,
}  # fmt: skip
SPEC: dict[str, Any] = {
    "name": "tiny/robots",
    "stream": {"kind": "robots", "steps": 240, "environments": 4, "trials": 4},
    "network": {"kind": "layer-norm-mlp", "hidden": [16, 16]},
    "learner": {"kind": "sac", **LEARNER},
    "protocol": {"kind": "success", "points": 3, "episodes": 4, "tail": 2},
    "seeds": 1,
    "log_every": 2,
    "checkpoint_seconds": 0.01,
}
METHODS: dict[str, dict[str, Any]] = {
    "sac": LEARNER,
    "sac-packnet": {**LEARNER, "tasks": 3, "retrain_steps": 5},
    "sac-epn": {**LEARNER, "retrain_steps": 5},
}


def make_run(parent: Path, kind: str, **sections: Any) -> RunFolder:
    spec = {**SPEC, "learner": {"kind": kind, **METHODS[kind]}, **sections}
    return prepare(spec, runs_dir=parent, register=False)


def finished(folder: RunFolder) -> tuple[Any, list[dict[str, Any]], dict[str, torch.Tensor]]:
    """Result, journal and final state of its one replica."""
    (result,) = folder.results()
    files = folder.replica("seed0")
    kept = {k: result[k] for k in ("metrics", "sparsity", "input")}
    return kept, list(read_steps(files.journal)), flatten(load_state(files.final)[0])


def same(a: RunFolder, b: RunFolder) -> bool:
    (results, steps, state), (others, again, other) = finished(a), finished(b)
    equal = state.keys() == other.keys() and all(state[k].equal(other[k]) for k in state)
    return results == others and steps == again and equal


def test_c10_numbers_by_hand() -> None:
    curve = torch.full((2, 3, 2), float("nan"), dtype=torch.float64)
    curve[0, :, 0] = torch.tensor([0.0, 0.5, 1.0])
    curve[1, :, 0] = torch.tensor([0.4, 0.2, 0.0])
    curve[1, :, 1] = torch.tensor([0.2, 0.6, 0.8])
    ended = torch.tensor([[0.9, float("nan")], [0.1, 0.7]], dtype=torch.float64)
    one = success(curve, ended, 1)
    assert one == pytest.approx({"success": 0.4, "forgetting": 0.4, "forgetting_dense": (0.9 + 0.1) / 2})
    two = success(curve, ended, 2)
    last = np.array([(0.2 + 0.1) / 2, (0.6 + 0.7) / 2])
    own, dense = np.array([(0.5 + 0.9) / 2, (0.6 + 0.7) / 2]), np.array([(0.5 + 1.0) / 2, (0.6 + 0.8) / 2])
    expected = {"success": last.mean(), "forgetting": (own - last).mean(), "forgetting_dense": (dense - last).mean()}
    assert two == pytest.approx(expected)
    constant = success(torch.full((3, 4, 3), 0.6), torch.full((3, 3), 0.6), 4)
    assert constant == pytest.approx({"success": 0.6, "forgetting": 0.0, "forgetting_dense": 0.0})


def test_what_is_measured_and_when(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "sac")
    run_replica(folder, folder.experiment.replicas()[0])
    result, steps, _ = finished(folder)
    kinds = ["curve" if "curve" in step else "ended" if "ended" in step else "" for step in steps]
    assert kinds == ["curve", "curve", "curve", "ended"] * 3
    begun = [sum(rate is not None for rate in measured(step) or []) for step in steps]
    assert begun == [1] * 4 + [2] * 4 + [3] * 4
    rounds = [step for step in steps if "curve" in step]
    assert all({"return", "practised_success"} <= set(step) for step in rounds)
    learned = ["loss_before" in step for step in steps]
    assert learned == [True, True, True, False] * 3
    assert set(result["metrics"]) == {"success", "forgetting", "forgetting_dense"}
    assert result["input"]["actions"] == 2
    pictures = {path.name for path in draw_figures(folder)}
    assert "success.png" in pictures


@pytest.mark.parametrize("kind", list(METHODS))
def test_stop_and_resume_equals_never_stopped(tmp_path: Path, kind: str) -> None:
    whole, parts = make_run(tmp_path / "a", kind), make_run(tmp_path / "b", kind)
    (replica,) = whole.experiment.replicas()
    run_replica(whole, replica)
    stops = 0
    while True:
        asked = iter([False])
        try:
            run_replica(parts, replica, stop=lambda asked=asked: next(asked, True))
            break
        except Stopped:
            stops += 1
    assert stops >= 5
    assert same(whole, parts)


SCRIPT = (
    "import sys; from pathlib import Path; from frisket.platform.run.engine import run_replica;"
    "from frisket.platform.run.folder import RunFolder; folder = RunFolder.open(Path(sys.argv[1]));"
    "[run_replica(folder, r) for r in folder.experiment.replicas()]"
)


@pytest.mark.process
@pytest.mark.slow
def test_kill_9_and_resume_equals_never_killed(tmp_path: Path) -> None:
    """Also inside an episode and inside retraining: what was done since the last position is done again."""
    fields = {"stream": {**SPEC["stream"], "steps": 1600}}
    whole, killed = make_run(tmp_path / "a", "sac-packnet", **fields), make_run(tmp_path / "b", "sac-packnet", **fields)
    (replica,) = whole.experiment.replicas()
    run_replica(whole, replica)
    root = Path(__file__).parents[2]
    kills, journal = 0, killed.replica("seed0").journal
    for number in range(20):
        size = journal.stat().st_size if journal.exists() else 0
        worker = subprocess.Popen([sys.executable, "-c", SCRIPT, str(killed.path)], cwd=root)
        deadline = time.monotonic() + 60
        while worker.poll() is None and time.monotonic() < deadline:
            if (journal.stat().st_size if journal.exists() else 0) > size:
                break
            time.sleep(0.01)
        time.sleep(0.013 * number)
        if worker.poll() is None:
            os.kill(worker.pid, signal.SIGKILL)
            kills += 1
        worker.wait()
    assert kills >= 5
    subprocess.run([sys.executable, "-c", SCRIPT, str(killed.path)], cwd=root, check=True, timeout=120)
    assert same(whole, killed)


def test_a_model_acts_as_the_task_it_is_told(tmp_path: Path) -> None:
    for kind in ("sac", "sac-epn"):
        folder = make_run(tmp_path, kind)
        run_replica(folder, folder.experiment.replicas()[0])
        model = FrisketModel.of_run(folder)
        x = torch.linspace(-1, 1, 12).view(6, 2)
        found = [model.predict(x, task=t) for t in range(3)]
        assert all(one.shape == (6, 2) and np.abs(one).max() <= 1 for one in found)
        assert not np.array_equal(found[0], found[1])
        assert model.outputs == 2
        with pytest.raises(ModelError, match="from 0 to 2"):
            model.predict(x, task=3)
        with pytest.raises(ModelError, match="must be"):
            model.predict(x, task="infer")


@pytest.mark.parametrize(
    ("sections", "field", "said"),
    [
        ({"stream": {"kind": "rotations"}}, "stream.kind", "robots"),
        ({"learner": {"kind": "er"}, "network": {"kind": "mlp"}}, "learner.kind", "sac"),
        ({"protocol": {"kind": "retained-accuracy"}}, "protocol.kind", "success"),
        ({"network": {"kind": "mlp"}}, "network.kind", "layer-norm-mlp"),
        ({"protocol": {"kind": "success", "points": 4, "tail": 1}}, "protocol.points", "at most 3"),
        ({"protocol": {"kind": "success", "points": 3, "tail": 4}}, "protocol.tail", "at most points"),
        ({"learner": {"kind": "sac", "memory_slots": 10**12}}, "memory_slots", "GiB"),
        ({"stream": {**SPEC["stream"], "tasks": ["Pendulum-v9"]}}, "stream.tasks", "Pendulum-v1"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_run(
    tmp_path: Path, sections: dict[str, Any], field: str, said: str
) -> None:
    with pytest.raises(SpecError, match=said) as caught:
        prepare({**SPEC, **sections}, runs_dir=tmp_path, register=False)
    assert caught.value.field == field


def example(parent: Path, name: str, seeds: int) -> list[dict[str, Any]]:
    folder = prepare(f"continual_world/pointgoal-{name}", seeds=seeds, runs_dir=parent, register=False)
    for replica in folder.experiment.replicas():
        run_replica(folder, replica)
    return [
        {**result["metrics"], "last": list(read_steps(folder.replica(f"seed{result['seed']}").journal))[-1]["ended"]}
        for result in folder.results()
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fine-tuning", "packnet", "epn", "powerprop-epn"])
def test_c13_fine_tuning_forgets_and_masks_do_not(tmp_path: Path, name: str) -> None:
    for found in example(tmp_path, name, 3):
        if name == "fine-tuning":
            assert max(found["last"][:-1]) < 0.3
            assert sum(found["last"][:-1]) / 2 < 0.2
            assert found["last"][-1] > 0.95
        else:
            assert found["success"] == 1.0
            assert found["forgetting"] == 0.0


def test_c13_of_one_seed(tmp_path: Path) -> None:
    (forgot,), (kept,) = example(tmp_path / "a", "fine-tuning", 1), example(tmp_path / "b", "epn", 1)
    assert max(forgot["last"][:-1]) < 0.2
    assert forgot["last"][-1] > 0.95
    assert (kept["success"], kept["forgetting"]) == (1.0, 0.0)
