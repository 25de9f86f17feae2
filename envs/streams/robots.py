"""Robot tasks, one after the other (continual_world spec): what they are, their files in `frisket.envs.robots` say."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from frisket.envs.robots.config import RobotsConfig
from frisket.envs.robots.factory import bodies_of, require_alike
from frisket.envs.robots.rollout import orders_of
from frisket.envs.robots.stream import RobotStream, first_observations
from frisket.envs.streams.kind import StreamKind
from frisket.errors import SpecError, require
from frisket.types import Batch, World


class Robots(RobotStream):
    """The tasks of ``config``.

    Args:
        config: which tasks, and how long.
        data: nothing.
        seed: the run's seed.

    Raises:
        SpecError: a task is not known, cannot be made or is unlike the others; steps or horizon do not fit them; or
            other processes are to step what they cannot know.
    """

    def __init__(self, config: RobotsConfig, data: Mapping[str, Any], seed: int) -> None:
        self.plan, self.seed = dataclasses.asdict(config), seed
        names = config.names
        made = [bodies_of(names, t, config.goals, seed) for t in range(len(names))]
        require_alike(names, made)
        if config.rollout_workers:
            orders_of(config, seed, made[0])
        for name, one in zip(names, made, strict=True):
            if config.together and one.same and names.count(name) > 1:
                fix = "is there more than once, and in turn one task is not to be learned as several: name it once"
                raise SpecError("tasks", name, fix)
        self._made.update(enumerate(made))
        usual = {name: one.usual for name, one in zip(names, made, strict=True)}
        if config.horizon is None and len(set(usual.values())) > 1:
            raise SpecError("horizon", None, f"must be said: by themselves episodes are of {usual} steps")
        self.horizon = config.horizon or made[0].usual
        for name, one in zip(names, made, strict=True):
            if one.longest is not None and self.horizon > one.longest:
                raise SpecError("horizon", self.horizon, f"must be at most {one.longest}, the limit of {name}")
        round_ = config.environments * self.horizon
        divided = config.steps % round_ == 0
        require(divided, "steps", config.steps, f"a multiple of environments x horizon = {round_}")
        self.rounds = config.steps // round_
        self.ways = len(names)
        self.tasks, self.own = (1, None) if config.together else (self.ways, 1)
        self.steps = self.ways * self.rounds + self.tasks
        self.actions = made[0].actions
        self.shape = (made[0].size + config.one_hot * self.ways, 1, 1)
        self.domains = tuple(dict.fromkeys(names))
        self.names = tuple(f"{t} {name}" for t, name in enumerate(names))

    def batch(self, position: int) -> Batch:
        index, world = self.robot(position), self.practice(position)
        shown = next(self.worlds(index, self.config.environments, "practice", 0)) if world is None else world
        x, y = first_observations(iter([shown]), index)
        told = self.told(index, position if self.config.together else None)  # every round of tasks in turn is a switch
        return Batch(x, y, position, told, end=self.end(position), world=world)

    def test_set(self, task: int) -> tuple[Tensor, Tensor]:
        return self._shown(task, lambda index: self.tests(index, self.config.environments, 0))

    def validation_set(self, task: int) -> tuple[Tensor, Tensor]:
        return self._shown(task, self.trials)

    def _shown(self, task: int, worlds: Callable[[int], Iterator[World]]) -> tuple[Tensor, Tensor]:
        """First observations, and labels, of all robot tasks of the stream's task number ``task``."""
        of = range(self.ways) if self.config.together else [task]
        x, y = zip(*(first_observations(worlds(index), index) for index in of), strict=True)
        return torch.cat(x), torch.cat(y)

    def provenance(self) -> dict[str, Any]:
        return {}


STREAMS = (
    StreamKind(
        name="robots",
        config=RobotsConfig,
        build=Robots,
        own_tests=lambda config: True,
        summary="robot tasks one after the other, which are acted in",
        quick={"steps": 160, "environments": 4, "trials": 6},
    ),
)
