"""The few small types in which streams, learners and protocols meet."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

Params: TypeAlias = "dict[str, Tensor]"
"""Named weights of one network, ``{"conv1.weight": [64, 1, 3, 3], ...}``."""

State: TypeAlias = "dict[str, Any]"
"""A learner's whole memory: a plain nested dict whose leaves are all tensors (weights, optimiser moments, buffers,
counters). Typed loosely, because a recursive type would need a cast at every access."""

DataMode = Literal["auto", "real", "embedded"]
"""Which data: ``real`` or nothing, ``embedded`` (what installed packages bring along), or ``auto``: real if they can be
had."""

Split = Literal["train", "validation", "test"]
"""Meta-training, meta-validation and meta-test classes, no class in two of them."""

Metrics: TypeAlias = "dict[str, float]"
"""What a learner reports about one step, by name."""


class Data(NamedTuple):
    """A labelled batch: ``x`` [N, C, H, W], ``y`` [N]."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True, slots=True)
class Task:
    """The hidden task behind a batch: recorded for scoring, shown only to learners that declare ``needs_task``.

    Attributes:
        domain: name of the data set the task is drawn from.
        classes: class indices of that data set; position j in the tuple is label j.
        start: stream position at which this task began.
    """

    domain: str
    classes: tuple[int, ...]
    start: int


class Stepped(NamedTuple):
    """What comes of one action in each of the E environments of a `World`.

    Attributes:
        observations: after it, ``[E, C, H, W]`` float32.
        rewards: ``[E]`` float32.
        terminated: ``[E]`` boolean: the episode is over by itself, and no reward can follow. One that is cut at the
            horizon has not terminated.
        success: ``[E]`` boolean: the task is solved as things stand.
        live: ``[E]`` boolean: whose action was taken. The others had terminated before; what stands there for them
            means nothing.
    """

    observations: Tensor
    rewards: Tensor
    terminated: Tensor
    success: Tensor
    live: Tensor


class World(Protocol):
    """One episode in each of E environments of one task, in lock step.

    Attributes:
        environments: E.
        actions: A, numbers of an action, each in [-1, 1].
        horizon: actions of an episode.
    """

    environments: int
    actions: int
    horizon: int

    def reset(self) -> Tensor:
        """The first observations, ``[E, C, H, W]`` float32: those of the same episodes every time."""
        ...

    def step(self, actions: Tensor) -> Stepped:
        """Take ``actions`` [E, A], at most `horizon` times after a `reset`."""
        ...


@dataclass(frozen=True, slots=True)
class Batch:
    """What a stream gives at one position.

    Attributes:
        x: inputs, ``[N, C, H, W]`` float32; of an episode stream bytes (`frisket.envs.episode_stream`) until the drive
            has them on the device.
        y: labels, ``[N]`` int64.
        position: index in the stream, from 0.
        task: the hidden task, None once hidden.
        epoch: which pass over its task's samples it belongs to, from 0.
        end: on the last batch of a task what comes with its end; None elsewhere, and once the task is hidden.
        support: of an episode, how many of its samples, the first ones, are to be adapted on; the others are queries.
            0 for a batch that is no episode.
        world: where to act, on a batch of a stream of robot tasks, whose inputs are then the first observations there;
            None elsewhere.
    """

    x: Tensor
    y: Tensor
    position: int
    task: Task | None = None
    epoch: int = 0
    end: TaskEnd | None = None
    support: int = 0
    world: World | None = None

    def sides(self) -> tuple[Data, Data]:
        """Support and query of an episode; both the whole of a batch that is none."""
        if not self.support:
            return Data(self.x, self.y), Data(self.x, self.y)
        n = self.support
        return Data(self.x[:n], self.y[:n]), Data(self.x[n:], self.y[n:])

    def hide_task(self) -> Batch:
        """The same batch without its task, as a learner that does not declare ``needs_task`` sees it."""
        return dataclasses.replace(self, task=None, end=None)


@dataclass(frozen=True, slots=True)
class TaskEnd:
    """What a learner that acts when a task ends may use; tensors are on the CPU.

    Attributes:
        steps: batches of the task.
        batch: the task's batches once more, by index 0 .. steps - 1.
        validation: gives ``(x [n, C, H, W], y [n])``, samples of the task that no batch shows and no test judges;
            n = 0 where the stream keeps none back.
        trials: gives, of robot tasks, episodes of the task that no batch practises in and no test judges: the same ones
            every time.
    """

    steps: int
    batch: Callable[[int], Batch]
    validation: Callable[[], tuple[Tensor, Tensor]]
    trials: Callable[[], Iterable[World]] = tuple
