"""Environments of one task as a learner acts in them: `LockStep`, a `frisket.types.World`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from frisket.envs.robots.bodies import Steps
from frisket.types import Stepped


class LockStep:
    """An episode of ``horizon`` actions for each of ``seeds``, side by side.

    Several may share what steps them, so an episode is to be over before another world is reset.

    Args:
        steps: what steps them.
        seeds: one of every episode.
        horizon: actions of an episode.
        code: numbers that every observation ends with.
    """

    def __init__(self, steps: Steps, seeds: Sequence[int], horizon: int, code: Sequence[float] = ()) -> None:
        self.environments, self.actions, self.horizon = len(seeds), steps.actions, horizon
        self._steps, self._seeds = steps, tuple(seeds)
        self._code = torch.tensor(code, dtype=torch.float32).expand(len(seeds), -1)
        self._live = np.zeros(len(seeds), bool)
        self._left = 0

    def reset(self) -> Tensor:
        self._live, self._left = np.ones(self.environments, bool), self.horizon
        return self._seen(self._steps.reset(self._seeds))

    def step(self, actions: Tensor) -> Stepped:
        if not self._left:
            raise RuntimeError("the episode is over; reset the world")
        self._left -= 1
        live = self._live
        moved = self._steps.step(actions.cpu().numpy().astype(np.float64), live)
        self._live = live & ~moved.terminated
        flags = (torch.from_numpy(one) for one in (moved.terminated, moved.success, live))
        return Stepped(self._seen(moved.observations), torch.from_numpy(moved.rewards), *flags)

    def _seen(self, observations: np.ndarray) -> Tensor:
        return torch.cat([torch.from_numpy(observations), self._code], 1)[:, :, None, None]
