"""What a stream of robot tasks is told: `RobotsConfig`."""

from __future__ import annotations

from dataclasses import dataclass, field

from frisket.envs.robots.meta_world import Goals
from frisket.envs.robots.sequences import SEQUENCES
from frisket.errors import SpecError, nearest, require
from frisket.moves import NOTHING


@dataclass(frozen=True, kw_only=True)
class RobotsConfig:
    """Attributes:
    sequence: name of a sequence of tasks (`frisket.envs.robots.sequences`).
    tasks: tasks in place of a sequence: names of Meta-World's, ids of gymnasium's (``Pendulum-v1?g=2.0``), or
        ``point-goal``.
    goals: of Meta-World's tasks, how an episode's goal is drawn: ``random``, ``fixed`` or ``fifty``
        (`frisket.envs.robots.meta_world`); null for ``random``.
    steps: environment steps of a task.
    environments: E, environments that are stepped side by side.
    rollout_workers: processes beside the learner's that the environments are shared out over; 0 for none, and the
        learner's steps them.
    horizon: steps of an episode; null for what the tasks have by themselves.
    one_hot: whether observations end with the number of their task, as T numbers. A network that has outputs for each
        task does not need it.
    trials: episodes of every task that are kept back for methods which judge themselves.
    together: whether the tasks come in turn, a round of episodes of each, and not one after the other.
    """

    sequence: str = "pointgoal"
    tasks: tuple[str, ...] = ()
    goals: Goals | None = None
    steps: int = 1_000_000
    environments: int = 1
    rollout_workers: int = field(default=0, metadata=NOTHING)
    horizon: int | None = None
    one_hot: bool = False
    trials: int = 50
    together: bool = False

    def __post_init__(self) -> None:
        if self.sequence not in SEQUENCES:
            raise SpecError("sequence", self.sequence, nearest(self.sequence, SEQUENCES))
        for name in ("steps", "environments", "trials"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        allowed = f"0, or up to environments = {self.environments}"
        require(0 <= self.rollout_workers <= self.environments, "rollout_workers", self.rollout_workers, allowed)
        require(self.horizon is None or self.horizon >= 1, "horizon", self.horizon, "at least 1, or null")

    @property
    def names(self) -> tuple[str, ...]:
        """The tasks, in order."""
        return self.tasks or SEQUENCES[self.sequence]

    def datasets(self) -> tuple[str, ...]:
        """No data sets."""
        return ()

    def in_words(self) -> str:
        """What the stream is, for its card."""
        order = " in turn" if self.together else ""
        return f"{len(self.names)} robot tasks{order} of {self.steps:,} steps each: {', '.join(self.names)}"
