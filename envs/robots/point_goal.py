"""PointGoal: a point in the plane is to go to a place it is not shown. In numpy, a few microseconds a step.

The point sees its position p in [-1, 1]^2 and moves by a tenth of its action. An episode begins at a place drawn
uniformly from the middle, [-1/2, 1/2]^2; the reward of a step is minus the distance to the goal after it, and the task
is solved within a tenth of the goal. The goals of a run's T tasks lie on a circle of radius 0.8, evenly from an angle
drawn by the run's seed: no policy solves two of them, so what is forgotten shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from frisket.envs.robots.bodies import Bodies, Moved
from frisket.envs.robots.camera import SIDE
from frisket.rng import numpy_generator

STRIDE, RADIUS, NEAR, START = 0.1, 0.8, 0.1, 0.5
"""A step's length along an axis, the goals' distance from the middle, how near is there, and where episodes begin."""


class PointGoal(Bodies):
    """Points of one task.

    Args:
        seed: the run's seed.
        task: number of the task among all of its run, from 0.
        tasks: T.
    """

    size = actions = 2
    usual = 20
    same = False

    def __init__(self, seed: int, task: int, tasks: int) -> None:
        first = float(numpy_generator(seed, "point goal").uniform(0, 2 * math.pi))
        angle = first + 2 * math.pi * task / tasks
        self.goal = RADIUS * np.array([math.cos(angle), math.sin(angle)])
        self._places = np.zeros((0, 2))

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        self._places = np.stack([numpy_generator(seed, "place").uniform(-START, START, 2) for seed in seeds])
        return self._places.astype(np.float32)

    def step(self, actions: np.ndarray, live: np.ndarray) -> Moved:
        self._places = np.clip(self._places + STRIDE * actions, -1, 1)
        away = np.linalg.norm(self._places - self.goal, axis=1)
        never = np.zeros(len(away), bool)
        return Moved(self._places.astype(np.float32), -away.astype(np.float32), never, away < NEAR)

    def picture(self) -> np.ndarray:
        """The goal as a ring, the point a disc; y grows upwards."""
        across = np.linspace(-1, 1, SIDE)
        x, y = np.meshgrid(across, -across)
        away, near = (np.hypot(x - at[0], y - at[1]) for at in (self.goal, self._places[0]))
        found = np.full((SIDE, SIDE, 3), 255, np.uint8)
        found[away < NEAR] = 40, 160, 80
        found[away < 0.7 * NEAR] = 255
        found[near < NEAR / 2] = 30
        return found
