"""Robot tasks from specification to result: success and forgetting, stops and kills, the model, what is refused."""

from __future__ import annotations

import dataclasses
import math
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
from frisket.envs.robots.config import RobotsConfig
from frisket.envs.streams.robots import Robots
from frisket.errors import ModelError, RunError, SpecError, Stopped
from frisket.platform.model.model import FrisketModel
from frisket.platform.protocols.success import Success, SuccessConfig, intervals
from frisket.platform.reports.figures import draw_figures
from frisket.platform.reports.success import measured
from frisket.platform.run.engine import run_replica
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.journal import read_steps
from frisket.platform.run.summary import summarise
from frisket.platform.verbs.run import prepare
from frisket.rng import numpy_generator

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
    "sac-agem": {**LEARNER, "tasks": 3, "task_memory": 50, "reference_batch": 8},
    "sac-perfect-memory": {**LEARNER, "tasks": 3, "memory_slots": 600},
    "sac-single": LEARNER,
    "sac-vcl": LEARNER,
    "sac-multi": {**LEARNER, "lr": 0.001, "tasks": 3},
}
STREAMS: dict[str, dict[str, Any]] = {"sac-multi": {**SPEC["stream"], "together": True}}


def make_run(parent: Path, kind: str, **sections: Any) -> RunFolder:
    own = {"stream": STREAMS.get(kind, SPEC["stream"]), "learner": {"kind": kind, **METHODS[kind]}}
    spec = {**SPEC, **own, **sections}
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


def judged(curve: torch.Tensor, ended: torch.Tensor, tail: int, references: Any = ()) -> dict[str, float]:
    """What the protocol makes of success rates [T, K, T] and [T, T]."""
    tasks, points, _ = curve.shape
    stream = RobotsConfig(tasks=("point-goal",) * tasks, steps=20 * points)
    protocol = Success(SuccessConfig(points=points, tail=tail, references=references), Robots(stream, {}, 0))
    return protocol.final({**protocol.init(), "curve": curve.double(), "ended": ended.double()})


def test_c10_numbers_by_hand() -> None:
    curve = torch.full((2, 3, 2), float("nan"), dtype=torch.float64)
    curve[0, :, 0] = torch.tensor([0.0, 0.5, 1.0])
    curve[1, :, 0] = torch.tensor([0.4, 0.2, 0.0])
    curve[1, :, 1] = torch.tensor([0.2, 0.6, 0.8])
    ended = torch.tensor([[0.9, float("nan")], [0.1, 0.7]], dtype=torch.float64)
    one = judged(curve, ended, 1, references=((0.2, 0.0), (0.4, 1.0)))
    parts = {
        "success/0 point-goal": 0.1, "success/1 point-goal": 0.7,
        "auc/0 point-goal": (0.0 + 0.5 + 0.9) / 3, "auc/1 point-goal": (0.2 + 0.6 + 0.7) / 3,
    }  # fmt: skip
    transfer = ((1.4 / 3 - 0.3) / 0.7 + (0.5 - 0.5) / 0.5) / 2
    whole = {"success": 0.4, "forgetting": 0.4, "forgetting_dense": (0.9 + 0.1) / 2, "steps/search": 0.0}
    but_last = {"forgetting/but_last": 0.8, "forgetting_dense/but_last": 0.9}
    assert one == pytest.approx({**parts, **whole, **but_last, "forward_transfer": transfer})
    two = judged(curve, ended, 2)
    last = np.array([(0.2 + 0.1) / 2, (0.6 + 0.7) / 2])
    own, dense = np.array([(0.5 + 0.9) / 2, (0.6 + 0.7) / 2]), np.array([(0.5 + 1.0) / 2, (0.6 + 0.8) / 2])
    expected = {"success": last.mean(), "forgetting": (own - last).mean(), "forgetting_dense": (dense - last).mean()}
    assert {name: two[name] for name in expected} == pytest.approx(expected)
    assert "forward_transfer" not in two


def test_c10_what_stays_as_it_was_forgets_nothing_and_gains_nothing() -> None:
    shares = torch.tensor([0.6, 0.2, 0.9])
    found = judged(shares.expand(3, 4, 3), shares.expand(3, 3), 4, references=((0.6, 0.2, 0.9),) * 5)
    names = [name for name in found if name.startswith("forgetting")]
    assert len(names) == 4
    assert [found[name] for name in [*names, "forward_transfer"]] == pytest.approx([0.0] * 5)
    assert found["success"] == pytest.approx(shares.mean().item())


def test_c10_what_is_solved_at_once_has_a_forward_transfer_of_1() -> None:
    ones = torch.ones(2, 3, 2)
    assert judged(ones, ones[:, 0], 1, references=((0.3, 0.8),))["forward_transfer"] == pytest.approx(1)
    assert judged(ones, ones[:, 0], 1, references=((0.3, 1.0),))["forward_transfer"] == pytest.approx(1)
    nothing = judged(ones, ones[:, 0], 1, references=((1.0, 1.0),))
    assert "forward_transfer" not in nothing


