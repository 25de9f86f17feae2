"""How many episodes of every robot task are solved, as it is learned and ever after (continual_world spec, section 8).

An episode counts as solved if it was at any of its steps; actions are drawn as they are in learning. p_i[c, k] is task
i's share of solved episodes at point k = 0 .. K - 1 of task c's phase, measured of the tasks that have begun. The last
point of a phase comes twice: once all of the task is practised, and after its end, once it has been pruned. With the
mean over the last n points, ``tail``::

    P   = 1/T sum_i tail p_i[T-1, :]                        success; the phase's last point after its end
    F   = 1/T sum_i (tail p_i[i, :] - tail p_i[T-1, :])     forgetting; the same
    F'  = 1/T sum_i (tail p_i[i, :] - tail p_i[T-1, :])     forgetting_dense; task i's last point before its end

F is the convention of Continual World's code, F' that of PP21, whose reference is what was there before pruning. Both
are means over all T tasks; the last one's F is 0 by definition, its F' what pruning cost it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from frisket.algos.parts.acting import played
from frisket.envs.robots.stream import RobotStream
from frisket.envs.stream import Stream
from frisket.errors import SpecError, require
from frisket.platform.protocols.protocol import Answers, Protocol, ProtocolKind, Scored
from frisket.types import Batch, Metrics, State, Task


@dataclass(frozen=True, kw_only=True)
class SuccessConfig:
    """Attributes:
    points: K, evaluations in the phase of a task, evenly over its rounds of episodes.
    episodes: of every task at every point.
    tail: n, points that a number is the mean of.
    """

    points: int = 50
    episodes: int = 10
    tail: int = 5

    def __post_init__(self) -> None:
        for name in ("points", "episodes", "tail"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.tail <= self.points, "tail", self.tail, f"at most points = {self.points}")


class Success(Protocol):
    """Success, task by task.

    Scores: ``curve`` [T, K, T], p by phase, point and task, NaN where it was not measured; ``ended`` [T, T], the points
    after a task's end.

    Args:
        config: when to measure, and how long.
        stream: the tasks.

    Raises:
        SpecError: ``stream`` is none of robot tasks, or has fewer rounds than there are points.
    """

    headline = "success"
    by_label = False
    of_actions = True

    def __init__(self, config: SuccessConfig, stream: Stream) -> None:
        if not isinstance(stream, RobotStream):
            raise SpecError("protocol.kind", "success", "needs a stream of robot tasks: robots")
        self.config, self.stream = config, stream
        self.rounds = stream.steps_per_task - 1
        allowed = f"at most {self.rounds}, the rounds of a task"
        require(config.points <= self.rounds, "protocol.points", config.points, allowed)

    def init(self) -> State:
        tasks, points = self.stream.tasks, self.config.points
        curve = torch.full((tasks, points, tasks), math.nan, dtype=torch.float64)
        return {"curve": curve, "ended": curve[:, 0].clone()}

    def before(self, answers: Sequence[Answers], scores: Sequence[State], batches: Sequence[Batch]) -> list[Scored]:
        return [Scored(one, {}) for one in scores]

    def after(self, answers: Sequence[Answers], known: list[Scored], batches: Sequence[Batch]) -> list[Scored]:
        position = batches[0].position
        phase = self.stream.task_index(position)
        done = position + 1 - self.stream.start(phase)
        points, device = self.config.points, batches[0].x.device
        if done > self.rounds:
            name, place, number = "ended", (phase,), self.stream.tasks * points + phase
        else:
            before, point = (points * rounds // self.rounds for rounds in (done - 1, done))
            if point == before:
                return known
            name, place, number = "curve", (phase, point - 1), phase * points + point - 1
        found = [self._judged(answer, phase, number, device) for answer in answers]
        return [_with(one, name, place, rates) for one, rates in zip(known, found, strict=True)]

    def _judged(self, answer: Answers, phase: int, number: int, device: torch.device) -> Tensor:
        """``[T]``: success on the tasks that have begun, NaN of the others, at the evaluation ``number``."""
        found = torch.full((self.stream.tasks,), math.nan, dtype=torch.float64)
        for index in range(phase + 1):
            task = Task(self.stream.config.names[index], (index,), self.stream.start(index))
            worlds = self.stream.tests(index, self.config.episodes, number)
            outputs = _outputs(answer, task, device)
            found[index] = played(worlds, outputs, self.stream.seed, "judge", index, number).success
        return found

    def points(self, scores: State) -> tuple[Metrics, State]:
        return self.final(scores), scores

    def final(self, scores: State) -> Metrics:
        """The module's three numbers, over the tasks that have ended; before one has, the last success that was
        measured, of the tasks that had begun."""
        ended = scores["ended"]
        tasks = int((~ended.diagonal().isnan()).sum())
        if not tasks:
            measured = scores["curve"][0, :, 0]
            measured = measured[~measured.isnan()]
            return {"success": float(measured[-1])} if len(measured) else {}
        return success(scores["curve"][:tasks, :, :tasks], ended[:tasks, :tasks], self.config.tail)


def success(curve: Tensor, ended: Tensor, tail: int) -> Metrics:
    """The numbers of the module's equations.

    Args:
        curve: p, [T, K, T].
        ended: the points after the end of each phase, [T, T].
        tail: n.
    """
    kept = torch.cat([curve[:, :-1], ended[:, None]], 1)
    own, dense = (one.diagonal(dim1=0, dim2=2)[-tail:].mean(0) for one in (kept, curve))  # [K, T] to [T]
    last = kept[-1, -tail:].mean(0)
    return {
        "success": float(last.mean()),
        "forgetting": float((own - last).mean()),
        "forgetting_dense": float((dense - last).mean()),
    }


def _outputs(answer: Answers, task: Task, device: torch.device) -> Callable[[Tensor], Tensor]:
    """What ``answer`` says of ``task``, to observations on the CPU."""

    def outputs(seen: Tensor) -> Tensor:
        found = answer(seen.to(device), task)
        assert found is not None  # `Answers` has refused it
        return found

    return outputs


def _with(known: Scored, name: str, place: tuple[int, ...], rates: Tensor) -> Scored:
    """``known`` with ``rates`` at ``place`` of the scores ``name``, and in the journal."""
    kept = known.scores[name].clone()
    kept[place] = rates
    shown = [None if math.isnan(rate) else rate for rate in rates.tolist()]
    return Scored({**known.scores, name: kept}, {**known.record, name: shown})


PROTOCOLS = (
    ProtocolKind(
        name="success",
        config=SuccessConfig,
        build=Success,
        headline=Success.headline,
        summary="share of episodes solved of every robot task, while it is learned and after: success and forgetting",
        journalled=("success", "forgetting", "forgetting_dense"),
    ),
)
