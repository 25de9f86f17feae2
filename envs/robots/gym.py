"""Environments that are registered with gymnasium, frisket's users' own among them, as `Bodies`.

A task is an id, with the arguments of its environment after a ``?``: ``Pendulum-v1?g=2.0``. Observations are flattened
and made float32; an action's numbers go from [-1, 1] to the environment's own bounds. Whether a task is solved, its
environment says under ``success`` (or ``is_success``) of the ``info`` that a step gives; of Pendulum, which says
nothing, frisket does: `upright`.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import yaml

from frisket.envs.robots.bodies import Bodies, Moved
from frisket.errors import SpecError

UNLIMITED = 200
"""Actions of an episode where an environment has no limit of its own."""
_SAYS = ("success", "is_success")


def upright(observation: np.ndarray) -> bool:
    """Whether a pendulum that shows ``observation`` (cosine, sine, speed) stands: within 0.2 of upright, and slower
    than 0.5 a second."""
    cosine, _, speed = observation
    return cosine > math.cos(0.2) and abs(speed) < 0.5


SOLVED: Mapping[str, Callable[[np.ndarray], bool]] = MappingProxyType({"Pendulum-v1": upright})
"""Id to what says of an observation whether the task is solved; for environments that do not say it themselves."""


def registered(name: str) -> bool:
    """Whether gymnasium knows the task ``name``. One in a module (``module:Id-v0``) is looked for when it is made."""
    import gymnasium

    kind = name.partition("?")[0]
    return ":" in kind or kind in gymnasium.registry


def entry(name: str) -> bytes:
    """What gymnasium knows of the task ``name``, for another process to `enter`.

    Raises:
        SpecError: it was registered with what this process alone can call.
    """
    import gymnasium

    kind = name.partition("?")[0]
    try:
        return pickle.dumps(gymnasium.spec(kind))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        fix = f"must be 0: {name} is known to this process alone ({error}); register it in a module that is installed"
        raise SpecError("rollout_workers", "above 0", f"{fix}, and name the task MODULE:{kind}") from error


def enter(known: bytes) -> None:
    """Register what `entry` gave."""
    import gymnasium

    spec = pickle.loads(known)
    gymnasium.registry[spec.id] = spec


class Gym(Bodies):
    """Environments of one id; they are made when they are first needed, and kept.

    Args:
        name: the task.

    Raises:
        SpecError: it cannot be made, its spaces are none that can be learned in, or it never says what is a success.
    """

    def __init__(self, name: str) -> None:
        import gymnasium

        self._name = name
        self._kind, _, said = name.partition("?")
        self._arguments = _arguments(name, said)
        self._made: list[Any] = []
        first = self._nth(0)
        box = gymnasium.spaces.Box
        if not isinstance(first.observation_space, box) or not isinstance(first.action_space, box):
            spaces = f"{first.observation_space} and {first.action_space}"
            raise SpecError(
                "tasks", name, f"must have observations and actions that are boxes of numbers, not {spaces}"
            )
        low, high = (np.asarray(v, np.float64) for v in (first.action_space.low, first.action_space.high))
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise SpecError("tasks", name, "must have actions with finite bounds")
        self._middle, self._reach, self._shape = (low + high) / 2, (high - low) / 2, low.shape
        self.size = math.prod(first.observation_space.shape)
        self.actions = low.size
        self.longest = None if first.spec is None else first.spec.max_episode_steps
        self.usual = self.longest or UNLIMITED
        try:
            first.reset(seed=0)
            observation, *_, info = first.step(self._scaled(np.zeros(self.actions)))
        except Exception as error:  # whatever the environment's own code raises
            fix = f"cannot take its first step ({type(error).__name__}: {error})"
            raise SpecError("tasks", name, fix) from error
        if not np.isfinite(_flat(observation)).all():
            raise SpecError("tasks", name, "must give finite observations, and its first is none")
        self._solved(observation, info)

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        seen = [self._nth(i).reset(seed=seed)[0] for i, seed in enumerate(seeds)]
        self._last = np.stack([_flat(one) for one in seen])
        return self._last.copy()

    def step(self, actions: np.ndarray, live: np.ndarray) -> Moved:
        rewards = np.zeros(len(actions), np.float32)
        terminated, success = np.zeros(len(actions), bool), np.zeros(len(actions), bool)
        for i in np.flatnonzero(live):
            observation, rewards[i], terminated[i], _, info = self._made[i].step(self._scaled(actions[i]))
            self._last[i], success[i] = _flat(observation), self._solved(observation, info)
        return Moved(self._last.copy(), rewards, terminated, success)

    def picture(self) -> np.ndarray:
        body = self._nth(0).unwrapped
        body.render_mode = "rgb_array"  # not when it is made: it would be drawn as it is stepped
        try:
            found = np.asarray(body.render())
        except Exception as error:  # whatever the environment's own code raises
            fix = f"of {self._name} cannot be drawn ({type(error).__name__}: {error}); leave --render out"
            raise SpecError("render", True, fix) from error
        if found.ndim != 3 or found.shape[2] != 3:
            raise SpecError("render", True, f"gives no pictures of {self._name}; leave it out")
        return found.astype(np.uint8)

    def _nth(self, index: int) -> Any:
        import gymnasium

        while len(self._made) <= index:
            try:
                # its checker only repeats, at every step, what is looked at here once
                made = gymnasium.make(self._kind, disable_env_checker=True, **self._arguments)
            except Exception as error:  # whatever the environment's own code raises
                raise SpecError("tasks", self._name, f"cannot be made ({type(error).__name__}: {error})") from error
            self._made.append(made)
        return self._made[index]

    def _scaled(self, action: np.ndarray) -> np.ndarray:
        own = self._middle + self._reach * action.reshape(self._shape)
        return own.astype(self._made[0].action_space.dtype)

    def _solved(self, observation: Any, info: Mapping[str, Any]) -> bool:
        if self._kind in SOLVED:
            return bool(SOLVED[self._kind](np.asarray(observation)))
        for name in _SAYS:
            if name in info:
                return bool(info[name])
        raise SpecError("tasks", self._name, "must say in the info of every step whether the task is solved: 'success'")


def _arguments(name: str, said: str) -> dict[str, Any]:
    """``g=2.0&m=1`` as a dict."""
    found = {}
    for one in filter(None, said.split("&")):
        key, equals, value = one.partition("=")
        if not (key.isidentifier() and equals):
            raise SpecError("tasks", name, "must have its arguments as NAME=VALUE after the '?', parted by '&'")
        found[key] = yaml.safe_load(value)
    return found


def _flat(observation: Any) -> np.ndarray:
    return np.asarray(observation, np.float32).reshape(-1)