def test_c10_one_seed_has_an_interval_without_width_and_more_have_the_bootstraps() -> None:
    config = SuccessConfig(points=3, tail=1, references=((0.2, 0.4),))

    def metrics(shift: float) -> dict[str, float]:
        return {"success": 0.5 + shift, "success/0 a": 0.1, "forgetting": shift, "auc/0 a": 0.3, "auc/1 b": 0.5 + shift}

    one = intervals(config, [metrics(0.1)])
    transfer = (0.1 / 0.8 + 0.2 / 0.6) / 2
    assert one["success"] == pytest.approx((0.6, 0.6))
    assert one["forward_transfer"] == pytest.approx((transfer, transfer))
    shifts = numpy_generator(0, "shifts").normal(0, 0.1, 40)
    many = intervals(config, [metrics(shift) for shift in shifts])
    width = 1.645 * shifts.std() / math.sqrt(len(shifts))
    middle = 0.5 + shifts.mean()
    assert many["success"] == pytest.approx((middle - width, middle + width), abs=0.1 * width)
    assert many["success/0 a"] == pytest.approx((0.1, 0.1))
    assert many["forgetting"].high - many["forgetting"].low == pytest.approx(2 * width, rel=0.1)
    assert many == intervals(config, [metrics(shift) for shift in shifts])
    twice = dataclasses.replace(config, references=((0.1, 0.4), (0.3, 0.4)))
    assert intervals(twice, [metrics(0.1)])["forward_transfer"].low < transfer - 0.02  # the reference is drawn too


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
    whole = {"success", "steps/search", *(f"forgetting{a}{b}" for a in ("", "_dense") for b in ("", "/but_last"))}
    parts = {f"{name}/{t} point-goal" for name in ("success", "auc") for t in range(3)}
    assert set(result["metrics"]) == whole | parts
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
    assert stops >= 4
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
    for kind in ("sac", "sac-epn", "sac-agem", "sac-multi", "sac-single"):
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
        ({"network": {"kind": "conv4"}}, "network.kind", "the stream's are 2 x 1 x 1"),
        ({"protocol": {"kind": "success", "points": 4, "tail": 1}}, "protocol.points", "at most 3"),
        ({"protocol": {"kind": "success", "points": 3, "tail": 4}}, "protocol.tail", "at most points"),
        ({"learner": {"kind": "sac", "memory_slots": 10**12}}, "learner.memory_slots", "GiB"),
        ({"learner": {"kind": "sac", "batch": 10**12}}, "learner.batch", "GiB"),
        ({"stream": {**SPEC["stream"], "tasks": ["Pendulum-v9"]}}, "stream.tasks", "Pendulum-v1"),
        ({"stream": {**SPEC["stream"], "together": True}}, "stream.together", "sac-multi"),
        ({"learner": {"kind": "sac-agem", "tasks": 2}}, "learner.tasks", "at least 3"),
        ({"learner": {"kind": "sac-packnet", "tasks": 2}}, "learner.tasks", "at least 3"),
        ({"learner": {"kind": "sac-perfect-memory", "memory_slots": 10**12}}, "learner.memory_slots", "GiB"),
        ({"protocol": {**SPEC["protocol"], "references": [[0.5, 0.5]]}}, "protocol.references", "each of 3 tasks"),
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
    seeds = example(tmp_path, name, 3)
    if name == "fine-tuning":
        assert max(np.mean([found["last"][:-1] for found in seeds], axis=0)) < 0.2  # each old task, over the seeds
    for found in seeds:
        if name == "fine-tuning":
            assert sum(found["last"][:-1]) / 2 < 0.2  # a single one may be a third, by luck: which, rounding decides
            assert max(found["last"][:-1]) < 0.5
            assert found["last"][-1] > 0.95
        else:
            assert found["success"] == 1.0
            assert found["forgetting"] == 0.0


def test_c13_of_one_seed(tmp_path: Path) -> None:
    (forgot,), (kept,) = example(tmp_path / "a", "fine-tuning", 1), example(tmp_path / "b", "epn", 1)
    assert max(forgot["last"][:-1]) < 0.2
    assert forgot["last"][-1] > 0.95
    assert (kept["success"], kept["forgetting"]) == (1.0, 0.0)


def test_forward_transfer_is_measured_against_the_seeds_of_another_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alone = make_run(tmp_path, "sac-single", seeds=2)
    asked = {"protocol": {**SPEC["protocol"], "reference": alone.run_id}}
    with pytest.raises(RunError, match="finished"):
        make_run(tmp_path, "sac", **asked)
    with pytest.raises(RunError, match="no-such-run"):
        make_run(tmp_path, "sac", protocol={**SPEC["protocol"], "reference": "no-such-run"})
    for replica in alone.experiment.replicas():
        run_replica(alone, replica)
    areas = [[result["metrics"][f"auc/{t} point-goal"] for t in range(3)] for result in alone.results()]
    folder = make_run(tmp_path, "sac", **asked)
    assert [list(row) for row in folder.experiment.protocol.config.references] == areas
    again = RunFolder.open(folder.path)
    assert again.experiment.work(exact=True) == folder.experiment.work(exact=True)
    run_replica(folder, folder.experiment.replicas()[0])
    (result,) = folder.results()
    own, ref = (np.array([m[f"auc/{t} point-goal"] for t in range(3)]) for m in (result["metrics"], {
        f"auc/{t} point-goal": np.mean([row[t] for row in areas]) for t in range(3)}))  # fmt: skip
    room = ref < 1
    transfer = ((own - ref) / (1 - ref))[room].mean()
    assert result["metrics"]["forward_transfer"] == pytest.approx(transfer)
    shown = summarise(folder)["summary"]["forward_transfer"]
    assert shown["low"] <= shown["mean"] <= shown["high"]
    other = {"stream": {**SPEC["stream"], "steps": 320}, "protocol": {**SPEC["protocol"], "reference": alone.run_id}}
    with pytest.raises(RunError, match="same stream"):
        make_run(tmp_path, "sac", **other)
    named = {"protocol": {**SPEC["protocol"], "reference": "continual_world/pointgoal-single"}}
    folder = make_run(tmp_path, "sac", **named)
    assert not folder.experiment.protocol.config.references
    assert "run it first" in caplog.text
