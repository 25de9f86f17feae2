"""The one place where robot tasks are made: `bodies_of`, and `require_alike` of several."""

from __future__ import annotations

from collections.abc import Sequence

from frisket.envs.robots import gym, meta_world
from frisket.envs.robots.bodies import Bodies
from frisket.envs.robots.meta_world import Goals, MetaWorld
from frisket.envs.robots.point_goal import PointGoal
from frisket.errors import SpecError, nearest
from frisket.rng import derive

POINT_GOAL = "point-goal"


def bodies_of(tasks: Sequence[str], index: int, goals: Goals | None, seed: int) -> Bodies:
    """What steps task number ``index`` of ``tasks``.

    Args:
        tasks: names: ``point-goal``, ids of gymnasium's, or tasks of Meta-World.
        index: which.
        goals: as `frisket.envs.robots.meta_world` has them, None for ``random``; no other tasks have a choice.
        seed: the run's seed.

    Raises:
        SpecError: no such task, a choice of goals where there is none, or what it needs is not installed.
    """
    name = tasks[index]
    own = name == POINT_GOAL or gym.registered(name)
    if own and goals is not None:
        raise SpecError("goals", goals, f"must be left out: {name} has none to choose from")
    if name == POINT_GOAL:
        return PointGoal(seed, index, len(tasks))
    if own:
        return gym.Gym(name)
    known = meta_world.kinds()
    if meta_world.full_name(name) not in known:
        raise SpecError("tasks", name, nearest(name, [*known, POINT_GOAL, *_registered()]))
    return MetaWorld(name, goals or "random", derive(seed, "goals", index))


def require_alike(tasks: Sequence[str], made: Sequence[Bodies]) -> None:
    """Raise `SpecError` unless all of ``made`` have spaces of one size."""
    for name, one in zip(tasks, made, strict=True):
        for what in ("size", "actions"):
            here, there = getattr(one, what), getattr(made[0], what)
            if here != there:
                kind = "observations" if what == "size" else "actions"
                fix = f"has {kind} of {here} numbers, and {tasks[0]} of {there}; one agent needs tasks that are alike"
                raise SpecError("tasks", name, fix)


def _registered() -> list[str]:
    import gymnasium

    return list(gymnasium.registry)
