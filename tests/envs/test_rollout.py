"""Environments shared out over processes: the same bits for any number of them, and none is left behind."""

from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from processes import alive, children, wait_for

from frisket.envs.robots.config import RobotsConfig
from frisket.envs.robots.rollout import RolloutLost
from frisket.envs.streams.robots import Robots
from frisket.errors import SpecError
from frisket.rng import torch_generator
from frisket.types import Stepped, World

SEQUENCES: dict[str, dict[str, Any]] = {
    "pointgoal": {"steps": 240, "trials": 7},
    "pendulum": {"sequence": "pendulum", "steps": 240, "horizon": 20, "trials": 7},
}


def stream(workers: int, seed: int = 3, **fields: Any) -> Robots:
    config = {**SEQUENCES["pointgoal"], "environments": 4, "rollout_workers": workers, **fields}
    return Robots(RobotsConfig(**config), {}, seed)


def steps(world: World) -> Iterator[Stepped]:
    """What comes of an episode under actions that are drawn."""
    shape = world.horizon, world.environments, world.actions
    for actions in 2 * torch.rand(shape, generator=torch_generator(0, "actions")) - 1:
        yield world.step(actions)


def played(world: World) -> torch.Tensor:
    """All that a world says."""
    return torch.cat([world.reset().flatten(), *(part.flatten().float() for one in steps(world) for part in one)])


def all_of(made: Robots) -> torch.Tensor:
    """Practice of two tasks, episodes kept back, those judged on, and first observations."""
    worlds = [made.practice(0), *made.trials(1), made.practice(made.start(2)), *made.tests(0, 3, 1)]
    assert all(world is not None for world in worlds)
    shown = [made.batch(position).x.flatten() for position in (1, made.start(1))]
    return torch.cat([*(played(world) for world in worlds if world is not None), *shown])


@pytest.mark.parametrize("fields", SEQUENCES.values(), ids=list(SEQUENCES))
def test_any_number_of_workers_gives_the_same_bits(fields: dict[str, Any]) -> None:
    alone = all_of(stream(0, **fields))
    for workers in (1, 2, 3):
        made, before = stream(workers, **fields), children()
        with made.at_work():
            assert len(children() - before) == workers
            assert torch.equal(all_of(made), alone)
        assert children() <= before
        assert torch.equal(all_of(made), alone)  # in this process again


def test_nothing_is_left_open_or_shared() -> None:
    descriptors = os.listdir("/proc/self/fd")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        made = stream(2)
        with made.at_work():
            played(next(made.trials(0)))
        gc.collect()
    assert [str(one.message) for one in said if one.category is ResourceWarning] == []
    assert len(os.listdir("/proc/self/fd")) == len(descriptors)


def test_one_that_is_killed_ends_the_work_and_the_others() -> None:
    made, before = stream(2), children()
    with made.at_work():
        world = next(made.trials(0))
        world.reset()
        acted = steps(world)
        next(acted)
        killed = min(children() - before)
        os.kill(killed, signal.SIGKILL)
        with pytest.raises(RolloutLost, match="SIGKILL") as caught:
            next(acted)
        assert children() <= before
        with pytest.raises(RolloutLost, match="have ended"):
            world.reset()
    assert f"process {killed}" in str(caught.value)
    assert "stream.rollout_workers" in str(caught.value)
    assert children() <= before


def test_signals_of_the_terminal_are_not_theirs() -> None:
    made, before = stream(1), children()
    with made.at_work():
        (worker,) = children() - before
        for number in (signal.SIGINT, signal.SIGTERM):  # at once, while it imports
            os.kill(worker, number)
        assert torch.equal(played(next(made.trials(0))), played(next(stream(0).trials(0))))


PARENT = """
import sys, time
from frisket.envs.robots.config import RobotsConfig
from frisket.envs.streams.robots import Robots
made = Robots(RobotsConfig(steps=160, environments=4, trials=4, rollout_workers=2), {}, 0)
with made.at_work():
    next(made.trials(0)).reset()
    print("ready", flush=True)
    time.sleep(60)
"""


def test_none_outlives_a_parent_that_is_killed(environment: dict[str, str]) -> None:
    """Of a script without a main module that could be imported once more."""
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        found = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        threads = [len(os.listdir(f"/proc/{one}/task")) for one in found]
        parent.kill()
    assert threads == [1, 1]
    wait_for(lambda: not any(alive(int(one)) for one in found), seconds=20)


class Fragile(gymnasium.Env[np.ndarray, np.ndarray]):
    """Breaks in its fourth step."""

    observation_space = action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    taken = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.taken += 1
        if self.taken == 4:
            raise ZeroDivisionError("a joint")
        return action, 0.0, False, False, {"success": False}


@pytest.fixture
def registered() -> Iterator[Callable[[str, Any], str]]:
    known = dict(gymnasium.registry)

    def register(name: str, entry_point: Any) -> str:
        gymnasium.register(name, entry_point, max_episode_steps=8)
        return name

    yield register
    gymnasium.registry.clear()
    gymnasium.registry.update(known)


def test_what_is_registered_here_is_known_there_or_refused(
    registered: Callable[[str, Any], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fields: dict[str, Any] = {"steps": 64, "trials": 4}
    named = stream(1, tasks=(registered("frisket-test/Fragile-v0", Fragile),), **fields)
    with pytest.raises(RolloutLost, match=re.escape("ZeroDivisionError: a joint")), named.at_work():
        played(next(named.trials(0)))
    with pytest.raises(SpecError, match="known to this process alone") as caught:
        stream(1, tasks=(registered("frisket-test/Mine-v0", lambda **_: Fragile()),), **fields)
    assert caught.value.field == "rollout_workers"
    monkeypatch.setitem(sys.modules, "mine", sys.modules[__name__])
    monkeypatch.setattr(Fragile, "__module__", "mine")  # as of a file that a specification uses
    alone = stream(1, tasks=(registered("frisket-test/Used-v0", Fragile),), **fields)
    with pytest.raises(SpecError, match="No module named 'mine'") as caught, alone.at_work():
        played(next(alone.trials(0)))
    assert caught.value.field == "stream.rollout_workers"


@pytest.mark.parametrize("workers", [-1, 5])
def test_more_workers_than_environments_or_fewer_than_none_are_refused(workers: int) -> None:
    with pytest.raises(SpecError, match="0, or up to environments = 4") as caught:
        stream(workers)
    assert (caught.value.field, caught.value.value) == ("rollout_workers", workers)
