"""Robot tasks: what an episode is, that seeds say all of it, and what is refused."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from frisket.envs.robots import meta_world
from frisket.envs.robots.config import RobotsConfig
from frisket.envs.robots.gym import Gym, upright
from frisket.envs.robots.meta_world import MetaWorld
from frisket.envs.robots.point_goal import NEAR, RADIUS, PointGoal
from frisket.envs.robots.sequences import CW10, SEQUENCES
from frisket.envs.streams.robots import Robots
from frisket.errors import SpecError
from frisket.rng import torch_generator
from frisket.types import World


def stream(seed: int = 0, **fields: Any) -> Robots:
    return Robots(RobotsConfig(**{"steps": 160, "environments": 4, "trials": 6, **fields}), {}, seed)


def trajectory(world: World, key: int = 0, most: int = 30) -> torch.Tensor:
    """Observations and rewards under actions drawn by ``key``, ``[steps, E, D + 1]``."""
    steps = min(world.horizon, most)
    actions = 2 * torch.rand(steps, world.environments, world.actions, generator=torch_generator(key, "actions")) - 1
    rows = [torch.cat([world.reset().flatten(1), torch.zeros(world.environments, 1)], 1)]
    for one in actions:
        stepped = world.step(one)
        rows.append(torch.cat([stepped.observations.flatten(1), stepped.rewards[:, None]], 1))
    return torch.stack(rows)


def world_of(made: Robots, position: int) -> World:
    world = made.practice(position)
    assert world is not None
    return world


@pytest.mark.parametrize("sequence", ["pointgoal", "pendulum"])
def test_equal_seeds_give_equal_trajectories_whatever_was_before(sequence: str) -> None:
    fields = {"sequence": sequence, "steps": 160 if sequence == "pointgoal" else 1600}
    first, again, other = stream(3, **fields), stream(3, **fields), stream(4, **fields)
    for position in (0, 1, first.start(2)):
        found = trajectory(world_of(first, position))
        trajectory(world_of(again, 0), key=9)
        assert torch.equal(found, trajectory(world_of(again, position)))
        assert torch.equal(found, trajectory(world_of(first, position)))
        assert not torch.equal(found, trajectory(world_of(other, position)))
    assert not torch.equal(trajectory(world_of(first, 0)), trajectory(world_of(first, 1)))


def test_positions_are_rounds_and_an_end() -> None:
    made = stream()
    assert (made.rounds, made.steps, made.horizon) == (2, 9, 20)
    worlds = [made.batch(p).world is not None for p in range(made.steps)]
    ends = [made.batch(p).end is not None for p in range(made.steps)]
    assert worlds == [True, True, False] * 3
    assert ends == [False, False, True] * 3
    batch = made.batch(4)
    assert batch.task is not None
    assert (batch.task.classes, batch.task.start, batch.y.tolist()) == ((1,), 3, [1] * 4)
    assert torch.equal(batch.x, world_of(made, 4).reset())


def test_episodes_kept_back_are_their_own() -> None:
    made = stream(trials=5)
    shown = {tuple(x.flatten().tolist()) for p in range(3) for x in made.batch(p).x}
    trials = [world.reset() for world in made.trials(0)]
    assert [len(x) for x in trials] == [4, 1]
    tests = [world.reset() for number in range(2) for world in made.tests(0, 6, number)]
    kept = [tuple(x.flatten().tolist()) for x in torch.cat([*trials, *tests])]
    assert len(set(kept)) == len(kept) == 17
    assert not shown & set(kept)
    end = made.batch(2).end
    assert end is not None
    assert torch.equal(torch.cat([world.reset() for world in end.trials()]), torch.cat(trials))


def test_point_goal_by_hand() -> None:
    bodies = PointGoal(0, 1, 3)
    assert math.isclose(float(np.linalg.norm(bodies.goal)), RADIUS)
    angles = [math.atan2(*PointGoal(0, t, 3).goal[::-1]) for t in range(3)]
    assert math.isclose(math.cos(angles[1] - angles[0]), math.cos(2 * math.pi / 3))
    place = bodies.reset([5])[0]
    steps = []
    for _ in range(20):
        steps.append(bodies.step(np.clip((bodies.goal - place) / 0.1, -1, 1)[None], np.ones(1, bool)))
        place = steps[-1].observations[0].astype(np.float64)
    assert steps[0].success.tolist() == [False]
    assert steps[-1].success.tolist() == [True]
    assert -NEAR < float(steps[-1].rewards[0]) <= 0
    with pytest.raises(RuntimeError, match="over"):
        trajectory_beyond()


def trajectory_beyond() -> None:
    world = world_of(stream(), 0)
    world.reset()
    for _ in range(world.horizon + 1):
        world.step(torch.zeros(4, 2))


def test_one_hot_is_the_end_of_an_observation() -> None:
    made = stream(one_hot=True)
    assert made.shape == (5, 1, 1)
    assert made.batch(4).x[:, 2:].flatten(1).tolist() == [[0, 1, 0]] * 4


class Cut(gymnasium.Env[np.ndarray, np.ndarray]):
    """Ends by itself after three steps, solved; its action is in [0, 10]."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2, 2), np.float64)
    action_space = gymnasium.spaces.Box(0, 10, (1,), np.float32)
    says: str | None = "is_success"

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.taken = 0
        return self.np_random.uniform(-1, 1, (2, 2)), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.taken += 1
        over = self.taken == 3
        return (
            np.full((2, 2), action[0] / 10),
            float(action[0]),
            over,
            False,
            {} if self.says is None else {self.says: over},
        )


class Silent(Cut):
    says = None


