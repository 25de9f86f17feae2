"""A stream of robot tasks: `RobotStream`.

A position is one round of episodes: an episode in each of E environments, side by side, from their first observation to
the horizon. Its batch are those first observations, labelled by their task, and the world to act in. After the last
round of a task comes one position without a world, which ends it: what is learned and what is kept of a task can so be
measured apart, and a run that prunes has a checkpoint before it does.

Episodes begin and end with their position, so nothing of an environment lives on between two: it is made again from
(seed, position), wherever that may be. So a cursor resumes the stream, a service can give it (the first observations
and the seed; the worker steps the environments), and a position takes seconds, not days.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frisket.envs.robots.bodies import Bodies, Steps
from frisket.envs.robots.config import RobotsConfig
from frisket.envs.robots.factory import bodies_of
from frisket.envs.robots.rollout import Rollout, orders_of
from frisket.envs.robots.world import LockStep
from frisket.envs.task_stream import TaskStream
from frisket.rng import derive
from frisket.types import Task, TaskEnd, World


class RobotStream(TaskStream):
    """Robot tasks, one after the other; the label of a task is its number. Of robot tasks in turn, position p is a
    round of number ``p mod T``, and they are one task of the stream, which one position ends.

    Attributes:
        actions: A, numbers of an action.
        horizon: actions of an episode.
        rounds: of episodes, of a task.
        seed: the run's seed.
        plan: the configuration, JSON-able.
    """

    actions: int
    horizon: int
    rounds: int
    seed: int
    plan: Mapping[str, Any]
    _rollout = None

    def robot(self, position: int) -> int:
        """Which robot task is acted in at ``position``, or was last."""
        return position % len(self.config.names) if self.config.together else self.task_index(position)

    def told(self, index: int, since: int | None = None) -> Task:
        """The robot task number ``index`` as a learner is told it, ``since`` a position; None for its first."""
        first = index if self.config.together else self.start(index)
        return Task(self.config.names[index], (index,), first if since is None else since)

    def practice(self, position: int) -> World | None:
        """The world at ``position``; None where a task ends. The worlds of a robot task share their environments: one
        is to be left before another is entered."""
        if self.ends_task(position):
            return None
        index = self.robot(position)
        number = position // len(self.config.names) if self.config.together else position - self.start(index)
        (world,) = self.worlds(index, self.config.environments, "practice", number)
        return world

    def worlds(self, task: int, episodes: int, *what_for: str | int) -> Iterator[World]:
        """Worlds of ``episodes`` episodes in all of the robot task ``task``, by (seed, ``task``, ``what_for``)."""
        steps = self._bodies(task) if self._rollout is None else self._rollout.steps(task)
        yield from self._worlds(steps, task, episodes, *what_for)

    def trials(self, task: int) -> Iterator[World]:
        """The worlds that the robot task ``task`` keeps back for methods which judge themselves."""
        return self.worlds(task, self.config.trials, "trial")

    def tests(self, task: int, episodes: int, number: int) -> Iterator[World]:
        """Worlds of ``episodes`` episodes the robot task ``task`` is judged on, other ones for every ``number``."""
        return self.worlds(task, episodes, "test", number)

    def film(self, task: int) -> tuple[World, Callable[[], np.ndarray]]:
        """The world of an episode of ``task`` that serves nothing else, and what it looks like when that is called
        (`frisket.envs.robots.bodies.Bodies.picture`)."""
        bodies = self._bodies(task)
        (world,) = self._worlds(bodies, task, 1, "film")
        return world, bodies.picture

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """While the block lasts, `rollout_workers` processes step the environments, if there are to be any."""
        if not self.config.rollout_workers:
            yield
            return
        with Rollout(orders_of(self.config, self.seed, self._bodies(0)), self.config.rollout_workers) as self._rollout:
            try:
                yield
            finally:
                self._rollout = None

    def end(self, position: int) -> TaskEnd | None:
        end = super().end(position)
        task = self.task_index(position)
        return None if end is None else dataclasses.replace(end, trials=lambda: self.trials(task))

    @cached_property
    def config(self) -> RobotsConfig:
        """`plan`, read."""
        return RobotsConfig(**{**self.plan, "tasks": tuple(self.plan["tasks"])})

    @cached_property
    def _made(self) -> dict[int, Bodies]:
        return {}

    def _worlds(self, steps: Steps, task: int, episodes: int, *what_for: str | int) -> Iterator[World]:
        code = [float(t == task) for t in range(len(self.config.names))] if self.config.one_hot else []
        seeds = [derive(self.seed, "episode", task, *what_for, i) for i in range(episodes)]
        for first in range(0, episodes, self.config.environments):
            yield LockStep(steps, seeds[first : first + self.config.environments], self.horizon, code)

    def _bodies(self, task: int) -> Bodies:
        if task not in self._made:
            self._made[task] = bodies_of(self.config.names, task, self.config.goals, self.seed)
        return self._made[task]


def first_observations(worlds: Iterator[World], task: int) -> tuple[Tensor, Tensor]:
    """What ``worlds`` of ``task`` show before anything is done, ``[N, C, H, W]``, and the label of each, ``[N]``."""
    x = torch.cat([world.reset() for world in worlds])
    return x, torch.full((len(x),), task)
