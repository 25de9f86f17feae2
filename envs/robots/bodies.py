"""What steps the environments of one task: `Steps`; and `Bodies`, which has them at hand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Moved(NamedTuple):
    """What came of an action in each of E environments.

    Attributes: observations: [E, D] float32; rewards: [E] float32; terminated, success: [E] boolean.
    """

    observations: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    success: np.ndarray


class Steps(ABC):
    """What begins and steps episodes of one task, as many as are asked for.

    Attributes: actions: A, numbers of an action.
    """

    actions: int

    @abstractmethod
    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        """Begin an episode for each of ``seeds``, whatever was before: equal seeds, equal episodes under equal actions.
        The first observations, [E, D] float32."""

    @abstractmethod
    def step(self, actions: np.ndarray, live: np.ndarray) -> Moved:
        """Take ``actions`` [E, A], each in [-1, 1], in the environments that are ``live`` [E]."""


class Bodies(Steps):
    """Environments of one task, as many as there are episodes to begin.

    Attributes:
        size: D, numbers of an observation.
        actions: A, numbers of an action.
        longest: actions an episode may have at most; None for any number.
        usual: actions an episode has where nobody says.
        same: whether tasks of one name are one task, wherever they stand in a sequence.
    """

    size: int
    longest: int | None = None
    usual: int
    same: bool = True

    @abstractmethod
    def picture(self) -> np.ndarray:
        """What the first environment looks like, [S, S, 3] uint8, the right way up.

        Raises:
            SpecError: it cannot be drawn, or not on this machine.
        """