@pytest.fixture(autouse=True, scope="module")
def own() -> Iterator[None]:
    for name, kind in (("Cut", Cut), ("Silent", Silent)):
        gymnasium.register(f"frisket-test/{name}-v0", lambda kind=kind, **_: kind(), max_episode_steps=8)
    yield
    for name in ("Cut", "Silent"):
        del gymnasium.registry[f"frisket-test/{name}-v0"]


def test_own_environments_end_when_they_do() -> None:
    made = stream(tasks=("frisket-test/Cut-v0",), steps=32)
    assert (made.horizon, made.shape, made.actions) == (8, (4, 1, 1), 1)
    world = world_of(made, 0)
    world.reset()
    steps = [world.step(torch.full((4, 1), action)) for action in (-1.0, 0.0, 1.0, 1.0)]
    assert [step.rewards.tolist() for step in steps] == [[0.0] * 4, [5.0] * 4, [10.0] * 4, [0.0] * 4]
    assert [step.live.tolist() for step in steps] == [[True] * 4] * 3 + [[False] * 4]
    assert [step.terminated.any().item() for step in steps] == [False, False, True, False]
    assert [step.success.any().item() for step in steps] == [False, False, True, False]


def test_arguments_reach_the_environment() -> None:
    assert Gym("Pendulum-v1?g=2.0")._nth(0).unwrapped.g == 2.0
    told = [upright(np.array(seen)) for seen in ([1.0, 0.0, 0.1], [1.0, 0.0, 1.0], [0.9, 0.4, 0.0])]
    assert told == [True, False, False]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"sequence": "cw11"}, "did you mean 'cw1"),
        ({"tasks": ("Pendulum-v11",)}, "Pendulum-v1"),
        ({"tasks": ("frisket-test/Cut-v0", "Pendulum-v1")}, "alike"),
        ({"tasks": ("frisket-test/Silent-v0",), "steps": 32}, "whether the task is solved"),
        ({"tasks": ("CartPole-v1",)}, "boxes"),
        ({"tasks": ("Pendulum-v1?g",)}, "NAME=VALUE"),
        ({"tasks": ("Pendulum-v1?h=2",)}, "cannot be made"),
        ({"tasks": ("Pendulum-v1?g=abc",)}, "cannot take its first step"),
        ({"tasks": ("Pendulum-v1?g=.nan",)}, "finite observations"),
        ({"tasks": ("Pendulum-v1",), "horizon": 201}, "at most 200"),
        ({"goals": "random"}, "left out"),
        ({"steps": 150}, "multiple of environments x horizon = 80"),
        ({"tasks": ("point-goal", "frisket-test/Cut-v0")}, "alike"),
        ({"steps": 0}, "at least 1"),
        ({"tasks": ("Pendulum-v1", "Pendulum-v1"), "steps": 800, "together": True}, "name it once"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        stream(**fields)


def test_a_missing_extra_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "metaworld.env_dict", None)
    with pytest.raises(SpecError, match=r"pip install 'frisket\[robots\]'"):
        stream(sequence="cw10")


def test_sequences() -> None:
    assert SEQUENCES["cw20"] == CW10 + CW10
    assert SEQUENCES["cw6"] == CW10[:6]
    triplets = [SEQUENCES[f"triplet-{i}"] for i in range(1, 12)]
    assert all(len(one) == 3 and set(one) <= set(CW10) for one in triplets)
    assert len(set(triplets)) == 11


def test_meta_world_shows_its_goal_and_seeds_say_all() -> None:
    made = stream(2, tasks=("reach", "push-v3"), steps=400, environments=2, horizon=100)
    assert (made.shape, made.actions, made.tasks) == ((39, 1, 1), 4, 2)
    for position in (0, made.start(1)):
        found = trajectory(world_of(made, position))
        again = stream(2, tasks=("reach", "push-v3"), steps=400, environments=2, horizon=100)
        trajectory(world_of(again, position + 1), key=4)
        assert torch.equal(found, trajectory(world_of(again, position)))
        goals = found[:, :, 36:39]
        assert bool((goals.abs().sum(-1) > 0).all())
        assert not torch.equal(goals[0, 0], goals[0, 1])


@pytest.mark.parametrize(("goals", "distinct"), [("random", 12), ("fifty", range(6, 13)), ("fixed", 1)])
def test_goals_of_meta_world(goals: Any, distinct: Any) -> None:
    bodies = MetaWorld("reach", goals, seed=5)
    found = {tuple(bodies.reset([seed])[0, 36:39].tolist()) for seed in range(12)}
    assert len(found) in (distinct if isinstance(distinct, range) else (distinct,))
    other = MetaWorld("reach", goals, seed=6).reset([0])[0, 36:39]
    assert (tuple(other.tolist()) in found) == (goals == "random")


def test_unknown_meta_world_task_names_the_nearest() -> None:
    with pytest.raises(SpecError, match="did you mean 'hammer-v3'"):
        stream(tasks=("hamer",), steps=800)


@pytest.mark.process
def test_another_process_gives_the_same_first_observations() -> None:
    script = (
        "from frisket.envs.robots.meta_world import MetaWorld;"
        "print(MetaWorld('push', 'random', 0).reset([1, 2]).tolist())"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert told.strip() == str(MetaWorld("push", "random", 0).reset([1, 2]).tolist())


@pytest.mark.slow
@pytest.mark.parametrize("task", CW10)
def test_c1_every_task_of_cw10_steps(task: str) -> None:
    assert meta_world.full_name(task) in meta_world.kinds()
    found = trajectory(world_of(stream(tasks=(task,), steps=200, environments=1), 0), most=200)
    assert found.shape == (201, 1, 40)
    assert bool(found.isfinite().all())
    assert float(found[:, :, 36:39].abs().sum(-1).min()) > 0
