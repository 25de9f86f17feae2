"""Robot tasks, one after the other (continual_world spec): what they are, their files in `frisket.envs.robots` say."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from frisket.envs.robots.config import RobotsConfig
from frisket.envs.robots.factory import bodies_of, require_alike
from frisket.envs.robots.stream import RobotStream, first_observations
from frisket.envs.streams.kind import StreamKind
from frisket.errors import SpecError, require
from frisket.types import Batch, Task


class Robots(RobotStream):
    """The tasks of ``config``.

    Args:
        config: which tasks, and how long.
        data: nothing.
        seed: the run's seed.

    Raises:
        SpecError: a task is not known, cannot be made or is unlike the others; or steps or horizon do not fit them.
    """

    def __init__(self, config: RobotsConfig, data: Mapping[str, Any], seed: int) -> None:
        self.plan, self.seed = dataclasses.asdict(config), seed
        names = config.names
        made = [bodies_of(names, t, config.goals, seed) for t in range(len(names))]
        require_alike(names, made)
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
        self.tasks = self.ways = len(names)
        self.steps = self.tasks * (self.rounds + 1)
        self.actions = made[0].actions
        self.shape = (made[0].size + config.one_hot * self.tasks, 1, 1)
        self.domains = tuple(dict.fromkeys(names))
        self.names = tuple(f"{t} {name}" for t, name in enumerate(names))

    def batch(self, position: int) -> Batch:
        task, world = self.task_index(position), self.practice(position)
        shown = self.practice(self.start(task)) if world is None else world
        assert shown is not None
        x, y = first_observations(iter([shown]), task)
        told = Task(self.config.names[task], (task,), self.start(task))
        return Batch(x, y, position, told, end=self.end(position), world=world)

    def test_set(self, task: int) -> tuple[Tensor, Tensor]:
        return first_observations(self.tests(task, self.config.environments, 0), task)

    def validation_set(self, task: int) -> tuple[Tensor, Tensor]:
        return first_observations(self.trials(task), task)

    def provenance(self) -> dict[str, Any]:
        return {}


STREAMS = (
    StreamKind(
        name="robots",
        config=RobotsConfig,
        build=Robots,
        summary="robot tasks one after the other, which are acted in",
        quick={"steps": 160, "environments": 4, "trials": 6},
    ),
)
