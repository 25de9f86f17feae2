"""Acting in whole episodes and learning along the way, of one replica or of several in step: `practised`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from frisket.algos.parts import acting
from frisket.rng import torch_generator
from frisket.types import Metrics, Params, State, World

if TYPE_CHECKING:
    from frisket.algos.learners.robots.learner import RobotLearner

_SAID = {"critic_loss": "loss_before", "actor_loss": "actor_loss", "entropy_coefficient": "entropy_coefficient"}
"""What updates measure to what a learner reports."""


class Updates(ABC):
    """What learns from the memories of replicas."""

    @property
    @abstractmethod
    def actors(self) -> Sequence[Params]:
        """The weights that each of them acts with, as they are now."""

    @abstractmethod
    def learn(self, counts: Sequence[int]) -> Sequence[Metrics]:
        """Make so many updates of each; what they measured (`frisket.algos.sac.agent.SAC.losses`), nothing of none."""


def practised(
    learners: Sequence[RobotLearner], states: Sequence[State], worlds: Sequence[World], updates: Updates
) -> list[tuple[int, Metrics]]:
    """An episode in every environment of every replica's world, with the updates on the way.

    Args:
        learners, states: of the replicas; what is met goes into the memories of ``states``.
        worlds: one of each, of one horizon.
        updates: what learns from these memories.

    Returns:
        Of each the steps it has taken in its running task, and what came of this.
    """
    each = [_Episode(*one) for one in zip(learners, states, worlds, strict=True)]
    for step in range(worlds[0].horizon):
        for one, weights in zip(each, updates.actors, strict=True):
            one.act(step, weights)
        counts = [one.due for one in each]
        if any(counts):
            for one, count, found in zip(each, counts, updates.learn(counts), strict=True):
                one.learned += [(count, found)] if count else []
    return [(one.acted, one.metrics()) for one in each]


class _Episode:
    """One replica's, in every environment of its world.

    Attributes: acted: steps it has taken in its task; due: updates that its last step asks for; learned: what updates
        measured, and how many there were.
    """

    def __init__(self, learner: RobotLearner, state: State, world: World) -> None:
        self._learner, self._state, self._world = learner, state, world
        self.acted = self._before = int(state["acted"])
        draws = torch_generator(int(state["seed"]), "act", int(state["step"]))
        shape = (world.horizon, world.environments, learner.actions)
        self._uniform, self._noise = 2 * torch.rand(shape, generator=draws) - 1, torch.randn(shape, generator=draws)
        self._seen, self._ever = learner.noted(state, world.reset()), torch.zeros(world.environments, dtype=torch.bool)
        self._rewards, self.due = 0.0, 0
        self.learned: list[tuple[int, Metrics]] = []

    def act(self, step: int, weights: Params) -> None:
        learner, config, device = self._learner, self._learner.config, self._state["log_eta"].device
        if self.acted <= config.start_steps:
            actions = self._uniform[step]
        else:
            with torch.no_grad():
                outputs = learner.plain(weights, self._seen.to(device))
                actions = acting.action(outputs, self._noise[step].to(device)).cpu()
        after, reward, terminated, success, live = self._world.step(actions)
        after = learner.noted(self._state, after)
        rows = (self._seen, after, actions, reward[:, None], terminated[:, None])
        learner.remember(self._state, *(row[live].to(device) for row in rows))
        self._seen, before, self.acted = after, self.acted, self.acted + int(live.sum())
        self._ever |= success & live
        self._rewards += float(reward[live].sum())
        rounds = self.acted // config.update_every - before // config.update_every
        self.due = rounds * config.updates if self.acted >= config.update_after else 0

    def metrics(self) -> Metrics:
        """What came of it."""
        total = sum(count for count, _ in self.learned)
        means = {said: sum(count * one[name] / total for count, one in self.learned) for name, said in _SAID.items()}
        return {
            "acted": float(self.acted - self._before),
            "return": self._rewards / self._world.environments,
            "practised_success": float(self._ever.float().mean()),
            **(means if total else {}),
        }
