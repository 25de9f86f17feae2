"""Meta-World v3 manipulation tasks as `Bodies` (continual_world spec, section 3).

The goal is visible, and which one it is comes from the seed of the episode: `goals` says how.

========== ==================================================================
goals      an episode's
========== ==================================================================
``random`` any: drawn anew, with the objects' places, for every episode
``fifty``  one of fifty, which are the task's in this run
``fixed``  the one that is the task's in this run
========== ==================================================================

What the package itself does otherwise, and why it is not used as it stands: ``reset(seed=)`` is ignored and goals come
from numpy's global generator, so an episode is seeded through ``seed`` here; a new environment hides the goal and clips
it to zero, until the bounds it has kept are dropped; declared bounds are not those of what it gives. ``reset`` draws
twice and settles the hand twice: two tasks read what the first pass left behind, so both stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np

from frisket.envs.robots.bodies import Bodies, Moved
from frisket.envs.robots.camera import Camera
from frisket.envs.robots.quicker import quicker
from frisket.errors import SpecError, nearest
from frisket.rng import derive, numpy_generator

Goals = Literal["random", "fixed", "fifty"]

HORIZON = 200
"""Actions of an episode in Continual World; the package's own limit is 500."""
_FIFTY = 50


def full_name(task: str) -> str:
    """``hammer`` as ``hammer-v3``."""
    return task if task.endswith("-v3") else f"{task}-v3"


def kinds() -> Mapping[str, Any]:
    """The package's environments by name.

    Raises:
        SpecError: it is not installed.
    """
    try:
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS
    except ImportError as error:
        fix = "needs Meta-World, which is not installed: pip install 'frisket[robots]'"
        raise SpecError("tasks", "Meta-World", f"{fix} ({error})") from error
    return ALL_V3_ENVIRONMENTS


class MetaWorld(Bodies):
    """Environments of one task; they are made when they are first needed, and kept.

    Args:
        task: its name, with or without ``-v3``.
        goals: how an episode's goal is drawn.
        seed: what the goals come from that are not drawn for every episode.

    Raises:
        SpecError: the package is not installed, or knows no such task.
    """

    size, actions, longest, usual = 39, 4, 500, HORIZON

    def __init__(self, task: str, goals: Goals, seed: int) -> None:
        known, name = kinds(), full_name(task)
        if name not in known:
            raise SpecError("tasks", task, nearest(name, known))
        self._kind, self._goals, self._seed = known[name], goals, seed
        self.same = goals == "random"
        self._made: list[Any] = []

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        seen = []
        for i, seed in enumerate(seeds):
            body = self._nth(i)
            body.seed(self._goal_seed(seed))
            seen.append(body.reset()[0])
        self._last = np.stack(seen).astype(np.float32)
        return self._last.copy()

    def step(self, actions: np.ndarray, live: np.ndarray) -> Moved:
        rewards, success = np.zeros(len(actions), np.float32), np.zeros(len(actions), bool)
        for i in np.flatnonzero(live):
            self._last[i], rewards[i], _, _, info = self._made[i].step(actions[i])
            success[i] = info["success"] > 0
        return Moved(self._last.copy(), rewards, np.zeros(len(actions), bool), success)

    def picture(self) -> np.ndarray:
        body = self._nth(0)
        # the camera hangs upside down: rows, from the bottom up, are in order, and left is right
        return self._camera.picture(body.data)[:, ::-1]

    @cached_property
    def _camera(self) -> Camera:
        return Camera(self._nth(0).model, "corner2")

    def _goal_seed(self, episode: int) -> int:
        """What an episode is drawn by; its goal and the objects' places follow from it alone."""
        if self._goals == "random":
            return _bits(episode)
        which = 0 if self._goals == "fixed" else int(numpy_generator(episode, "goal").integers(_FIFTY))
        return _bits(derive(self._seed, "goal", which))

    def _nth(self, index: int) -> Any:
        while len(self._made) <= index:
            self._made.append(ready(quicker(self._kind)()))
        return self._made[index]


def ready(body: Any) -> Any:
    """An environment of the package's, new, so that it shows its goal and draws by what it is seeded with."""
    body._set_task_inner()
    body._set_task_called = True
    body._partially_observable = False
    body.__dict__.pop("sawyer_observation_space", None)  # kept with the goal's bounds at zero
    body._freeze_rand_vec, body.seeded_rand_vec = False, True
    return body


def _bits(key: int) -> int:
    """A seed that the package takes."""
    return key & (2**31 - 1)
