"""Runs whose environments are stepped by processes: the numbers of a run without, stopped, killed and resumed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import children

from frisket.algos.parts.tree import flatten
from frisket.algos.state_file import load_state
from frisket.envs.robots.rollout import RolloutLost
from frisket.errors import SpecError, Stopped
from frisket.platform.run.engine import run_replica
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.journal import read_steps
from frisket.platform.verbs.run import prepare

SPEC: dict[str, Any] = {
    "name": "tiny/rollout",
    "stream": {"kind": "robots", "steps": 160, "environments": 4, "trials": 6},
    "network": {"kind": "layer-norm-mlp", "hidden": [8, 8]},
    "learner": {
        "kind": "sac-epn", "batch": 16, "start_steps": 40, "update_after": 40, "update_every": 8, "updates": 1,
        "memory_slots": 300, "retrain_steps": 3,
    },
    "protocol": {"kind": "success", "points": 2, "episodes": 6, "tail": 1},
    "seeds": 1,
    "checkpoint_seconds": 0.01,
}  # fmt: skip
PENDULUM = {"sequence": "pendulum", "steps": 80, "horizon": 10}


def make_run(parent: Path, workers: int, **stream: Any) -> RunFolder:
    fields = {**SPEC["stream"], **stream, "rollout_workers": workers}
    return prepare({**SPEC, "stream": fields}, runs_dir=parent, register=False)


def outcome(folder: RunFolder) -> tuple[Any, ...]:
    """Metrics, journal and the bits of what was learned."""
    (result,) = folder.results()
    files = folder.replica("seed0")
    state = {name: value.numpy().tobytes() for name, value in flatten(load_state(files.final)[0]).items()}
    return result["metrics"], list(read_steps(files.journal)), state


def led(folder: RunFolder, stop: Callable[[], bool] = lambda: False) -> None:
    run_replica(folder, folder.experiment.replicas()[0], stop=stop)


@pytest.mark.parametrize("stream", [{}, PENDULUM], ids=["pointgoal", "pendulum"])
def test_a_run_has_the_same_bits_however_its_environments_are_stepped(tmp_path: Path, stream: dict[str, Any]) -> None:
    alone, stopped = make_run(tmp_path, 0, **stream), make_run(tmp_path, 2, **stream)
    led(alone)
    calls = iter([False, False, False, True])
    with pytest.raises(Stopped):
        led(stopped, lambda: next(calls))
    led(stopped)
    assert outcome(stopped) == outcome(alone)
    assert alone.experiment.work(exact=True) == stopped.experiment.work(exact=True)
    one = make_run(tmp_path, 1, **stream)
    led(one)
    assert outcome(one) == outcome(alone)


def test_a_run_ends_with_a_worker_that_is_killed_and_goes_on_from_there(tmp_path: Path) -> None:
    alone, killed = make_run(tmp_path, 0), make_run(tmp_path, 2)
    led(alone)
    before, asked = children(), []

    def stop() -> bool:
        asked.append(True)
        if len(asked) == 4:
            os.kill(min(children() - before), signal.SIGKILL)
        return False

    with pytest.raises(RolloutLost, match="SIGKILL"):
        led(killed, stop)
    assert len(asked) == 4
    assert children() == before
    led(killed)
    assert outcome(killed) == outcome(alone)


@pytest.mark.parametrize("count", [-1, 5])
def test_a_number_that_does_not_fit_is_refused_before_the_run(tmp_path: Path, count: int) -> None:
    with pytest.raises(SpecError, match="0, or up to environments = 4") as caught:
        make_run(tmp_path, count)
    assert (caught.value.field, caught.value.value) == ("stream.rollout_workers", count)
