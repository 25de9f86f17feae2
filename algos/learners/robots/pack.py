"""Replicas of a robot learner that act and learn in step: `RobotPack`.

They update as one agent (`frisket.algos.sac.stacked`), as long as their tasks have taken as many steps, which they
have unless episodes end before their horizon; where they have not, every one updates by itself. Tasks begin and end
one replica after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

from frisket.algos.learner import Pack, require_task
from frisket.algos.learners.robots.learner import RobotLearner
from frisket.algos.learners.robots.practice import Updates, practised
from frisket.algos.pack import in_parts
from frisket.algos.parts import transitions
from frisket.algos.parts.tree import lifted, map_tensors, picked, stacked
from frisket.algos.sac.stacked import StackedSAC
from frisket.types import Batch, Metrics, Params, State, World

TOGETHER = 8
"""Replicas that update as one on a CPU, where the weights of one already fill the cache and more save calls alone
(docs/performance.md); a GPU takes all of them."""


class RobotPack(Pack[RobotLearner]):
    """A pack. State: that of its learners, with a leading replica dimension; written in place.

    Args:
        learners: which differ in the configuration's `packed` fields only.

    Raises:
        SpecError: their memories have no room in this machine's.
    """

    def __init__(self, learners: Sequence[RobotLearner]) -> None:
        self.learners = learners
        config = learners[0].config
        transitions.require_room(config.memory_slots, learners[0].seen, learners[0].actions, replicas=len(learners))

    def observe(self, state: State, batches: Sequence[Batch]) -> tuple[State, list[Metrics]]:
        before = state["updates"].tolist()
        state, _ = self._in_turn(state, batches, lambda one, own, batch: (one.begun(own, require_task(one, batch)), {}))
        worlds = [batch.world for batch in batches if batch.world is not None]
        metrics: list[Metrics] = [{} for _ in batches]
        if worlds:
            metrics = self._practised(state, worlds)
        state, ended = self._in_turn(state, batches, lambda one, own, batch: one.finished(own, batch))
        updates = zip(state["updates"].tolist(), before, strict=True)
        counted = [{"updates": float(now - then)} for now, then in updates]
        found = [{**a, **b, **c} for a, b, c in zip(metrics, ended, counted, strict=True)]
        return {**state, "step": state["step"] + 1}, found

    def _in_turn(
        self, state: State, batches: Sequence[Batch],
        what: Callable[[RobotLearner, State, Batch], tuple[State, Metrics]],
    ) -> tuple[State, list[Metrics]]:  # fmt: skip
        """``what`` is done with each replica, one after the other."""

        def one(state: State, batches: Sequence[Batch], part: slice) -> tuple[State, list[Metrics]]:
            made, metrics = what(self.learners[part.start], picked(state, 0), batches[0])
            return lifted(made), [metrics]

        return in_parts(state, batches, one, 1)

    def _practised(self, state: State, worlds: Sequence[World]) -> list[Metrics]:
        """What came of an episode in every environment of the replicas' ``worlds``; ``state`` is written in place."""
        states = [self.replica(state, i) for i in range(len(worlds))]
        found = practised(self.learners, states, worlds, _InStep(self, state))
        for own, (acted, _) in zip(states, found, strict=True):
            own["acted"].fill_(acted)
        return [metrics for _, metrics in found]

    @cached_property
    def _agents(self) -> dict[str, StackedSAC]:
        return {}

    def bound(self, state: State, part: slice) -> StackedSAC:
        """The replicas ``part`` as one agent over their tensors of ``state``."""
        learners, made = self.learners[part], map_tensors(lambda t: t[part], state)
        first, each = learners[0], [picked(made, i) for i in range(len(learners))]
        agent: Any = first.agent_over(
            {**made, "optimiser": {k: {**kept, "t": kept["t"][0]} for k, kept in made["optimiser"].items()}},
            self._agents, StackedSAC,
            moving=first.moving(each[0]), active={},
            open_=stacked([one.open(own) for one, own in zip(learners, each, strict=True)]),
            pull=_pulled([one.pull(own) for one, own in zip(learners, each, strict=True)]),
        )  # fmt: skip
        agent.keys, agent.begun = made["seed"].tolist(), made["updates"].tolist()
        agent.memories = [own["memory"] for own in each]
        return agent


class _InStep(Updates):
    """The updates of a pack's replicas, written into ``state``."""

    def __init__(self, pack: RobotPack, state: State) -> None:
        self._pack, self._state = pack, state
        self._find()

    @property
    def actors(self) -> Sequence[Params]:
        return self._actors

    def learn(self, counts: Sequence[int]) -> Sequence[Metrics]:
        done, found, replicas = self._state["optimiser"]["eta"]["t"], list[Metrics](), len(counts)
        in_step = len(set(counts)) == 1 and bool((done == done[0]).all())
        together = 1 if not in_step else TOGETHER if done.device.type == "cpu" else replicas
        for part in [slice(i, min(i + together, replicas)) for i in range(0, replicas, together)]:
            if not counts[part.start]:
                found.append({})
                continue
            agent = self._pack.bound(self._state, part)
            found += agent.losses(counts[part.start], self._pack.learners[0].config.batch)
            self._state["updates"][part] += counts[part.start]
            for kept in self._state["optimiser"].values():
                kept["t"][part] += counts[part.start]
        self._find()
        return found

    def _find(self) -> None:
        theta = self._pack.learners[0].network.effective(self._state["theta"]).theta
        self._actors = [picked(theta, i) for i in range(len(self._pack.learners))]


def _pulled(each: Sequence[Callable[[Params], Params] | None]) -> Callable[[Params], Params] | None:
    """The pulls of replicas as one of a pack's parameters; None where none has any."""
    pulls = [one for one in each if one is not None]
    return partial(_pull, pulls) if pulls else None


def _pull(pulls: Sequence[Callable[[Params], Params]], phi: Params) -> Params:
    return stacked([pull(picked(phi, i)) for i, pull in enumerate(pulls)])
