"""Steps of Meta-World's environments a second, beside the plain ones, and shared out. One run, ratios.

    python -m benchmarks.robot_step        (make bench)

Whole episodes of 200 actions drawn at random, their reset among them, processor time, each way in a process of its own
(`benchmarks.in_turn`): *plain* is ``gymnasium.make("Meta-World/MT1")``, *frisket* what a run steps
(`frisket.envs.robots.quicker`), one thread each. What both give is equal (tests/envs/test_quicker.py).

Then actions in environments side by side, in the learner's process and shared out over ``rollout_workers``
(`frisket.envs.robots.rollout`), in turn: wall time, so it tells something where there is a core for each.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.in_turn import Timed, Work, measure
from frisket.envs.robots.config import RobotsConfig
from frisket.envs.robots.meta_world import HORIZON, MetaWorld, full_name
from frisket.envs.robots.sequences import CW10
from frisket.envs.streams.robots import Robots
from frisket.rng import torch_generator

TARGETS = {"push": 1.25, "reach": 1.25}
"""Task to the least of frisket's steps a second over the plain environment's."""
WAYS = ("plain", "frisket")


def works(way: str, tasks: Sequence[str]) -> Mapping[str, Work]:
    """An episode of each task."""
    return {task: plain(task) if way == "plain" else ours(task) for task in tasks}


def plain(task: str) -> Work:
    """The package's environment as gymnasium makes it."""
    import gymnasium
    import metaworld  # noqa: F401  # registers it

    warnings.filterwarnings("ignore")  # what its checker says of bounds, at every step
    made = gymnasium.make("Meta-World/MT1", env_name=full_name(task), seed=1, max_episode_steps=HORIZON)
    actions = np.random.default_rng(0).uniform(-1, 1, (HORIZON, 4)).astype(np.float32)

    def episode() -> None:
        made.reset()
        for action in actions:
            made.step(action)

    return episode


def ours(task: str) -> Work:
    """What a run steps."""
    made, live = MetaWorld(task, "random", 0), np.ones(1, bool)
    actions = np.random.default_rng(0).uniform(-1, 1, (HORIZON, 1, 4))

    def episode() -> None:
        made.reset([0])
        for action in actions:
            made.step(action, live)

    return episode


def rounds_of(task: str, environments: int, workers: Sequence[int], rounds: int) -> dict[int, float]:
    """By number of workers, the median of the seconds that the actions of a round of episodes take, without its reset,
    over ``rounds`` after one that does not count."""
    torch.set_num_threads(1)
    times: dict[int, list[float]] = {count: [] for count in workers}
    steps = (rounds + 1) * environments * HORIZON
    fields: dict[str, Any] = {"tasks": (task,), "environments": environments, "steps": steps, "horizon": HORIZON}
    with contextlib.ExitStack() as stack:
        streams = {count: Robots(RobotsConfig(**fields, rollout_workers=count), {}, 0) for count in workers}
        for stream in streams.values():
            stack.enter_context(stream.at_work())
        for number in range(rounds + 1):
            for count, stream in streams.items():
                world = stream.practice(number)
                assert world is not None
                shape = HORIZON, environments, world.actions
                actions = 2 * torch.rand(shape, generator=torch_generator(0, number)) - 1
                world.reset()
                start = time.perf_counter()
                for action in actions:
                    world.step(action)
                if number:
                    times[count].append(time.perf_counter() - start)
    return {count: statistics.median(values) for count, values in times.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=[*TARGETS, *(task for task in CW10 if task not in TARGETS)])
    parser.add_argument("--rounds", type=int, default=9, help="how often everything is measured")
    parser.add_argument("--environments", type=int, default=8, help="side by side, where they are shared out")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], help="that they are shared out over")
    parser.add_argument("--shared", default="push", help="the task whose environments are")
    given = parser.parse_args(arguments)
    times = measure({way: Timed(works, way, tuple(given.tasks)) for way in WAYS}, given.tasks, given.rounds)
    print(f"one thread, {given.rounds} rounds of an episode")
    print("| task | plain, us a step | frisket | plain, steps/s | frisket | times as fast |")
    print("|---|---|---|---|---|---|")
    missed = []
    for task in given.tasks:
        before, after = (1e6 * times[way, task] / HORIZON for way in WAYS)
        print(
            f"| {task} | {before:.0f} | {after:.0f} | {1e6 / before:.0f} | {1e6 / after:.0f} | {before / after:.2f} |"
        )
        if before / after < TARGETS.get(task, 0.0):
            missed.append(task)
    environments, task = given.environments, given.shared
    seconds = rounds_of(task, environments, given.workers, given.rounds)
    print(f"{environments} environments of {task} in lock step")
    print("| rollout_workers | steps/s | times as fast |")
    print("|---|---|---|")
    for count, took in seconds.items():
        print(f"| {count} | {environments * HORIZON / took:.0f} | {seconds[given.workers[0]] / took:.2f} |")
    for task in missed:
        print(f"missed: {task}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
