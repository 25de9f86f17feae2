"""What the progress line says besides steps and score: the task, what is done in a second, the time left."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from frisket.envs.contract import StreamTrial
from frisket.envs.kinds import STREAMS
from frisket.errors import Stopped
from frisket.platform.run import engine, pace
from frisket.platform.run.engine import run_replica
from frisket.platform.run.journal import read_steps
from frisket.platform.run.progress import Snapshot, take
from frisket.platform.verbs.run import prepare

SPEC: dict[str, Any] = {
    "name": "tiny/pace",
    "stream": {"kind": "robots", "steps": 160, "environments": 4, "trials": 4},
    "network": {"kind": "layer-norm-mlp", "hidden": [8, 8]},
    "learner": {
        "kind": "sac-packnet", "tasks": 3, "batch": 8, "start_steps": 20, "update_after": 40, "update_every": 8,
        "updates": 2, "memory_slots": 300, "retrain_steps": 5,
    },
    "protocol": {"kind": "success", "points": 2, "episodes": 4, "tail": 1},
    "seeds": 2,
}  # fmt: skip


def test_a_run_of_robots_shows_task_success_rates_and_time_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "PROGRESS_SECONDS", 0.0)
    folder = prepare(SPEC, runs_dir=tmp_path, register=False)
    first, second = folder.experiment.replicas()
    for replica, positions in ((first, 9), (second, 5)):
        calls = iter([False] * (positions - 1) + [True])
        try:
            run_replica(folder, replica, stop=lambda calls=calls: next(calls))
        except Stopped:
            assert replica is second
    steps = list(read_steps(folder.replica(second).journal))
    assert [step.get("acted", 0) for step in steps] == [80, 80, 0, 80, 80]
    assert [step["updates"] for step in steps] == [12, 20, 5, 12, 20]
    now = take(folder, 1)
    assert (now.done, now.cursor, now.steps) == (1, 14, 18)
    assert now.task == "task 2/3 point-goal"
    assert set(now.rates) == {"env steps/s", "updates/s"}
    assert now.rates["env steps/s"] / now.rates["updates/s"] == pytest.approx(320 / 69)
    said = r"replicas 1/2  steps 14/18  task 2/3 point-goal  success \d\.\d{3}  [\d,.]+ env steps/s  [\d,.]+ updates/s"
    assert re.fullmatch(rf"{said}  \d+ s left", now.text())


def test_nothing_more_is_said_where_there_is_no_more() -> None:
    plain = Snapshot(done=0, replicas=1, cursor=4, steps=8, scores={"ra": 0.5}, seconds_left=30.0)
    assert plain.text() == "replicas 0/1  steps 4/8  ra 0.500  30 s left"
    streams = {kind: StreamTrial(STREAMS[kind]).stream() for kind in ("osaka", "rotations", "robots")}
    said = {kind: pace.task_at(stream, stream.steps - 1) for kind, stream in streams.items()}
    tasks = getattr(streams["rotations"], "tasks")  # noqa: B009
    assert said == {"osaka": None, "rotations": f"task {tasks}/{tasks}", "robots": "task 3/3 point-goal"}
    counted = pace.Pace()
    counted.count({"loss_before": 1.0})
    assert counted.rates() == {}


def test_what_is_done_once_does_not_lengthen_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute until the first position has been taken, two seconds for each that comes after."""
    moments = iter([0.0, 60.0, 60.0, 68.0])
    monkeypatch.setattr(pace.time, "monotonic", lambda: next(moments))
    counted = pace.Pace()
    counted.count({})
    assert counted.seconds is None
    for _ in range(4):
        counted.count({})
    assert counted.seconds == 0.0
    assert counted.seconds == 2.0
